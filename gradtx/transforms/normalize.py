"""All updates as one vector of a fixed length."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from gradtx.core import check
from gradtx.core.factories import transformation
from gradtx.core.lift import init_empty, scaling
from gradtx.core.rule import Rule
from gradtx.core.tree import joint_norm
from gradtx.values.annotations import NonNegative, Scalar


@transformation
def normalize(eps: NonNegative = 1e-6):
    r"""All arrays as one vector over its norm, $g/(\lVert g\rVert_2 + \varepsilon)$: with a rate behind it, steps of
    that length. Zeros stay zeros. Optax's default is `eps=0.0`, in `optax.contrib.normalize`, which makes NaN of zeros.

    **Arguments:** `eps` $\varepsilon \ge 0$, in the units of the gradient.

    **Raises:** `ValueError` where only some arrays are in sight, as in a group of a `partition`.

    **Source:** equals Optax's `normalize_by_update_norm`, whose `scale_factor` is that of a `scale` behind it. A finite
    norm beyond float32 (1.8e19) gives zeros.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.normalize(eps=0.0)
    >>> tx.update({"w": jnp.array([6.0]), "b": jnp.array([8.0])}, tx.init(None))[0]
    {'b': Array([0.8], dtype=float32), 'w': Array([0.6], dtype=float32)}
    """
    return over_norm(eps, whole="put it ahead of what selects them")


def over_norm(eps: NonNegative, share: Scalar = 1.0, whole: str = "") -> Rule:
    """The rule that divides all arrays in sight by their norm, and multiplies them by a number."""

    def factor(state: Any, updates: Any) -> tuple[jax.Array, Any]:
        check.require_state(state, optax.EmptyState)
        size = joint_norm(updates)
        return share / jnp.where(size > 0, size + eps, 1.0), state

    return scaling(init_empty, factor, whole=whole)
