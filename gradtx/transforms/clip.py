"""Clipping: bounds on elements, on arrays and on the whole tree."""

from typing import Any

import jax.numpy as jnp

from gradtx.core.lift import init_empty, scaling, stateless
from gradtx.core.recipe import Positive
from gradtx.core.transformation import transformation
from gradtx.core.tree import global_norm, norm


@transformation
def clip_by_value(limit: Positive):
    r"""Each element into the interval, $\min(\max(g, -\ell), \ell)$: the direction changes.

    **Arguments:** `limit` $\ell > 0$, in the units of the gradient.

    Equals Optax's `clip`, torch's `clip_grad_value_` and Keras' `clipvalue`. A complex element is clipped in its real
    and its imaginary part.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.clip_by_value(1.0)
    >>> tx.update(jnp.array([0.5, 100.0]), tx.init(None))[0]
    Array([0.5, 1. ], dtype=float32)
    """
    return stateless(lambda g: jnp.clip(g, -limit, limit))


@transformation
def clip_by_norm(max_norm: Positive):
    r"""Each array by itself to a norm of at most $c$, $g \cdot c / \max(\lVert g\rVert_2, c)$: the direction stays.

    **Arguments:** `max_norm` $c > 0$, in the units of the gradient.

    Equals Keras' `clipnorm`; Optax bounds $\lVert g\rVert_2/\sqrt n$ in `clip_by_block_rms`.
    A finite norm beyond float32 (1.8e19) gives zeros.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.clip_by_norm(5.0)
    >>> tx.update({"w": jnp.array([6.0, 8.0]), "b": jnp.array([1.0])}, tx.init(None))[0]
    {'b': Array([1.], dtype=float32), 'w': Array([3., 4.], dtype=float32)}
    """
    return stateless(lambda g: g * shrinkage(norm(g), max_norm))


@transformation
def clip_by_global_norm(max_norm: Positive):
    r"""All arrays as one vector to a norm of at most $c$, $g \cdot c / \max(\lVert g\rVert_2, c)$: the direction stays.

    **Arguments:** `max_norm` $c > 0$, in the units of the gradient.

    **Source:** Pascanu, Mikolov & Bengio, On the difficulty of training recurrent neural networks (2013), algorithm 1.
    Equals Optax's function of this name and Keras' `global_clipnorm`; torch's `clip_grad_norm_` adds 1e-6 to the norm.
    A finite norm beyond float32 (1.8e19) gives zeros.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.clip_by_global_norm(5.0)
    >>> tx.update({"w": jnp.array([6.0]), "b": jnp.array([8.0])}, tx.init(None))[0]
    {'b': Array([4.], dtype=float32), 'w': Array([3.], dtype=float32)}
    """

    def factor(state: Any, updates: Any):
        return shrinkage(global_norm(updates), max_norm), state

    return scaling(init_empty, factor)


def shrinkage(norm: Any, max_norm: Any) -> Any:
    """The factor that brings a norm down to its bound; exactly 1 below it, without a kink in its gradient at zero."""
    return max_norm / jnp.maximum(norm, max_norm)
