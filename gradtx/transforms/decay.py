"""Pulling the parameters toward zero."""

from gradtx.core.lift import stateless
from gradtx.core.recipe import NonNegative
from gradtx.core.transformation import transformation


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
