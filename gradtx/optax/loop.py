"""Optax's functions of whole trees in a training loop."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from gradtx.core import check
from gradtx.core.apply import apply_updates as add_updates
from gradtx.core.tree import global_norm as norm_of
from gradtx.values.errors import Refusal, errors_of
from gradtx.wrappers.schedule_free import recover_average

original_apply_updates = optax.apply_updates


def apply_updates(params: Any, updates: Any) -> Any:
    """Optax's function, by gradtx's, which adds in one compiled call and leaves alone what has no update."""
    try:
        return add_updates(params, updates)
    except (TypeError, ValueError) as refusal:  # whole numbers, and what else Optax lets pass
        try:
            return original_apply_updates(params, updates)
        except ValueError:  # of JAX, which knows of no call
            raise refusal from None


def global_norm(updates: Any) -> jax.Array:
    """Optax's function, accumulated in at least float32."""
    return norm_of(updates)


def schedule_free_eval_params(state: Any, params: Any) -> Any:
    """Optax's function, the average that `schedule_free` evaluates with, in at least float32."""
    with errors_of("schedule_free_eval_params"):
        if getattr(state, "b1", None) is None or getattr(state, "z", None) is None:
            got = type(state).__name__
            remedy = "of a chain hand in the part of schedule_free"
            raise Refusal(ValueError, f"the state must be a ScheduleFreeState, got {got}; {remedy}")

        def average(y: Any, z: Any) -> jax.Array:
            dtype = check.promote(jnp.result_type(y), check.promote(jnp.result_type(z)))
            return recover_average(jnp.asarray(y, dtype), jnp.asarray(z, dtype), jnp.asarray(state.b1).astype(dtype))

        return jax.tree.map(average, params, state.z)
