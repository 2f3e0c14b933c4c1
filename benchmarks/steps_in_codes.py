"""What a step takes with states and parameters in few bytes, beside float32: `python -m benchmarks.steps_in_codes`."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import gradtx as gx
from benchmarks import run
from benchmarks.measure import timed
from benchmarks.record import figure

ADAMW = gx.adamw(1e-3)
WAYS: dict[str, tuple[Any, Any]] = {  # an optimizer, and the dtype of the parameters
    "bfloat16()": (gx.hold(ADAMW, mu=gx.bfloat16, nu=gx.bfloat16), jnp.float32),
    "float8()": (gx.hold(ADAMW, mu=gx.float8(), nu=gx.float8()), jnp.float32),
    "blocks(8)": (gx.hold(ADAMW, mu=gx.blocks(8), nu=gx.blocks(8)), jnp.float32),
    "blocks(4, 128)": (gx.hold(ADAMW, mu=gx.blocks(4, 128), nu=gx.blocks(4, 128)), jnp.float32),
    "write_stochastically": (gx.chain(ADAMW, gx.write_stochastically(0)), jnp.bfloat16),
    "write_compensated": (gx.chain(ADAMW, gx.write_compensated()), jnp.bfloat16),
}


def stepper(tx: Any, dtype: Any, elements: int) -> Callable[[], None]:
    """A function that makes one step of two matrices, donated."""
    width = 1024
    params: Any = [jax.random.normal(jax.random.key(i), (elements // 2 // width, width), dtype) for i in range(2)]
    grads = jax.tree.map(lambda p: (0.01 * p).astype(dtype), params)

    def step(params: Any, state: Any, grads: Any) -> Any:
        updates, state = tx.update(grads, state, params)
        return gx.apply_updates(params, updates), state

    carry = params, tx.init(params)
    compiled = jax.jit(step, donate_argnums=(0, 1)).lower(*carry, grads).compile()

    def go_on() -> None:
        nonlocal carry
        carry = jax.block_until_ready(compiled(*carry, grads))

    go_on()
    return go_on


def rows(quick: bool) -> run.Rows:
    """Of each way the seconds of a step, and how many times those of AdamW in float32, which takes turns with it."""
    elements, rounds = (2**16, 5) if quick else (2**22, 15)
    base = stepper(ADAMW, jnp.float32, elements)
    found: run.Rows = []
    for name, (tx, dtype) in WAYS.items():
        step = stepper(tx, dtype, elements)
        turns = [(timed(step)[1], timed(base)[1]) for _ in range(rounds)]
        found.append(
            {
                "title": name,
                "step": figure(own for own, _ in turns),
                "float32": figure(wide for _, wide in turns),
                "by float32": figure(own / wide for own, wide in turns),
            }
        )
    return found


if __name__ == "__main__":
    run.main("steps_in_codes", __doc__, rows)
