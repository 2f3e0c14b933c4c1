"""Optax's schedules: signatures, defaults and values as there, and each is a value of gradtx."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import jax.numpy as jnp
import optax
from jax.core import Tracer

from gradtx.optax.borrow import Fixed, Real, StepCount, optax_schedule
from gradtx.optax.hyperparams import inject_hyperparams as inject_hyperparams
from gradtx.optax.hyperparams import inject_stateful_hyperparams as inject_stateful_hyperparams
from gradtx.optax.trees import Plain, PlainTree, as_plain
from gradtx.schedules.ramp import half_wave, mix
from gradtx.values.annotations import Check
from gradtx.values.errors import Refusal

Terms = Annotated[Sequence[Any], Check(lambda name, values: tuple(values))]
Cycles = Annotated[Iterable[dict[str, Any]], Check(lambda name, values: tuple(as_plain(name, x) for x in values))]


@optax_schedule
def constant_schedule(value: Real):
    return lambda count: value


@optax_schedule
def polynomial_schedule(
    init_value: Real, end_value: Real, power: Real, transition_steps: StepCount, transition_begin: StepCount = 0
):
    def value(count: Any):
        done = jnp.clip(count - jnp.maximum(transition_begin, 0), 0, jnp.maximum(transition_steps, 0))
        left = 1.0 - done / at_least_some(transition_steps)  # 1 for ever where there are no steps, as in Optax
        share = jnp.where(left > 0, jnp.where(left > 0, left, 1.0) ** power, jnp.where(power == 0, 1.0, 0.0))
        return mix(share, init_value, end_value)

    return value


@optax_schedule
def linear_schedule(init_value: Real, end_value: Real, transition_steps: StepCount, transition_begin: StepCount = 0):
    return polynomial_schedule(init_value, end_value, 1.0, transition_steps, transition_begin)


@optax_schedule
def exponential_decay(
    init_value: Real,
    transition_steps: StepCount,
    decay_rate: Real,
    transition_begin: StepCount = 0,
    staircase: bool = False,
    end_value: Real | None = None,
):
    def value(count: Any):
        is_flat = jnp.logical_or(transition_steps <= 0, decay_rate == 0)
        passed = count - jnp.maximum(transition_begin, 0)
        share = passed / at_least_some(transition_steps)
        factor = jnp.power(jnp.where(is_flat, 1.0, decay_rate), jnp.floor(share) if staircase else share)
        decayed = init_value * jnp.where(passed <= 0, 1.0, factor)
        if end_value is None:
            return decayed
        bounded = jnp.where(decay_rate < 1.0, jnp.maximum(decayed, end_value), jnp.minimum(decayed, end_value))
        return jnp.where(is_flat, init_value, bounded)

    return value


@optax_schedule
def cosine_decay_schedule(init_value: Real, decay_steps: StepCount, alpha: Real = 0.0, exponent: Real = 1.0):
    require_positive("decay_steps", decay_steps)

    def value(count: Any):
        left = jnp.maximum(decay_steps - count, 0) / decay_steps
        return init_value * mix(half_wave(left) ** exponent, 1.0, alpha)

    return value


@optax_schedule
def piecewise_constant_schedule(init_value: Real, boundaries_and_scales: Plain = None):
    def value(count: Any):
        now = init_value
        for boundary, scale in rows_of(boundaries_and_scales):
            now = now * jnp.where(count < boundary, 1.0, scale)
        return now

    require_scales(boundaries_and_scales)
    return value


@optax_schedule
def piecewise_interpolate_schedule(interpolate_type: str, init_value: Real, boundaries_and_scales: Plain = None):
    if interpolate_type not in ("linear", "cosine"):
        raise Refusal(ValueError, "interpolate_type must be 'cosine' or 'linear'")
    require_scales(boundaries_and_scales)

    def value(count: Any):
        now, start, before = init_value, init_value, 0
        for boundary, scale in rows_of(boundaries_and_scales):
            end = start * scale
            share = jnp.clip((count - before) / jnp.maximum(boundary - before, 1), 0.0, 1.0)
            inside = mix(share if interpolate_type == "linear" else half_wave(share), end, start)
            now = jnp.where(count < before, now, jnp.where(count < boundary, inside, end))
            before, start = boundary, end
        return now

    return value


@optax_schedule
def linear_onecycle_schedule(
    transition_steps: Fixed,
    peak_value: Real,
    pct_start: Fixed = 0.3,
    pct_final: Fixed = 0.85,
    div_factor: Real = 25.0,
    final_div_factor: Real = 1e4,
):
    require_positive("transition_steps", transition_steps)
    top, bottom = pct_start * transition_steps, pct_final * transition_steps
    rows: Any = {int(top): div_factor, int(bottom): 1.0 / div_factor, int(transition_steps): 1.0 / final_div_factor}
    return piecewise_interpolate_schedule("linear", peak_value / div_factor, rows)


@optax_schedule
def cosine_onecycle_schedule(
    transition_steps: Fixed,
    peak_value: Real,
    pct_start: Fixed = 0.3,
    div_factor: Real = 25.0,
    final_div_factor: Real = 1e4,
):
    require_positive("transition_steps", transition_steps)
    rows = {int(pct_start * transition_steps): div_factor, int(transition_steps): 1.0 / (div_factor * final_div_factor)}
    return piecewise_interpolate_schedule("cosine", peak_value / div_factor, rows)


# ---- one after the other ----


@optax_schedule
def join_schedules(schedules: Terms, boundaries: Terms):
    def value(count: Any):
        now = schedules[0](count)
        for boundary, following in zip(boundaries, schedules[1:], strict=False):  # Optax takes too many boundaries too
            now = jnp.where(count < boundary, now, following(count - boundary))
        return now

    return value


@optax_schedule
def warmup_constant_schedule(init_value: Real, peak_value: Real, warmup_steps: StepCount):
    return linear_schedule(init_value, peak_value, warmup_steps)


@optax_schedule
def warmup_cosine_decay_schedule(
    init_value: Real,
    peak_value: Real,
    warmup_steps: StepCount,
    decay_steps: StepCount,
    end_value: Real = 0.0,
    exponent: Real = 1.0,
):
    rise = linear_schedule(init_value, peak_value, warmup_steps)
    share = jnp.where(peak_value == 0, 0.0, end_value / jnp.where(peak_value == 0, 1.0, peak_value))
    fall = cosine_decay_schedule(peak_value, decay_steps - warmup_steps, share, exponent)
    return join_schedules((rise, fall), (warmup_steps,))


@optax_schedule
def warmup_exponential_decay_schedule(
    init_value: Real,
    peak_value: Real,
    warmup_steps: StepCount,
    transition_steps: StepCount,
    decay_rate: Real,
    transition_begin: StepCount = 0,
    staircase: bool = False,
    end_value: Real | None = None,
):
    rise = linear_schedule(init_value, peak_value, warmup_steps)
    fall = exponential_decay(peak_value, transition_steps, decay_rate, transition_begin, staircase, end_value)
    return join_schedules((rise, fall), (warmup_steps,))


@optax_schedule
def sgdr_schedule(cosine_kwargs: Cycles):
    given: Any = cosine_kwargs
    cycles = [cycle.tree for cycle in given]
    ends: list[Any] = []
    for cycle in cycles:
        ends.append(cycle["decay_steps"] + (ends[-1] if ends else 0))
    return join_schedules([warmup_cosine_decay_schedule(**cycle) for cycle in cycles], ends[:-1])


# ---- the parts of these ----


def rows_of(boundaries_and_scales: PlainTree | None) -> list[Any]:
    return sorted(boundaries_and_scales.tree.items()) if boundaries_and_scales and boundaries_and_scales.tree else []


def require_scales(boundaries_and_scales: PlainTree | None) -> None:
    if any(not isinstance(scale, Tracer) and not scale >= 0 for _, scale in rows_of(boundaries_and_scales)):
        raise Refusal(ValueError, "scales must be at least 0")


def require_positive(name: str, steps: Any) -> None:
    if not isinstance(steps, Tracer) and not steps > 0:
        raise Refusal(ValueError, f"{name} must be above 0")


def at_least_some(steps: Any) -> Any:
    """The number of steps, or 1 where there are none."""
    return jnp.where(steps > 0, steps, 1)


def __getattr__(name: str) -> Any:  # what gradtx lacks
    return getattr(optax.schedules, name)


def __dir__() -> list[str]:
    return sorted({*dir(optax.schedules), *globals()})
