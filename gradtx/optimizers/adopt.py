"""ADOPT: each gradient over the second moment of those before it."""

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
from gradtx.transforms.rate import scale_by_learning_rate
from gradtx.values.annotations import Decay, NonNegative


class ScaleByAdoptState(NamedTuple):
    """The state of `scale_by_adopt`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.scale_by_adopt()
    >>> _, state = tx.update(jnp.array([2.0]), tx.init(jnp.zeros(1)))
    >>> state.mu, state.nu
    (Array([0.], dtype=float32), Array([4.], dtype=float32))
    """

    count: Count
    mu: Updates  # the average of what is normalized
    nu: Squares  # second moment


@transformation
def scale_by_adopt(
    b1: Decay = 0.9,
    b2: Decay = 0.9999,
    eps: NonNegative = 1e-6,
    *,
    clip: bool = True,
    nesterov: bool = False,
):
    r"""The average of gradients over the root of the second moment before them, $m \leftarrow \beta_1 m +
    (1 - \beta_1)\,u$ with $u = g/\max(\sqrt{v}, \varepsilon)$ within $\pm(t - 1)^{1/4}$, and then
    $v \leftarrow \beta_2 v + (1 - \beta_2)\,g^2$. The first update, $t = 1$, is zero and sets $v = g^2$.

    As $g$ is not in the $v$ that it is divided by, the paper's bound holds for every $\beta_2$, unlike Adam's.

    **Arguments:** `b1` $\beta_1$ and `b2` $\beta_2 \in [0, 1)$; `eps` $\varepsilon \ge 0$, not 0 where gradients may
    stay zero (0/0). With `clip=False` $u$ has no bound; with `nesterov`,
    $\beta_1 m + (1 - \beta_1)\,u$ of the new $m$ goes out.

    **State:** `count`, `mu` $m$, `nu` $v$: two arrays per parameter.

    **Source:** Taniguchi et al., ADOPT (2024), algorithm 2, with the clipping of its second version. Equals Optax,
    whose `use_clipping=False` is `clip=False`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx, g = gradtx.scale_by_adopt(b1=0.5), jnp.array([4.0, -0.5])
    >>> tx.update(g, tx.update(g, tx.init(g))[1])[0]
    Array([ 0.5, -0.5], dtype=float32)
    """

    def init(p: Array):
        zeros = jnp.zeros_like(p)
        return dict(mu=zeros, nu=zeros)

    def update(g: Array, state: ScaleByAdoptState):
        is_first = state.count == 0.0
        u = jnp.where(is_first, 0.0, g / jnp.maximum(jnp.where(is_first, 1.0, root(state.nu)), eps))
        if clip:
            limit = jnp.maximum(state.count, 1.0) ** 0.25
            u = jnp.clip(u, -limit, limit)
        mu = b1 * state.mu + (1.0 - b1) * u
        nu = jnp.where(is_first, g**2, b2 * state.nu + (1.0 - b2) * g**2)
        return b1 * mu + (1.0 - b1) * u if nesterov else mu, dict(mu=mu, nu=nu)

    return per_array(ScaleByAdoptState, init, update)


@composition
def adopt(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    b2: Decay = 0.9999,
    eps: NonNegative = 1e-6,
    *,
    clip: bool = True,
    nesterov: bool = False,
    weight_decay: NonNegative = 0.0,
    mask: Mask | None = None,
):
    r"""ADOPT, $w \leftarrow w - \eta\,(m + \lambda w)$ with the direction $m$ of `scale_by_adopt`. The first step is
    that of the decay alone.

    **Arguments:** `learning_rate` $\eta \ge 0$, about Adam's; `weight_decay` $\lambda \ge 0$ and
    `mask`, which arrays decay, as in `add_decayed_weights`; the others, the state and the source are those of
    `scale_by_adopt`. `update` needs the parameters.

    >>> import gradtx
    >>> gradtx.adopt(1e-3, weight_decay=0.1)
    adopt(learning_rate=0.001, weight_decay=0.1)
    """
    direction = scale_by_adopt(b1, b2, eps, clip=clip, nesterov=nesterov)
    return chain(direction, add_decayed_weights(weight_decay, mask), scale_by_learning_rate(learning_rate))
