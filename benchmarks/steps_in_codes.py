"""What a step takes with states and parameters in few bytes, beside one in float32, for `benchmarks.few_bytes`."""

import statistics
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import gradtx as gx
from benchmarks.measure import timed

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

    def run() -> None:
        nonlocal carry
        carry = jax.block_until_ready(compiled(*carry, grads))

    run()
    return run


def times(elements: int, rounds: int) -> dict[str, float]:
    """The time of a step by that of AdamW in float32: the median of the ratios of neighbours, which take turns."""
    base = stepper(ADAMW, jnp.float32, elements)
    found: dict[str, float] = {}
    for name, (tx, dtype) in WAYS.items():
        run = stepper(tx, dtype, elements)
        found[name] = statistics.median(timed(run)[1] / timed(base)[1] for _ in range(rounds))
    return found
