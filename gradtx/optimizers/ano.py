"""Ano: where to from an average, how far from the last gradient."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from gradtx.core.combine import chain
from gradtx.core.count import Count
from gradtx.core.factories import composition, transformation
from gradtx.core.lift import per_array
from gradtx.core.quantity import Squares
from gradtx.core.transformation import Updates
from gradtx.core.tree import root
from gradtx.selectors import Mask
from gradtx.transforms.decay import add_decayed_weights
from gradtx.transforms.momentum import debias
from gradtx.transforms.rate import scale_by_learning_rate
from gradtx.values.annotations import Decay, NonNegative


class ScaleByAnoState(NamedTuple):
    """The state of `scale_by_ano`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.scale_by_ano(b1=0.5, b2=0.75)
    >>> _, state = tx.update(jnp.array([2.0]), tx.init(jnp.zeros(1)))
    >>> state.mu, state.nu
    (Array([1.], dtype=float32), Array([1.], dtype=float32))
    """

    count: Count
    mu: Updates  # first moment
    nu: Squares  # second moment


@transformation
def scale_by_ano(b1: Decay = 0.92, b2: Decay = 0.99, eps: NonNegative = 1e-8):
    r"""The sign of the average, the size of the gradient, $|g|\,\operatorname{sign}(m) / (\sqrt{\hat v} + \varepsilon)$
    with $m \leftarrow \beta_1 m + (1 - \beta_1)\,g$,
    $v \leftarrow \beta_2 v + (1 - \beta_2)\operatorname{sign}(g^2 - v)\,g^2$ and $\hat v = v/(1 - \beta_2^t)$.

    **Arguments:** `b1` $\beta_1$ and `b2` $\beta_2 \in [0, 1)$: below $\tfrac12$, $v$ may fall below zero, and then
    counts as zero; `eps` $\varepsilon \ge 0$, not 0 where gradients may stay zero (0/0).

    **State:** `count`, `mu` $m$, `nu` $v$: two arrays per parameter.

    **Source:** Kegreisz, Ano (2025). Equals pytorch_optimizer's.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.scale_by_ano()
    >>> tx.update(jnp.array([4.0, -0.5]), tx.init(jnp.zeros(2)))[0].round(5)
    Array([ 1., -1.], dtype=float32)
    """

    def init(p: Array):
        zeros = jnp.zeros_like(p)
        return dict(mu=zeros, nu=zeros)

    def update(g: Array, state: ScaleByAnoState):
        mu = b1 * state.mu + (1.0 - b1) * g
        nu = b2 * state.nu + (1.0 - b2) * jnp.sign(g**2 - state.nu) * g**2
        spread = debias(jnp.maximum(nu, 0.0), b2, state.count + 1.0)
        return jnp.abs(g) * jnp.sign(mu) / (root(spread) + eps), dict(mu=mu, nu=nu)

    return per_array(ScaleByAnoState, init, update)


@composition
def ano(
    learning_rate: NonNegative,
    b1: Decay = 0.92,
    b2: Decay = 0.99,
    eps: NonNegative = 1e-8,
    *,
    weight_decay: NonNegative = 0.0,
    mask: Mask | None = None,
):
    r"""Ano, $w \leftarrow w - \eta\,(|g|\,\operatorname{sign}(m)/(\sqrt{\hat v} + \varepsilon) + \lambda w)$, the
    direction of `scale_by_ano`: for noisy gradients, as of reinforcement learning.

    **Arguments:** `learning_rate` $\eta \ge 0$, about Adam's; `weight_decay` $\lambda \ge 0$ and
    `mask`, which arrays decay, as in `add_decayed_weights`; the others, the state and the source are those of
    `scale_by_ano`. `update` needs the parameters.

    >>> import gradtx
    >>> gradtx.ano(1e-4)
    ano(learning_rate=0.0001)
    """
    direction = scale_by_ano(b1, b2, eps)
    return chain(direction, add_decayed_weights(weight_decay, mask), scale_by_learning_rate(learning_rate))
