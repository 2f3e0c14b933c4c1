"""Measurements as they come in: means of several, the best so far, and how many came since."""

from typing import Any

import jax
import jax.numpy as jnp

from gradtx.core.count import as_real, increment
from gradtx.core.measurement import as_measurement
from gradtx.values.annotations import Fraction, NonNegative, Steps


def start_measuring(maximize: bool) -> dict[str, jax.Array]:
    """The fields that `follow` keeps in a state, before the first measurement."""
    number = jnp.result_type(float)
    return dict(
        best_value=jnp.array(-jnp.inf if maximize else jnp.inf, number),
        plateau_count=jnp.zeros([], jnp.int32),  # means since the best one
        count=jnp.zeros([], jnp.int32),  # measurements in the mean that is being taken
        avg_value=jnp.zeros([], number),  # that mean
    )


def measure(
    state: Any, value: Any, *, rtol: Fraction, atol: NonNegative, maximize: bool, every: Steps
) -> tuple[dict[str, jax.Array], jax.Array, jax.Array]:
    """The fields after a measurement, whether it completed a mean, and whether that one is better than the best.

    A mean with NaN or an infinity in it is never better, for it says nothing about the parameters that one would keep.
    """
    count = state.count + 1
    change = as_measurement("value", value) - state.avg_value
    mean = state.avg_value + change / as_real(count)  # no sum that outgrows it
    complete = as_real(count) >= every
    best = state.best_value
    margin = atol + rtol * jnp.abs(jnp.where(jnp.isfinite(best), best, 0.0))
    gain = mean - best if maximize else best - mean
    better = complete & jnp.isfinite(mean) & (gain > margin)
    fields = dict(
        best_value=jnp.where(better, mean, best),
        plateau_count=jnp.where(better, 0, jnp.where(complete, increment(state.plateau_count), state.plateau_count)),
        count=jnp.where(complete, 0, count),
        avg_value=jnp.where(complete, 0.0, mean),
    )
    return fields, complete, better
