"""StableAdamW: AdamW whose step shrinks where the second moment lags behind the gradient."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from gradtx.core.combine import chain
from gradtx.core.count import Count
from gradtx.core.factories import composition, transformation
from gradtx.core.lift import per_array
from gradtx.core.quantity import Squares
from gradtx.core.transformation import Updates
from gradtx.core.tree import root, root_mean_square
from gradtx.selectors import Mask
from gradtx.transforms.momentum import debias
from gradtx.transforms.rate import scale_by_learning_rate
from gradtx.transforms.shrink import by_mask
from gradtx.values.annotations import Decay, NonNegative


class ScaleByStableAdamwState(NamedTuple):
    """The state of `scale_by_stable_adamw`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx, w = gradtx.stable_adamw(1e-3, b1=0.5, b2=0.75), jnp.zeros(1)
    >>> _, state = tx.update(jnp.array([2.0]), tx.init(w), w)
    >>> gradtx.find(state, "mu"), gradtx.find(state, "nu")
    (Array([1.], dtype=float32), Array([1.], dtype=float32))
    """

    count: Count
    mu: Updates  # first moment
    nu: Squares  # second moment


@transformation
def scale_by_stable_adamw(
    b1: Decay = 0.9,
    b2: Decay = 0.99,
    eps: NonNegative = 1e-6,
    *,
    weight_decay: NonNegative = 1e-2,
    mask: Mask | None = None,
):
    r"""AdamW's direction over its surprise, $(\hat m/(\sqrt{\hat v} + \varepsilon) + \lambda w)/\max(1, r)$ with Adam's
    $\hat m$ and $\hat v$, and $r = \operatorname{rms}(g/\sqrt{\max(\hat v, \varepsilon^2)})$ of each array: a gradient
    larger than those before makes a smaller step, in the place of clipping it.

    **Arguments:** `b1` $\beta_1$ and `b2` $\beta_2 \in [0, 1)$; `eps` $\varepsilon \ge 0$, not 0 where gradients may
    stay zero (0/0); `weight_decay` $\lambda \ge 0$, which shrinks with the step, too; `mask`, which arrays decay, as in
    `add_decayed_weights`.

    **State:** `count`, `mu` $m$, `nu` $v$: two arrays per parameter.

    **Raises:** `ValueError` where `update` is called without the parameters; (`init`) where no array decays.

    **Source:** Wortsman et al., Stable and low-precision training (2023), algorithm 2. Equals optimi, which keeps
    $\hat m$ and $\hat v$ themselves. The parts of a complex array are two elements here.

    >>> import gradtx, jax.numpy as jnp
    >>> tx, w = gradtx.scale_by_stable_adamw(), jnp.zeros(2)
    >>> _, state = tx.update(jnp.array([1.0, 1.0]), tx.init(w), w)
    >>> tx.update(jnp.array([4.0, -4.0]), state, w)[0].round(2)  # Adam's: 0.88, -0.56
    Array([ 0.64, -0.41], dtype=float32)
    """

    def init(p: Array):
        zeros = jnp.zeros_like(p)
        return dict(mu=zeros, nu=zeros)

    def moments(g: Array, state: ScaleByStableAdamwState):
        t = state.count + 1.0
        mu = b1 * state.mu + (1.0 - b1) * g
        nu = b2 * state.nu + (1.0 - b2) * g**2
        spread = debias(nu, b2, t)
        least = jnp.square(jnp.asarray(eps, spread.dtype))  # which is inf where it would overflow
        surprise = root_mean_square(g / root(jnp.maximum(spread, least)))
        return debias(mu, b1, t) / (root(spread) + eps), jnp.maximum(surprise, 1.0), dict(mu=mu, nu=nu)

    def update(g: Array, state: ScaleByStableAdamwState, p: Array):
        u, surprise, fields = moments(g, state)
        return (u + weight_decay * p) / surprise, fields

    def update_others(g: Array, state: ScaleByStableAdamwState):
        u, surprise, fields = moments(g, state)
        return u / surprise, fields

    decayed, others = (per_array(ScaleByStableAdamwState, init, x) for x in (update, update_others))
    return by_mask(mask, decayed, others)


@composition
def stable_adamw(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    b2: Decay = 0.99,
    eps: NonNegative = 1e-6,
    *,
    weight_decay: NonNegative = 1e-2,
    mask: Mask | None = None,
):
    r"""StableAdamW, $w \leftarrow w - \frac\eta{\max(1, r)}(\hat m/(\sqrt{\hat v} + \varepsilon) + \lambda w)$:
    `scale_by_stable_adamw` times the learning rate.

    **Arguments:** `learning_rate` $\eta \ge 0$; the others, the state and the source are those of
    `scale_by_stable_adamw`. `update` needs the parameters.

    >>> import gradtx
    >>> gradtx.stable_adamw(1e-3)
    stable_adamw(learning_rate=0.001)
    """
    direction = scale_by_stable_adamw(b1, b2, eps, weight_decay=weight_decay, mask=mask)
    return chain(direction, scale_by_learning_rate(learning_rate))
