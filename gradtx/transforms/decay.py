"""Pulling the parameters toward zero."""

import jax.numpy as jnp

from gradtx.core.factories import transformation
from gradtx.core.lift import stateless
from gradtx.values.annotations import NonNegative


@transformation
def add_decayed_weights(weight_decay: NonNegative):
    r"""A share of the parameter added to its update, $g + \lambda w$.

    Before a preconditioner it is the gradient of the L2 penalty $\tfrac\lambda2\lVert w\rVert^2$, behind it the
    decoupled decay of AdamW; for plain gradient descent both are the same.

    **Arguments:** `weight_decay` $\lambda \ge 0$.

    **Raises:** `ValueError` where `update` is called without the parameters.

    **Source:** Loshchilov & Hutter, Decoupled Weight Decay Regularization (2019). Equals Optax's function of this name.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.add_decayed_weights(0.5)
    >>> w = jnp.array([2.0])
    >>> tx.update(jnp.array([1.0]), tx.init(w), w)[0]
    Array([2.], dtype=float32)
    """
    return stateless(lambda g, p: g + weight_decay * p)


@transformation
def add_sign_decay(sign_decay: NonNegative):
    r"""The parameter's sign added to its update, $g + \lambda\operatorname{sign}(w)$, with 0 for $w = 0$.

    Before a preconditioner it is the (sub)gradient of the L1 penalty $\lambda\lVert w\rVert_1$. Its steps jump over
    zero; `soft_threshold` stops there.

    **Arguments:** `sign_decay` $\lambda \ge 0$, in the units of the gradient.

    **Raises:** `ValueError` where `update` is called without the parameters.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.add_sign_decay(0.5)
    >>> w = jnp.array([2.0, -2.0, 0.0])
    >>> tx.update(jnp.ones(3), tx.init(w), w)[0]
    Array([1.5, 0.5, 1. ], dtype=float32)
    """
    return stateless(lambda g, p: g + sign_decay * jnp.sign(p))
