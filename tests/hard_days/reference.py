"""What should have become of a soak: the whole chain by its formulas in NumPy, one micro-batch after the other, in
float64 and with no part of gradtx.
"""

import math
from typing import Any

import ml_dtypes
import numpy as np

from tests.hard_days import plan

Flat = dict[str, np.ndarray]


def flatten(tree: Any, path: str = "") -> Flat:
    """A tree's arrays by their paths, in float64."""
    if not isinstance(tree, dict):
        return {path: np.asarray(tree, float)}
    return {key: x for name, inside in tree.items() for key, x in flatten(inside, f"{path}/{name}").items()}


def to_bfloat16(x: np.ndarray) -> np.ndarray:
    """The nearest number of 16 bits, by way of float32 as codecs do it."""
    return x.astype(np.float32).astype(ml_dtypes.bfloat16).astype(float)


def rate_at(rate: tuple[str, float, float, int], count: int) -> float:
    kind, start, end, length = rate
    share = min(count / length, 1.0)
    return end + (start - end) * ((1 + math.cos(math.pi * share)) / 2 if kind == "cosine" else 1 - share)


class Reference:
    """The run so far."""

    def __init__(self) -> None:
        self.params, self.target = flatten(plan.START), flatten(plan.TARGET)
        zeros = {path: np.zeros_like(p) for path, p in self.params.items()}
        self.mean_gradient, self.mu, self.nu, self.trace = (dict(zeros) for _ in range(4))
        self.in_window = self.windows = 0
        self.accepted = self.total = self.in_a_row = 0
        self.exceeded = False
        self.mean = self.variance = self.weight = self.square_weight = 0.0

    def step(self, phase: plan.Phase, noise: Any) -> None:
        """One micro-batch."""
        change = flatten(noise)
        g = {path: plan.CURVATURE * (p - self.target[path]) + change[path] for path, p in self.params.items()}
        x = math.sqrt(sum(float(np.sum(np.square(one))) for one in g.values()))
        if not math.isfinite(x) or self.is_spike(x):
            self.total, self.in_a_row = self.total + 1, self.in_a_row + 1
            self.exceeded |= self.in_a_row > plan.LIMIT
            return
        self.accepted, self.in_a_row = self.accepted + 1, 0
        self.measure(x)
        self.in_window += 1
        for path, one in g.items():
            self.mean_gradient[path] = self.mean_gradient[path] + (one - self.mean_gradient[path]) / self.in_window
        if self.in_window >= phase.window:
            self.close_window(phase)

    # ---- spikes ----

    def is_spike(self, x: float) -> bool:
        if self.accepted < max(plan.WARMUP, 2):
            return False
        deviation = math.sqrt(self.variance / (1 - self.square_weight / self.weight**2))
        return x > self.mean + plan.THRESHOLD * max(deviation, 2.0**-23 * abs(self.mean))

    def measure(self, x: float) -> None:
        self.weight = plan.DECAY * self.weight + 1
        self.square_weight = plan.DECAY**2 * self.square_weight + 1
        delta = x - self.mean
        self.mean += delta / self.weight
        self.variance = (1 - 1 / self.weight) * (self.variance + delta**2 / self.weight)

    # ---- a window ----

    def close_window(self, phase: plan.Phase) -> None:
        rate = rate_at(phase.rate, self.windows)
        self.windows, self.in_window = self.windows + 1, 0
        for path, g in self.mean_gradient.items():
            way = self.adamw if g.ndim > 1 else self.momentum
            self.params[path] = self.params[path] - rate * way(path, g)
            self.mean_gradient[path] = np.zeros_like(g)

    def adamw(self, path: str, g: np.ndarray) -> np.ndarray:
        t = self.windows
        mu = plan.B1 * self.mu[path] + (1 - plan.B1) * g
        nu = plan.B2 * self.nu[path] + (1 - plan.B2) * g**2
        self.mu[path], self.nu[path] = to_bfloat16(mu), to_bfloat16(nu)
        direction = mu / (1 - plan.B1**t) / (np.sqrt(nu / (1 - plan.B2**t)) + plan.EPS)
        return direction + plan.WEIGHT_DECAY * self.params[path]

    def momentum(self, path: str, g: np.ndarray) -> np.ndarray:
        velocity = plan.MOMENTUM * self.trace[path] + g
        self.trace[path] = to_bfloat16(velocity)
        return velocity
