"""Wrappers of an optimizer for one array, in NumPy."""

import numpy as np


def masked_direction(u, g):
    """Of a direction what agrees with the gradient, more of it where there is less."""
    agrees = np.sign(u) == np.sign(g)
    agrees &= g != 0
    return u * agrees / max(agrees.mean(), 1e-3)


def averaged_steps(w, grad, rates, b1, power, r):
    """Schedule-free descent with its average kept: the points between, the steps, the averages."""
    z, x, total, largest = w, w, 0.0, 0.0
    for t, rate in enumerate(rates, 1):
        largest = max(largest, rate)
        weight = t**r * largest**power
        total += weight
        z = z - rate * grad(w)
        share = weight / total if total else 0.0
        x = (1 - share) * x + share * z
        w = b1 * x + (1 - b1) * z
        yield w, z, x


def slow_weights(w, steps, period, rate):
    """Lookahead over given steps: the fast weights and the slow ones."""
    slow = w
    for t, u in enumerate(steps, 1):
        w = w + u
        if t % period == 0:
            slow = slow + rate * (w - slow)
            w = slow
        yield w, slow


def uphill(w, grad, radius, steps, *, adaptive):
    """The gradient as many steps up the loss."""
    at, g = w, grad(w)
    for _ in range(steps):
        size = np.linalg.norm(np.abs(at) * g if adaptive else g)
        at = at + radius * (at**2 * g if adaptive else g) / size if size else at
        g = grad(at)
    return g
