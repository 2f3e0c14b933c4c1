"""What Python costs before anything runs, beside Optax: `python -m benchmarks.overhead`.

The two take turns in one process. A row has the medians of both, and the median of the ratios of neighbours. Far above
what they should be, about 5, 1 and 0.2, they end it with an error.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from rich.console import Console
from rich.table import Table

import gradtx

ROUNDS = 9


class Row(NamedTuple):
    title: str
    ours: Callable[[], Any]
    theirs: Callable[[], Any]
    times: int  # in one round
    bound: float  # of the ratio, wide enough for a busy machine


def arrays(n: int) -> list[jax.Array]:
    return [jnp.ones((8, 8 + i % 5)) for i in range(n)]


def tracing(tx: Any, n: int) -> Callable[[], Any]:
    params = arrays(n)
    state = tx.init(params)

    def trace() -> Any:  # a function anew, since JAX remembers the trace of one that it knows
        return jax.make_jaxpr(lambda g, state, params: tx.update(g, state, params))(params, state, params)

    return trace


def rows() -> list[Row]:
    ours, theirs = gradtx.adamw(1e-3), optax.adamw(1e-3)
    params = arrays(148)
    clipped = gradtx.chain(gradtx.clip_by_global_norm(1.0), gradtx.adamw(gradtx.cosine(1e-3, 100)))
    peer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(optax.cosine_decay_schedule(1e-3, 100)))
    return [
        Row("construct adamw(1e-3)", lambda: gradtx.adamw(1e-3), lambda: optax.adamw(1e-3), 1000, 10.0),
        Row("init of adamw, 148 arrays, outside jit", lambda: ours.init(params), lambda: theirs.init(params), 3, 2.0),
        Row("trace clipped adamw(cosine), 148 arrays", tracing(clipped, 148), tracing(peer, 148), 1, 0.6),
        Row("trace clipped adamw(cosine), 1000 arrays", tracing(clipped, 1000), tracing(peer, 1000), 1, 0.6),
    ]


def seconds(run: Callable[[], Any], times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        run()
    return (time.perf_counter() - start) / times


def main() -> None:
    slow: list[str] = []
    table = Table("", "gradtx, µs", "Optax, µs", "gradtx/Optax")
    for row in rows():
        for run in (row.ours, row.theirs):
            run()
        rounds = [(seconds(row.ours, row.times), seconds(row.theirs, row.times)) for _ in range(ROUNDS)]
        ratio = statistics.median(a / b for a, b in rounds)
        ours, theirs = (statistics.median(column) * 1e6 for column in zip(*rounds, strict=True))
        table.add_row(row.title, f"{ours:,.1f}", f"{theirs:,.1f}", f"{ratio:.2f}")
        slow += [row.title] if ratio > row.bound else []
    Console().print(table)
    if slow:
        raise SystemExit(f"slower than it may be: {', '.join(slow)}")


if __name__ == "__main__":
    main()
