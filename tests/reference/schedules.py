"""Schedules: each function gives a function of one step count τ, 0 at the first step."""

import math


def constant(value):
    """η."""
    return lambda t: value


def linear(start, end, steps):
    """(1 - τ/K)·η₀ + (τ/K)·η_K, then η_K."""
    return lambda t: (1 - t / steps) * start + (t / steps) * end if t < steps else end


def polynomial(start, end, steps, power):
    """η_K + (η₀ - η_K)·(1 - τ/K)^p, then η_K."""
    return lambda t: end + (start - end) * ((steps - t) / steps) ** power if t < steps else end


def power(start, scale, exponent):
    """η₀·(1 + τ/s)^c."""
    return lambda t: start * (1 + t / scale) ** exponent


def inverse_time(start, decay_rate):
    """η₀/(1 + kτ)."""
    return lambda t: start / (1 + decay_rate * t)


def inverse_sqrt(start, k=1.0):
    """k·η₀/√τ, at 0 as at 1."""
    return lambda t: k * start / math.sqrt(max(t, 1))


def step(start, factor, every):
    """η₀·c^⌊τ/s⌋."""
    return lambda t: start * factor ** math.floor(t / every)


def piecewise_constant(boundaries, values):
    """The value of the piece."""
    return lambda t: values[sum(b <= t for b in boundaries)]


def exponential(start, factor, every, staircase=False):
    """η₀·c^(τ/s); with staircase, η₀·c^⌊τ/s⌋."""
    return lambda t: start * factor ** (math.floor(t / every) if staircase else t / every)


def cosine(start, steps, floor=0.0):
    """f + ½(η₀ - f)(1 + cos(πτ/T)), then f."""
    return lambda t: floor + 0.5 * (start - floor) * (1 + math.cos(math.pi * t / steps)) if t < steps else floor


def warmup(value, steps):
    """η·(τ + 1)/K, then η."""
    return lambda t: value * (t + 1) / steps if t + 1 < steps else value


def warmup_stable_decay(peak, steps, warmup_steps, decay_steps, floor=0.0):
    """Up, η, and down in the last D steps."""

    def value(t):
        if t < steps - decay_steps:
            return peak * min((t + 1) / warmup_steps, 1)
        return floor + (peak - floor) * (steps - t) / decay_steps if t < steps else floor

    return value


def one_cycle(peak, steps, rise, fall, start_share, end_share, cosine=False):
    """sη to η to sη to eη, then eη."""
    return phases(steps, rise, fall, [start_share * peak, peak, start_share * peak, end_share * peak], cosine)


def one_cycle_momentum(steps, high, low, rise, fall, cosine=False):
    """μ to μ' to μ, then μ."""
    return phases(steps, rise, fall, [high, low, high, high], cosine)


def phases(steps, rise, fall, values, cosine):
    joints = [0, rise * steps, (rise + fall) * steps, steps]

    def value(t):
        for i in range(3):
            if t < joints[i + 1]:
                done = (t - joints[i]) / (joints[i + 1] - joints[i])
                done = (1 - math.cos(math.pi * done)) / 2 if cosine else done
                return values[i] * (1 - done) + values[i + 1] * done
        return values[3]

    return value


def cyclic(low, high, half_period, decay=1.0):
    """a + (b - a)·d^n·(1 - |τₙ/h - 1|)."""

    def value(t):
        n, rest = divmod(t, 2 * half_period)
        return low + (high - low) * decay**n * (1 - abs(rest / half_period - 1))

    return value


def cosine_restarts(start, period, factor=1, decay=1.0, floor=0.0):
    """f + ½(η₀ - f)·d^n·(1 + cos(πτₙ/Tₙ))."""

    def value(t):
        rest, length, n = t, period, 0
        if factor == 1:
            n, rest = divmod(t, period)
        while rest >= length:
            rest, length, n = rest - length, length * factor, n + 1
        return floor + 0.5 * (start - floor) * decay**n * (1 + math.cos(math.pi * rest / length))

    return value


def per_epoch(schedule, steps_per_epoch, continuous=False):
    """The schedule at ⌊τ/n⌋; continuous, at τ/n."""
    return lambda t: schedule(t / steps_per_epoch if continuous else t // steps_per_epoch)


def then(first, following, at):
    """The first one before `at`, then the following one, which counts from zero there."""
    return lambda t: first(t) if t < at else following(t - at)


def plus(a, b):
    return lambda t: a(t) + b(t)


def times(a, b):
    return lambda t: a(t) * b(t)
