"""Adan: Nesterov's momentum from the differences of gradients."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from gradtx.core.combine import chain
from gradtx.core.count import Count
from gradtx.core.factories import composition, transformation
from gradtx.core.lift import per_array
from gradtx.core.quantity import Squares
from gradtx.core.rule import Rule
from gradtx.core.transformation import Updates
from gradtx.core.tree import root
from gradtx.selectors import Mask
from gradtx.transforms.decay import add_decayed_weights
from gradtx.transforms.momentum import debias
from gradtx.transforms.rate import scale_by_learning_rate
from gradtx.transforms.shrink import shrink_parameters
from gradtx.values.annotations import Decay, NonNegative


class ScaleByAdanState(NamedTuple):
    """The state of `scale_by_adan`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.adan(1e-3, b1=0.5)
    >>> w = jnp.zeros(1)
    >>> _, state = tx.update(jnp.array([2.0]), tx.init(w), w)
    >>> gradtx.find(state, "m"), gradtx.find(state, "g")
    (Array([1.], dtype=float32), Array([2.], dtype=float32))
    """

    count: Count
    m: Updates  # the average of gradients
    v: Updates  # the average of their differences
    n: Squares  # second moment, of the gradient ahead
    g: Updates  # the last gradient


@transformation
def scale_by_adan(b1: Decay = 0.98, b2: Decay = 0.92, b3: Decay = 0.99, eps: NonNegative = 1e-8):
    r"""Adan's direction, $(\hat m + \beta_2\hat v)/(\sqrt{\hat n} + \varepsilon)$, with the difference of gradients
    $d = g - g_{t-1}$, 0 at first, and the averages $m \leftarrow \beta_1 m + (1 - \beta_1)\,g$,
    $v \leftarrow \beta_2 v + (1 - \beta_2)\,d$, $n \leftarrow \beta_3 n + (1 - \beta_3)(g + \beta_2 d)^2$, each
    corrected for its start as $\hat m = m/(1 - \beta_1^t)$. No call of it equals Optax's, where the factor of $\hat v$
    and of $d$ is $1 - \beta_2$.

    **Arguments:** `b1` $\beta_1$, `b2` $\beta_2$ and `b3` $\beta_3 \in [0, 1)$, which are $1 - \beta$ of the paper's;
    `eps` $\varepsilon \ge 0$, not 0 where gradients may stay zero (0/0).

    **State:** `count`, `m`, `v`, `n` and `g`, the last gradient: four arrays per parameter.

    **Source:** Xie et al., Adan (2022), algorithm 1. Equals the authors' code.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.scale_by_adan()
    >>> tx.update(jnp.array([4.0, -0.5]), tx.init(jnp.zeros(2)))[0].round(5)
    Array([ 1., -1.], dtype=float32)
    """
    return weigh_differences(b2, b1, b2, b3, eps)


def weigh_differences(
    weight: Decay, b1: Decay, b2: Decay, b3: Decay, eps: NonNegative, eps_root: NonNegative = 0.0
) -> Rule:
    """Adan's rule with this factor of the differences, which the authors have at b2."""

    def init(p: Array):
        zeros = jnp.zeros_like(p)
        return dict(m=zeros, v=zeros, n=zeros, g=zeros)

    def update(g: Array, state: ScaleByAdanState):
        t = state.count + 1.0
        difference = jnp.where(state.count > 0.0, g - state.g, 0.0)
        m = b1 * state.m + (1.0 - b1) * g
        v = b2 * state.v + (1.0 - b2) * difference
        n = b3 * state.n + (1.0 - b3) * (g + weight * difference) ** 2
        ahead = debias(m, b1, t) + weight * debias(v, b2, t)
        return ahead / (root(debias(n, b3, t) + eps_root) + eps), dict(m=m, v=v, n=n, g=g)

    return per_array(ScaleByAdanState, init, update)


@composition
def adan(
    learning_rate: NonNegative,
    b1: Decay = 0.98,
    b2: Decay = 0.92,
    b3: Decay = 0.99,
    eps: NonNegative = 1e-8,
    *,
    weight_decay: NonNegative = 0.0,
    mask: Mask | None = None,
    proximal: bool = True,
):
    r"""Adan with proximal weight decay, $w \leftarrow (w - \eta u)/(1 + \eta\lambda)$ of the direction $u$ of
    `scale_by_adan`; without `proximal`, $w \leftarrow w - \eta\,(u + \lambda w)$, as in AdamW. No call of it equals
    Optax's, which has another direction.

    **Arguments:** `learning_rate` $\eta \ge 0$; `weight_decay` $\lambda \ge 0$; `mask`, which arrays decay, as in
    `add_decayed_weights`; the others, the state and the source are those of `scale_by_adan`. `update` needs the
    parameters. The proximal decay does not follow a `reduce_on_plateau` behind it.

    >>> import gradtx
    >>> gradtx.adan(1e-3, weight_decay=0.02)
    adan(learning_rate=0.001, weight_decay=0.02)
    """
    direction, descent = scale_by_adan(b1, b2, b3, eps), scale_by_learning_rate(learning_rate)
    if proximal:
        return chain(direction, descent, shrink_parameters(weight_decay, learning_rate, mask))
    return chain(direction, add_decayed_weights(weight_decay, mask), descent)
