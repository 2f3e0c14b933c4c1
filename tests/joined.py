"""What runs in a process of its own, in which XLA makes loops of several outputs; `python -m tests.joined` writes the
table of what a step moves there.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx as gx
from gradtx.core import flow
from gradtx.core.fusion import joins_loops
from gradtx.testing import LAWS
from gradtx.testing.law import Broken
from gradtx.values.value import text_of
from gradtx.wrappers import branch
from tests.budgets import cost, measured
from tests.catalogue import TRANSFORMATIONS
from tests.xla import DEVICES, SAME_LOOPS

OPTION = "--xla_backend_extra_options=xla_cpu_use_multi_output_fusion"
TABLE = Path(__file__).parent.parent / "docs" / "budgets_joined.md"
MEMBERS = [member for member in TRANSFORMATIONS if not member.slow]
HEAD = """# What a step moves in memory where loops are joined

As [what a step moves in memory](budgets.md), in a process with XLA's option for [loops of several outputs](speed.md):
bytes per float32 parameter that a step reads and writes, its temporaries, and the least that it could read and write,
which is the gradient, the parameter and the state, the last two twice. A norm or a guard reads the gradients once more,
4 bytes. Some rules keep a little more state than each step reads and writes. What compiles for long is left out.
`python -m tests.joined` writes the numbers anew.

| step | accessed | temporary | least |
| --- | --: | --: | --: |
"""


def in_process(function: str) -> dict:
    """What a function of this module returns in a process with the option."""
    code = f"import json; from tests import joined; print(json.dumps(joined.{function}()))"
    flags = {"XLA_FLAGS": f"{DEVICES} {SAME_LOOPS} {OPTION}", "JAX_PLATFORMS": "cpu", "OPENBLAS_NUM_THREADS": "1"}
    run = subprocess.run([sys.executable, "-c", code], env=os.environ | flags, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


def table() -> dict[str, list[float]]:
    """A row for each member."""
    assert joins_loops()
    rows = {}
    for member in MEMBERS:
        accessed, temporary, state = measured(member)
        rows[text_of(member.tx)] = [accessed, temporary, 12.0 + 2.0 * state]
    return rows


def committed() -> dict[str, list[float]]:
    rows = re.findall(r"^\| `(.+)` \| (.+) \|$", TABLE.read_text(), re.MULTILINE)
    return {tx: list(map(float, numbers.split(" | "))) for tx, numbers in rows}


# ---- what tests ask for ----


CLIPPED = gx.chain(gx.clip_by_global_norm(1.0), gx.adamw(gx.cosine(1e-3, 100)))
LEAST = {
    gx.sgd(0.1, momentum=0.9, nesterov=True): 20,
    gx.rmsprop(0.1): 20,
    gx.adagrad(0.1): 20,
    gx.lion(0.1): 20,
    gx.adam(0.1): 28,
    gx.adamw(gx.cosine(1e-3, 100), weight_decay=0.1): 28,
    gx.nadam(0.1): 28,
    gx.adamax(0.1): 28,
    gx.adadelta(): 28,
    gx.adabelief(0.1): 28,
    gx.amsgrad(0.1): 36,
    gx.ademamix(0.1): 36,
    gx.adan(0.1, weight_decay=0.1): 44,
    CLIPPED: 32,
    gx.chain(gx.clip_by_norm(1.0), gx.adam(0.1)): 32,
    gx.novograd(0.1): 24,
    gx.chain(gx.adam(0.1), gx.average_parameters()): 36,
    gx.skip_nonfinite(gx.adam(0.1)): 32,
    gx.lookahead(gx.sgd(0.1)): 20,
    gx.schedule_free_adamw(0.1): 28,
    gx.partition((gx.by_ndim(at_least=2), gx.adam(0.1)), default=gx.adam(0.2)): 28,
}
ABOVE = {  # what stands in a branch, and a guard around a norm of its own
    gx.accumulate(gx.adam(0.1), 4): 52,
    gx.skip_nonfinite(CLIPPED): 44,
}


def budgets() -> dict[str, list[float]]:
    """Bytes accessed and of temporaries, and the bytes that there should be."""
    jax.config.update("jax_enable_x64", False)
    expected = LEAST | ABOVE
    return {text_of(tx): [*cost(tx.init, tx.update)[:2], most] for tx, most in expected.items()}


PARAMS = {"w": (6, 4), "again": (6, 4), "b": (4,)}


def arrays(seed: int) -> dict[str, jax.Array]:
    keys = jax.random.split(jax.random.key(seed), len(PARAMS))
    return {name: jax.random.normal(key, shape) for key, (name, shape) in zip(keys, PARAMS.items(), strict=True)}


def differences() -> dict[str, float]:
    """The largest difference, relative to the largest element, that joined loops make after two steps, for some also
    on two devices, under `vmap` and under `grad`.
    """
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    on_two = jax.device_put({"w": arrays(9)["w"]}, jax.sharding.NamedSharding(mesh, jax.P("data")))
    held = [gx.hold(gx.adam(0.1), mu=gx.bfloat16), gx.hold(gx.adam(0.1), nu=gx.blocks(8, min_size=0))]

    def step(tx, params, state, g):
        updates, state = tx.update(g, state, params)
        return gx.apply_updates(params, updates), state

    def train(step, tx, params):
        state = tx.init(params)
        for i in range(2):
            g = {name: arrays(i)[name] + 0.1 * x for name, x in params.items()}
            params, state = step(tx, params, state, g)
        return params, state

    def total(tx, params):
        return sum(jnp.sum(x**2) for x in jax.tree.leaves(train(step, tx, params)[0]))

    def results(tx):
        made = {"": train(jax.jit(step), tx, arrays(9))}
        if tx in (CLIPPED, gx.amsgrad(0.1)):
            made["on two devices "] = train(jax.jit(step), tx, on_two)
            several = jax.tree.map(lambda x: jnp.stack([x, 2.0 * x]), arrays(9))
            made["vmap "] = jax.jit(jax.vmap(lambda p: train(step, tx, p)))(several)
            made["grad "] = jax.jit(jax.grad(lambda p: total(tx, p)))(arrays(9))
        return made

    def far(x, y):
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        return float(np.max(np.abs(x - y), initial=0.0) / (np.max(np.abs(y), initial=0.0) + 1e-30))

    members = [*list(LEAST)[::3], gx.amsgrad(0.1), CLIPPED, *ABOVE, *held]
    joined = [results(tx) for tx in members]
    with pytest.MonkeyPatch.context() as patch:
        for module in (flow, branch):
            patch.setattr(module, "joins_loops", lambda: False)
        jax.clear_caches()
        apart = [results(tx) for tx in members]
    return {
        way + text_of(tx): max(
            far(x, y) for x, y in zip(jax.tree.leaves(ones[way]), jax.tree.leaves(others[way]), strict=True)
        )
        for tx, ones, others in zip(members, joined, apart, strict=True)
        for way in ones
    }


def contexts() -> dict[str, list]:
    """Whether XLA joins loops, asked for the first time in each context, and how often a step that asks was traced."""
    x, tx = jnp.ones((8, 4)), jax.device_put(gx.adam(0.1))
    traces = []

    def step(x):
        traces.append(1)
        return tx.update(x, tx.init(x), x)[0]

    def mesh(kind):
        return jax.make_mesh((4,), ("data",), axis_types=(kind,))

    automatic, explicit = mesh(jax.sharding.AxisType.Auto), mesh(jax.sharding.AxisType.Explicit)
    mapped = jax.shard_map(step, mesh=automatic, in_specs=jax.P("data"), out_specs=jax.P("data"))

    def on_explicit():
        with jax.set_mesh(explicit):
            jax.jit(step)(jax.device_put(x, jax.P("data")))

    def within(context, run=lambda: jax.jit(lambda x: step(x))(x)):
        with context:
            run()

    several = x[None]
    ways = {
        "outside": joins_loops,
        "jit": lambda: jax.jit(lambda x: step(x))(x),
        "vmap": lambda: jax.vmap(step)(several),
        "grad": lambda: jax.grad(lambda x: jnp.sum(step(x)))(x),
        "all three": lambda: jax.jit(jax.vmap(jax.grad(lambda x: jnp.sum(step(x)))))(several),
        "scan": lambda: jax.lax.scan(lambda carry, x: (carry, step(x)), 0.0, several),
        "shard_map": lambda: jax.jit(mapped)(x),
        "explicit axes": on_explicit,
        "abstract mesh": lambda: within(
            jax.sharding.use_abstract_mesh(automatic.abstract_mesh), lambda: jax.eval_shape(step, x)
        ),
        "shapes": lambda: jax.eval_shape(step, x),
        "no transfers": lambda: within(jax.transfer_guard("disallow")),
        "leaks": lambda: within(jax.checking_leaks()),
        "debug_nans": lambda: within(jax.debug_nans(True)),
        "strict types": lambda: within(jax.numpy_dtype_promotion("strict")),
        "disable_jit": lambda: within(jax.disable_jit(), lambda: (joins_loops(), traces.append(1))),
    }
    found = {}
    for name, run in ways.items():
        joins_loops.cache_clear()
        jax.clear_caches()
        traces.clear()
        run()
        found[name] = [joins_loops(), len(traces) or 1]
        assert joins_loops.cache_info().misses == 1, name
    return found


LAWFUL = (
    "adam(",
    "sgd(learning_rate=0.1, momentum",
    "lion(",
    "amsgrad(",
    "novograd(",
    "average_parameters()",
    "chain(clip_by_global_norm",
    "accumulate(",
    "skip_nonfinite(",
    "hold(tx=scale_by_momentum",
)


def broken_laws() -> dict[str, str]:
    """What breaks a law, of some members, each under two thirds of the laws."""
    assert joins_loops()
    jax.config.update("jax_enable_x64", True)
    chosen = [next(m for m in MEMBERS if text_of(m.tx).startswith(name)) for name in LAWFUL]
    found = dict.fromkeys([text_of(member.tx) for member in chosen], "")
    for j, member in enumerate(chosen):
        for i, law in enumerate(LAWS):
            if (i + j) % 3 and not law.excuse(member):
                try:
                    law(member)
                except Broken as broken:
                    found[text_of(member.tx)] += f"{law.name}: {broken} "
    return found


if __name__ == "__main__":
    lines = [f"| `{tx}` | " + " | ".join(f"{x:.1f}" for x in row) + " |\n" for tx, row in in_process("table").items()]
    TABLE.write_text(HEAD + "".join(lines))
