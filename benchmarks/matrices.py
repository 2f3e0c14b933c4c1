"""Muon on the hidden matrices of GPT-2 small, beside Optax's: `python -m benchmarks.matrices`, quick with `--quick`.

The two take turns in one process, and a row has the medians of both and the median of the ratios of neighbours. The
share of the machine's rate is that of `jnp.dot` on matrices of the same shapes, whose products are as many.
"""

import argparse
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
from benchmarks.measure import timed


class Sizes(NamedTuple):
    width: int
    layers: int
    rounds: int


FULL, QUICK = Sizes(768, 12, 3), Sizes(96, 4, 3)


def matrices(sizes: Sizes) -> dict[str, dict[str, jax.Array]]:
    """Queries, keys and values, the projection behind them, and the two layers of the block, of every layer."""
    w = sizes.width
    shapes = {"qkv": (w, 3 * w), "out": (w, w), "up": (w, 4 * w), "down": (4 * w, w)}
    key = jax.random.key(0)
    return {
        f"layer {i}": {
            name: jax.random.normal(jax.random.fold_in(key, 4 * i + j), shape, jnp.float32) * 0.02
            for j, (name, shape) in enumerate(shapes.items())
        }
        for i in range(sizes.layers)
    }


def seconds(run: Callable[[], Any]) -> float:
    return timed(lambda: jax.block_until_ready(run()))[1]


class Contestant:
    """One of the two, compiled."""

    def __init__(self, tx: Any, apply_updates: Any, params: Any):
        def step(params: Any, state: Any, grads: Any) -> Any:
            updates, state = tx.update(grads, state, params)
            return apply_updates(params, updates), state

        self.params, self.grads = jax.tree.map(jnp.copy, params), params
        self.state = tx.init(params)
        start = time.perf_counter()
        lowered = jax.jit(step, donate_argnums=(0, 1)).lower(self.params, self.state, self.grads)
        self.compiled = lowered.compile()
        self.start = time.perf_counter() - start  # to trace, lower and compile
        self.dots = sum("dot_general" in line for line in lowered.as_text().splitlines())
        analysis: Any = self.compiled.memory_analysis()
        self.temporary: int = analysis.temp_size_in_bytes

    def step(self) -> Any:
        self.params, self.state = self.compiled(self.params, self.state, self.grads)
        return self.params


def time_of_products(params: Any) -> float:
    """Of the products of five steps of Newton-Schulz, each matrix by itself, as fast as `jnp.dot` makes them."""
    shapes = sorted(x.shape for x in jax.tree.leaves(params))
    dot = jax.jit(jnp.dot)
    total = 0.0
    for shape in sorted({*shapes}):
        m, n = sorted(shape)
        x, square = jnp.ones((m, n)), jnp.ones((m, m))
        turned = x.T.copy()
        pairs = [(x, turned), (square, square), (square, x)]
        for a, b in pairs:
            jax.block_until_ready(dot(a, b))
            total += 5 * shapes.count(shape) * min(seconds(lambda a=a, b=b: dot(a, b)) for _ in range(5))
    return total


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.matrices", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small matrices: for a look, not for a claim")
    sizes = QUICK if parser.parse_args().quick else FULL
    params = matrices(sizes)
    ours = Contestant(gradtx.muon(0.02), gradtx.apply_updates, params)
    theirs = Contestant(optax.contrib.muon(0.02), optax.apply_updates, params)
    again = [Contestant(gradtx.muon(0.02), gradtx.apply_updates, params).start]
    for one in (ours, theirs):
        jax.block_until_ready(one.step())
    rounds = [(seconds(ours.step), seconds(theirs.step), time_of_products(params)) for _ in range(sizes.rounds)]
    n = len(jax.tree.leaves(params))
    table = Table(title=f"Muon on {n} matrices of {sizes.layers} layers, width {sizes.width}")
    for name in ("", "gradtx", "Optax", "Optax by gradtx"):
        table.add_column(name, justify="right" if name else "left")
    mine, peer = (statistics.median(times) for times in list(zip(*rounds, strict=True))[:2])
    ratio = statistics.median(b / a for a, b, _ in rounds)
    table.add_row("a step, ms", f"{1e3 * mine:.1f}", f"{1e3 * peer:.1f}", f"{ratio:.2f}")
    start = min(ours.start, *again)
    table.add_row("trace, lower and compile, s", f"{start:.2f}", f"{theirs.start:.2f}", f"{theirs.start / start:.2f}")
    table.add_row("products in the program", str(ours.dots), str(theirs.dots), "")
    megabytes = [one.temporary / 1e6 for one in (ours, theirs)]
    table.add_row("temporaries, MB", *[f"{x:.1f}" for x in megabytes], f"{megabytes[1] / megabytes[0]:.2f}")
    shares = [[products / step[i] for *step, products in rounds] for i in (0, 1)]
    table.add_row("share of the rate of jnp.dot", *[f"{statistics.median(x):.2f}" for x in shares], "")
    Console().print(table)


if __name__ == "__main__":
    main()
