"""The direction of descent for complex parameters."""

from typing import Any

import jax
import jax.numpy as jnp

from gradtx.core.factories import transformation
from gradtx.core.lift import init_empty


@transformation
def conjugate():
    r"""The complex conjugate of every update, $\bar g$; real ones stay as they are.

    JAX's gradient of a real loss is the conjugate of the direction of steepest ascent in $\mathbb C = \mathbb R^2$
    (torch's is that direction): for complex parameters, put this at the head of the chain.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.conjugate()
    >>> tx.update(jnp.array([1.0 + 2.0j]), tx.init(None))[0]
    Array([1.-2.j], dtype=complex64)
    """

    def update(updates: Any, state: Any, params: Any = None):
        return jax.tree.map(jnp.conj, updates), state

    return init_empty, update
