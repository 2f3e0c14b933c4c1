"""Pulling the parameters toward zero."""

from typing import Any

import jax.numpy as jnp

from gradtx.core.factories import transformation
from gradtx.core.flow import Flow
from gradtx.core.lift import stateless
from gradtx.core.rule import Rule
from gradtx.selectors import Mask, choose_some, two_routes
from gradtx.values.annotations import NonNegative


@transformation
def add_decayed_weights(weight_decay: NonNegative, mask: Mask | None = None):
    r"""A share of the parameter added to its update, $g + \lambda w$.

    Before a preconditioner it is the gradient of the L2 penalty $\tfrac\lambda2\lVert w\rVert^2$, behind it the
    decoupled decay of AdamW; for plain gradient descent both are the same.

    **Arguments:** `weight_decay` $\lambda \ge 0$; `mask`, which arrays decay: a selector, a tree of booleans or a
    function of the parameters that returns one, as in `masked`. By default all do.

    **Raises:** `ValueError` where `update` is called without the parameters; (`init`) where no array decays.

    **Source:** Loshchilov & Hutter, Decoupled Weight Decay Regularization (2019). Equals Optax's function of this name.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.add_decayed_weights(0.5)
    >>> w = jnp.array([2.0])
    >>> tx.update(jnp.array([1.0]), tx.init(w), w)[0]
    Array([2.], dtype=float32)
    >>> tx = gradtx.add_decayed_weights(0.5, mask=gradtx.by_path("kernel"))
    >>> w = {"bias": jnp.array([2.0]), "kernel": jnp.array([2.0])}
    >>> tx.update(w, tx.init(w), w)[0]
    {'bias': Array([2.], dtype=float32), 'kernel': Array([3.], dtype=float32)}
    """
    rule = stateless(lambda g, p: g + weight_decay * p)
    if mask is None:
        return rule

    def init(params: Any) -> Any:
        choose_some(mask, params, "mask")
        return rule.init(params)

    def advance_some(flow: Flow, state: Any, extra: dict[str, Any]) -> Any:
        return rule.advance(flow.select(mask.chosen(flow.selector_tree)), state, extra)

    return Rule(
        init,
        advance_some,
        routes=lambda tree: two_routes(mask.chosen(tree), tree, "decayed", "as it is"),
        everywhere=True,
    )


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
