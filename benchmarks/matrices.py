"""Muon on the hidden matrices of GPT-2 small, beside Optax's, and SOAP: `python -m benchmarks.matrices`.

The two of Muon take turns in one process. SOAP, which Optax does not have, takes the matrices of one layer of half the
width, since it begins with the eigenvectors of matrices of four times the width. The share of the machine's rate is
that of `jnp.dot` on matrices of the same shapes, whose products are as many.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

import gradtx
from benchmarks import run
from benchmarks.measure import timed
from benchmarks.record import figure, pair


class Sizes(NamedTuple):
    width: int
    layers: int
    rounds: int


FULL, QUICK = Sizes(768, 12, 3), Sizes(96, 4, 3)
SOAP, QUICK_SOAP = Sizes(384, 1, 3), Sizes(48, 1, 3)


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


def time_of_dots(pairs: Iterable[tuple[jax.Array, jax.Array]]) -> float:
    """Of each product once, as fast as `jnp.dot` makes it."""
    dot, total = jax.jit(jnp.dot), 0.0
    for a, b in pairs:
        jax.block_until_ready(dot(a, b))
        total += min(seconds(lambda a=a, b=b: dot(a, b)) for _ in range(5))
    return total


def shapes_of(params: Any) -> dict[tuple[int, int], int]:
    """How often each shape is there, lying."""
    shapes = [x.shape for x in jax.tree.leaves(params)]
    return {shape: shapes.count(shape) for shape in sorted({*shapes})}


def time_of_products(params: Any) -> float:
    """Of the products of five steps of Newton-Schulz, each matrix by itself."""
    total = 0.0
    for shape, times in shapes_of(params).items():
        m, n = sorted(shape)
        x, square = jnp.ones((m, n)), jnp.ones((m, m))
        total += 5 * times * time_of_dots([(x, x.T.copy()), (square, square), (square, x)])
    return total


def time_of_rotations(params: Any) -> float:
    """Of a step of SOAP without a new basis: into the bases and back, and the averages of both sides."""
    total = 0.0
    for (m, n), times in shapes_of(params).items():
        g, left, right = jnp.ones((m, n)), jnp.ones((m, m)), jnp.ones((n, n))
        total += times * time_of_dots([(left, g), (g, right), (left, g), (g, right), (g, g.T.copy()), (g.T.copy(), g)])
    return total


def muon(sizes: Sizes) -> dict[str, Any]:
    params = matrices(sizes)
    ours = Contestant(gradtx.muon(0.02), gradtx.apply_updates, params)
    theirs = Contestant(optax.contrib.muon(0.02), optax.apply_updates, params)
    again = Contestant(gradtx.muon(0.02), gradtx.apply_updates, params).start  # the first found JAX cold
    for one in (ours, theirs):
        jax.block_until_ready(one.step())
    both = {"gradtx": ours, "Optax": theirs}
    mine, peer, products = zip(
        *((seconds(ours.step), seconds(theirs.step), time_of_products(params)) for _ in range(sizes.rounds)),
        strict=True,
    )
    spent = {"gradtx": mine, "Optax": peer}
    return {
        "title": "Muon",
        "matrices": described(sizes),
        "step": pair(mine, peer),
        "start": pair([min(ours.start, again)], [theirs.start]),
        "dots": {name: one.dots for name, one in both.items()},
        "temporary": {name: one.temporary for name, one in both.items()},
        "share": {k: figure(a / b for a, b in zip(products, steps, strict=True)) for k, steps in spent.items()},
    }


def soap(sizes: Sizes) -> dict[str, Any]:
    params = matrices(sizes)
    ours = Contestant(gradtx.soap(3e-3), gradtx.apply_updates, params)
    for _ in range(2):  # the first makes the bases
        jax.block_until_ready(ours.step())

    def window() -> Any:
        """Ten steps, in one of which the bases are made anew."""
        for _ in range(10):
            jax.block_until_ready(ours.step())

    rounds = [(seconds(window) / 10, time_of_rotations(params)) for _ in range(sizes.rounds)]
    return {
        "title": "SOAP",
        "matrices": described(sizes),
        "step": {"gradtx": figure(step for step, _ in rounds)},
        "start": {"gradtx": figure([ours.start])},
        "dots": {"gradtx": ours.dots},
        "temporary": {"gradtx": ours.temporary},
        "share": {"gradtx": figure(products / step for step, products in rounds)},
    }


def described(sizes: Sizes) -> str:
    w = sizes.width
    return f"{4 * sizes.layers} matrices of width {w}, up to {w} by {4 * w}"


def rows(quick: bool) -> run.Rows:
    return [muon(QUICK if quick else FULL), soap(QUICK_SOAP if quick else SOAP)]


if __name__ == "__main__":
    run.main("matrices", __doc__, rows)
