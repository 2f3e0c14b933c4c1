"""What Python costs before anything runs, beside Optax: `python -m benchmarks.overhead`.

The two take turns in one process. Where gradtx takes far more than it should, about 5, 1 and 0.2 times Optax's, it
ends with an error.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

import gradtx
from benchmarks import run
from benchmarks.record import pair

ROUNDS, QUICK = 15, 5


class Row(NamedTuple):
    title: str
    ours: Callable[[], Any]
    theirs: Callable[[], Any]
    times: int  # in one round
    bound: float  # of gradtx's time by Optax's, wide enough for a busy machine


def arrays(n: int) -> list[jax.Array]:
    return [jnp.ones((8, 8 + i % 5)) for i in range(n)]


def tracing(tx: Any, n: int) -> Callable[[], Any]:
    params = arrays(n)
    state = tx.init(params)

    def trace() -> Any:  # a function anew, since JAX remembers the trace of one that it knows
        return jax.make_jaxpr(lambda g, state, params: tx.update(g, state, params))(params, state, params)

    return trace


def compared() -> list[Row]:
    ours, theirs = gradtx.adamw(1e-3), optax.adamw(1e-3)
    params = arrays(148)

    def by(init: Callable[[Any], Any]) -> Callable[[], Any]:
        return lambda: init(params)

    clipped = gradtx.chain(gradtx.clip_by_global_norm(1.0), gradtx.adamw(gradtx.cosine(1e-3, 100)))
    peer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(optax.cosine_decay_schedule(1e-3, 100)))
    return [
        Row("construct `adamw(1e-3)`", lambda: gradtx.adamw(1e-3), lambda: optax.adamw(1e-3), 1000, 10.0),
        Row("`init` of `adamw` outside `jit`, 148 arrays", by(ours.init), by(theirs.init), 3, 2.0),
        Row(
            "trace clipped AdamW with a schedule, 148 arrays, again (warm caches)",
            tracing(clipped, 148),
            tracing(peer, 148),
            1,
            0.6,
        ),
        Row(
            "trace clipped AdamW with a schedule, 1,000 arrays, again (warm caches)",
            tracing(clipped, 1000),
            tracing(peer, 1000),
            1,
            0.6,
        ),
    ]


def seconds(call: Callable[[], Any], times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - start) / times


def rows(quick: bool) -> run.Rows:
    found: run.Rows = []
    slow: list[str] = []
    for row in compared():
        for call in (row.ours, row.theirs):
            call()
        rounds = range(QUICK if quick else ROUNDS)
        turns = [(seconds(row.ours, row.times), seconds(row.theirs, row.times)) for _ in rounds]
        both = pair([ours for ours, _ in turns], [theirs for _, theirs in turns])
        found.append({"title": row.title, **both})
        slow += [row.title] if 1 / both["ratio"]["median"] > row.bound else []
    if slow:
        raise SystemExit(f"slower than it may be: {', '.join(slow)}")
    return found


if __name__ == "__main__":
    run.main("overhead", __doc__, rows)
