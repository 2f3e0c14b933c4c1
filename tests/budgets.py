"""The table of what a step of each member moves in memory; `python -m tests.budgets` writes it anew."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp

import gradtx as gx
from gradtx.values.value import text_of
from tests.catalogue import TRANSFORMATIONS

TABLE = Path(__file__).parent.parent / "docs" / "budgets.md"
N = 1 << 20
HEAD = """# What a step moves in memory

Bytes per float32 parameter of one compiled, donated step, `update` and `apply_updates`, by XLA's own count on the CPU
(JAX 0.10 and newer): what the step reads and writes, its temporaries, and the state that it keeps. Reading gradients
and parameters and writing parameters is 12. A test holds the numbers, so that a change for the worse is seen.
`XLA_FLAGS=--xla_force_host_platform_device_count=8 python -m tests.budgets` writes them anew: what `hold` holds goes
through in chunks where there is one device, and takes less there.

Four bytes of temporaries are one copy of the parameters. XLA's CPU backend makes one where an array of the old state,
or a parameter, is read by two outputs and overwritten by one of them; so it does for Optax's Lion. For Newton's method
and the line search the count is that of one pass through their loops. It differs by up to a fifth between versions of
XLA.

| step | accessed | temporary | state |
| --- | --: | --: | --: |
"""


def measured(member):
    return cost(member.tx.init, member.update)


def cost(init, update, apply_updates=gx.apply_updates):
    """Bytes per parameter: accessed, of temporaries, of the state."""
    params = {"w": jnp.ones((N // 1024, 1024)), "b": jnp.ones(N // 2)}
    count = sum(x.size for x in jax.tree.leaves(params))
    state = init(params)
    accessed, temporary = analysed(train(update, apply_updates).lower(params, state, params), count)
    return accessed, temporary, sum(x.nbytes for x in jax.tree.leaves(state)) / count


def train(update, apply_updates=gx.apply_updates):
    """A compiled step in the place of its parameters and its state."""

    def step(params, state, g):
        updates, state = update(g, state, params)
        return apply_updates(params, updates), state

    return jax.jit(step, donate_argnums=(0, 1))


def analysed(lowered, count):
    compiled = lowered.compile()
    analysis = compiled.cost_analysis()
    analysis = analysis[0] if isinstance(analysis, list) else analysis  # a list in some versions
    memory = compiled.memory_analysis()
    assert analysis is not None
    assert memory is not None
    return analysis["bytes accessed"] / count, memory.temp_size_in_bytes / count


def committed():
    """The numbers of the table by what they are about."""
    rows = re.findall(r"^\| `(.+)` \| (.+) \|$", TABLE.read_text(), re.MULTILINE)
    return {tx: tuple(map(float, numbers.split(" | "))) for tx, numbers in rows}


if __name__ == "__main__":
    lines = [
        f"| `{text_of(member.tx)}` | " + " | ".join(f"{x:.1f}" for x in measured(member)) + " |\n"
        for member in TRANSFORMATIONS
    ]
    TABLE.write_text(HEAD + "".join(lines))
