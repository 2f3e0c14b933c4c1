"""The count of updates, and what hyperparameters are at a count."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradtx.values.recipe import Controlled

Count = jax.Array  # int32, (): the number of updates done so far


class ScheduledState(NamedTuple):
    """The state of a transformation with a schedule among its hyperparameters.

    >>> import gradtx, jax.numpy as jnp
    >>> state = gradtx.scale_by_momentum(gradtx.linear(0.5, 0.9, 100)).init(jnp.zeros(2))
    >>> float(state.hyperparams["decay"]), state.inner_state.trace
    (0.5, Array([0., 0.], dtype=float32))
    """

    count: Count
    hyperparams: dict[str, jax.Array]  # the values that the last update used
    inner_state: Any


def value_at(value: Any, count: Count) -> jax.Array:
    """A hyperparameter's number at a count, in JAX's default float, in a buffer of its own that may be donated."""
    return jnp.array(value(count) if callable(value) else value, jnp.result_type(float))


def in_force(value: Any, count: Count, held: jax.Array) -> jax.Array:
    """A hyperparameter's number at a count, beside the number that the state holds of it."""
    return held if isinstance(value, Controlled) else value_at(value, count)


def as_weak(x: jax.Array) -> jax.Array:
    """A number that takes the dtype of the array that it meets, as a Python float does."""
    return jax.lax.convert_element_type_p.bind(x, new_dtype=x.dtype, weak_type=True, sharding=None)


def as_real(x: Any) -> Any:
    """Whole numbers as ones that may meet floats, also where JAX promotes nothing by itself."""
    whole = hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jnp.integer)
    return x.astype(jnp.result_type(float)) if whole else x


def as_count(x: Any) -> Count:
    return jnp.asarray(x).astype(jnp.int32)


def period_of(every: Any) -> Any:
    """A number of steps, which a schedule may have made a real one: the next whole one."""
    x = jnp.asarray(every)
    return as_count(x if jnp.issubdtype(x.dtype, jnp.integer) else jnp.ceil(x))


def increment(count: Count) -> Count:
    """One more, up to the largest count there is."""
    return jnp.minimum(count, jnp.iinfo(count.dtype).max - 1) + 1
