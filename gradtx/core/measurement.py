"""Numbers that are measured outside and handed in, such as a loss."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradtx.core.collectives import AXES, join_names, manual_axes, varying_axes
from gradtx.values.errors import Refusal


def as_measurement(name: str, value: Any) -> jax.Array:
    """A measured number in JAX's default float; an error for another value, and one that devices differ in."""
    got = type(value).__name__
    if isinstance(value, np.generic | np.ndarray | jax.Array):
        dtype, got = value.dtype, f"{value.dtype}{list(value.shape)}"
        real = jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer)
    else:
        real = isinstance(value, int | float) and not isinstance(value, bool)
    if not real or np.ndim(value):
        remedy = "; give one number, such as the mean" if real else ""
        raise Refusal(ValueError if real else TypeError, f"{name} must be a real scalar, got {got}{remedy}")
    require_alike(name, value)
    return jnp.asarray(value, jnp.result_type(float))


def require_alike(name: str, value: Any) -> None:
    """Refuse a number that differs between devices which work on one model."""
    axes = AXES.value
    if not manual_axes() or axes == ():
        return
    over = varying_axes(value) if axes is None else varying_axes(value) & frozenset(axes)
    if over:
        names = join_names(over)
        remedy = f"make it what they agree on, as by jax.lax.pmean over {sorted(over)}"
        own = "" if axes else "; across(tx, ()) where each has a model of its own"
        raise Refusal(ValueError, f"{name} differs along {names} from device to device; {remedy}{own}")
