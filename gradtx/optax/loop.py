"""Optax's functions of whole trees in a training loop."""

from typing import Any

import jax
import optax

from gradtx.core.apply import apply_updates as add_updates
from gradtx.core.tree import global_norm as norm_of


def apply_updates(params: Any, updates: Any) -> Any:
    """Optax's function, by gradtx's, which adds in one compiled call and leaves alone what has no update."""
    try:
        return add_updates(params, updates)
    except (TypeError, ValueError):  # whole numbers, and what else Optax lets pass
        return original_apply_updates(params, updates)


def global_norm(updates: Any) -> jax.Array:
    """Optax's function, accumulated in at least float32."""
    return norm_of(updates)


original_apply_updates = optax.apply_updates
