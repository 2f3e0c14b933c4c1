"""What measurements drive, from a list of values at once, in Python floats; and averages of a list of parameters."""

import math

import numpy as np


def measurements(values, every):
    """After each value: the mean of the window that it completes, or None."""
    for i in range(1, len(values) + 1):
        yield sum(map(float, values[i - every : i])) / every if i % every == 0 else None


def improves(value, best, margin, maximize):
    if not math.isfinite(value):
        return False
    return best is None or (value > best + margin if maximize else value < best - margin)


def plateau(values, factor=0.1, patience=10, cooldown=0, min_scale=0.0, rtol=1e-4, atol=0.0, maximize=False, every=1):
    """The scale after each value."""
    scale, best, bad, resting = 1.0, None, 0, 0
    for value in measurements(values, every):
        if value is not None:
            if improves(value, best, atol + rtol * abs(best or 0.0), maximize):
                best, bad = value, 0
            else:
                bad += 1
            if resting:
                resting, bad = resting - 1, 0
            elif bad == patience:
                scale, resting, bad = max(factor * scale, min_scale), cooldown, 0
        yield scale


def stopping(values, patience=10, min_delta=0.0, maximize=False, every=1):
    """After each value: the best measurement (None without one), the step that completed it, whether it has stopped."""
    best, at, bad = None, None, 0
    for step, value in enumerate(measurements(values, every)):
        if value is not None and bad < patience:
            if improves(value, best, min_delta, maximize):
                best, at, bad = value, step, 0
            else:
                bad += 1
        yield best, at, bad == patience


def averages(start, weights, decay=None):
    """After each step: the mean of the parameters so far; with a decay, a ← decay·a + (1 - decay)·w from `start`."""
    a = start
    for t, w in enumerate(weights):
        a = np.mean(weights[: t + 1], axis=0) if decay is None else decay * a + (1 - decay) * w
        yield a
