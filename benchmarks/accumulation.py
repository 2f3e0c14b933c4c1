"""Micro-batches gathered into one step, beside Optax's `MultiSteps`: `python -m benchmarks.accumulation`.

A round of each is a window of eight micro-batches with Adam, compiled, with donated parameters and states.
"""

import time
from typing import Any

import jax
import optax

import gradtx
from benchmarks import run
from benchmarks.cases import JaxRun, Shapes, gpt2, gradients, jax_step, size
from benchmarks.measure import Copy, structs, uncollected
from benchmarks.record import figure, pair

WINDOW = 8
WITHIN, LAST = 12, 36  # bytes per parameter: the gradient, and the sum twice; the same and Adam's parameter and moments
ROUNDS, QUICK = 9, 3


def prepared(library: str, tx: Any, shapes: Shapes, grads: Any) -> JaxRun:
    arrays = structs(shapes)
    step = jax.jit(jax_step(library, tx), donate_argnums=(0, 1))
    return JaxRun(step.lower(arrays, jax.eval_shape(tx.init, arrays), arrays).compile(), tx, grads)


def seconds(one: JaxRun) -> tuple[float, float]:
    """Of the micro-batches within a window on average, and of the last of it."""
    start = time.perf_counter()
    for _ in range(WINDOW - 1):
        one()
    last = time.perf_counter()
    one()
    return (last - start) / (WINDOW - 1), time.perf_counter() - last


def rows(quick: bool) -> run.Rows:
    shapes = gpt2(64, 2) if quick else gpt2(768)
    grads = jax.tree.map(jax.numpy.array, gradients(shapes))
    ours = prepared("gradtx", gradtx.accumulate(gradtx.adam(1e-3), WINDOW), shapes, grads)
    multi = optax.MultiSteps(optax.adam(1e-3), WINDOW).gradient_transformation()
    theirs = prepared("Optax", multi, shapes, grads)
    both = {"gradtx": ours, "Optax": theirs}
    for one in both.values():
        seconds(one)
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in both}
    copy = Copy(2**20 if quick else 2**26)
    with uncollected():
        for i in range(QUICK if quick else ROUNDS):
            copy()
            for name in list(both)[:: -1 if i % 2 else 1]:
                spent[name].append(seconds(both[name]))
    n = size(shapes.values())

    def row(title: str, least: int, times: dict[str, list[float]]) -> dict[str, Any]:
        """With the share of the copy's rate at which `least` bytes per parameter were moved."""
        pairs = {name: zip(times[name], copy.bandwidths, strict=True) for name in both}
        share = {name: figure(least * n / own / rate for own, rate in found) for name, found in pairs.items()}
        return {"title": title, "least": least, "share": share, **pair(*times.values())}

    parts = {i: {name: [turn[i] for turn in spent[name]] for name in both} for i in (0, 1)}
    whole = {name: [(WINDOW - 1) * a + b for a, b in spent[name]] for name in both}
    return [
        row("a micro-batch within the window", WITHIN, parts[0]),
        row("the last of the window, with the step", LAST, parts[1]),
        row(f"the window of {WINDOW}", (WINDOW - 1) * WITHIN + LAST, whole),
    ]


if __name__ == "__main__":
    run.main("accumulation", __doc__, rows)
