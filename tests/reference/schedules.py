"""Schedules: each function gives a function of one step count τ, 0 at the first step."""

import math


def constant(value):
    """η."""
    return lambda t: value


def linear(start, end, steps):
    """(1 - τ/K)·η₀ + (τ/K)·η_K, then η_K."""
    return lambda t: (1 - t / steps) * start + (t / steps) * end if t < steps else end


def exponential(start, factor, every, staircase=False):
    """η₀·c^(τ/s); with staircase, η₀·c^⌊τ/s⌋."""
    return lambda t: start * factor ** (math.floor(t / every) if staircase else t / every)


def cosine(start, steps, floor=0.0):
    """f + ½(η₀ - f)(1 + cos(πτ/T)), then f."""
    return lambda t: floor + 0.5 * (start - floor) * (1 + math.cos(math.pi * t / steps)) if t < steps else floor


def warmup(value, steps):
    """η·(τ + 1)/K, then η."""
    return lambda t: value * (t + 1) / steps if t + 1 < steps else value


def then(first, following, at):
    """The first one before `at`, then the following one, which counts from zero there."""
    return lambda t: first(t) if t < at else following(t - at)


def plus(a, b):
    return lambda t: a(t) + b(t)


def times(a, b):
    return lambda t: a(t) * b(t)
