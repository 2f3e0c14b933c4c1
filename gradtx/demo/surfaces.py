"""Functions of two parameters, and the paths of optimizers over them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

import gradtx
from gradtx.plot.surface import descent

IN_A_ROW = 10  # an optimizer that only flies through the minimum has not arrived
Span = tuple[float, float]


class Surface(NamedTuple):
    formula: str
    loss: Callable[[Any], Any]  # of w, whose first axis holds w₁ and w₂
    start: tuple[float, float]
    point: tuple[float, float]  # the minimum or the saddle point
    is_minimum: bool
    target: float  # the loss at which an optimizer has arrived
    steps: int  # at most
    view: tuple[Span, Span]  # what the figure shows of w₁ and of w₂


SURFACES = {
    # The curvatures are 1/32 and 2: gradient descent diverges from a rate of 1.0 on, and zigzags just below.
    "ravine": Surface(
        "w₁²/64 + w₂²",
        lambda w: w[0] ** 2 / 64 + w[1] ** 2,
        (-8.0, 1.0),
        (0.0, 0.0),
        True,
        1e-2,
        300,
        ((-9, 5), (-2, 2)),
    ),
    "rosenbrock": Surface(
        "(1 - w₁)² + 100 (w₂ - w₁²)²",
        lambda w: (1 - w[0]) ** 2 + 100 * (w[1] - w[0] ** 2) ** 2,
        (-1.2, 1.0),
        (1.0, 1.0),
        True,
        1e-2,
        5000,
        ((-1.8, 1.8), (-0.8, 2.2)),
    ),
    # From beside the ridge: downhill is hardly to be felt at first.
    "saddle": Surface(
        "w₁² - w₂²", lambda w: w[0] ** 2 - w[1] ** 2, (-1.5, 1e-3), (0.0, 0.0), False, -1.0, 100, ((-2, 2), (-1.5, 1.5))
    ),
}


class Walk(NamedTuple):
    tx: gradtx.Transformation
    points: np.ndarray  # (steps + 1, 2), the start first
    losses: np.ndarray  # at them
    arrival: int | None  # the first of ten steps in a row whose losses are at or below the target


def follow_path(tx: gradtx.Transformation, surface: Surface, steps: int) -> Walk:
    """The path of so many steps, and whether one of them arrives, for which a few more are looked at."""
    start = jnp.array(surface.start, jnp.float32)
    points, losses = descent(tx, surface.loss, start, steps + IN_A_ROW - 1)
    there = np.lib.stride_tricks.sliding_window_view(losses <= surface.target, IN_A_ROW).all(axis=1)
    arrival = int(there.argmax()) if there.any() else None
    return Walk(tx, points[: steps + 1], losses[: steps + 1], arrival)
