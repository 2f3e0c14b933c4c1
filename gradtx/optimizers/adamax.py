"""Adam with the largest past gradient in place of the root mean square."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from gradtx.core.combine import chain
from gradtx.core.count import Count
from gradtx.core.factories import composition, transformation
from gradtx.core.lift import per_array
from gradtx.core.quantity import Squares
from gradtx.core.transformation import Updates
from gradtx.selectors import Mask
from gradtx.transforms.decay import add_decayed_weights
from gradtx.transforms.momentum import debias
from gradtx.transforms.rate import scale_by_learning_rate
from gradtx.values.annotations import Decay, NonNegative


class ScaleByAdamaxState(NamedTuple):
    """The state of `scale_by_adamax`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.adamax(1e-3)
    >>> _, state = tx.update(jnp.array([-2.0]), tx.init(jnp.zeros(1)))
    >>> gradtx.find(state, "nu")
    Array([2.], dtype=float32)
    """

    count: Count
    mu: Updates  # first moment
    nu: Squares  # the norm: the largest gradient, fading


@transformation
def scale_by_adamax(b1: Decay = 0.9, b2: Decay = 0.999, eps: NonNegative = 1e-8, *, eps_max: NonNegative = 0.0):
    r"""Adam in the $L_\infty$ norm, $\hat m / (u + \varepsilon)$, with $m \leftarrow \beta_1 m + (1 - \beta_1)\,g$,
    $\hat m = m/(1 - \beta_1^t)$ and $u \leftarrow \max(\beta_2 u,\ |g| + \varepsilon_m)$, which needs no correction.
    Optax's default is `eps=0.0, eps_max=1e-8`, torch's too.

    **Arguments:** `b1` $\beta_1$ and `b2` $\beta_2 \in [0, 1)$; `eps` $\varepsilon$ and `eps_max`
    $\varepsilon_m \ge 0$, not both 0 where gradients may stay zero (0/0).

    **State:** `count`, `mu` $m$, `nu` $u$: two arrays per parameter.

    **Source:** Kingma & Ba, Adam (2015), algorithm 2. Equals Keras, whose `eps` is 1e-7.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.scale_by_adamax()
    >>> tx.update(jnp.array([4.0, -0.5]), tx.init(jnp.zeros(2)))[0].round(5)
    Array([ 1., -1.], dtype=float32)
    """

    def init(p: Array):
        zeros = jnp.zeros_like(p)
        return dict(mu=zeros, nu=zeros)

    def update(g: Array, state: ScaleByAdamaxState):
        mu = b1 * state.mu + (1.0 - b1) * g
        nu = jnp.maximum(b2 * state.nu, jnp.abs(g) + eps_max)
        return debias(mu, b1, state.count + 1.0) / (nu + eps), dict(mu=mu, nu=nu)

    return per_array(ScaleByAdamaxState, init, update)


@composition
def adamax(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    *,
    eps_max: NonNegative = 0.0,
):
    r"""Adamax, $w \leftarrow w - \eta\,\hat m/(u + \varepsilon)$: `scale_by_adamax` times the learning rate.
    Optax's default is `eps=0.0, eps_max=1e-8`, torch's too; Keras' is `eps=1e-7`.

    **Arguments:** `learning_rate` $\eta \ge 0$; the others, the state and the source are those of `scale_by_adamax`.

    >>> import gradtx
    >>> gradtx.adamax(2e-3)
    adamax(learning_rate=0.002)
    """
    return chain(scale_by_adamax(b1, b2, eps, eps_max=eps_max), scale_by_learning_rate(learning_rate))


@composition
def adamaxw(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    *,
    weight_decay: NonNegative = 1e-4,
    mask: Mask | None = None,
    eps_max: NonNegative = 0.0,
):
    r"""Adamax with decoupled weight decay, $w \leftarrow w - \eta\,(\hat m/(u + \varepsilon) + \lambda w)$. Optax's
    default is `eps=0.0, eps_max=1e-8`.

    **Arguments:** `learning_rate` $\eta \ge 0$; `weight_decay` $\lambda \ge 0$; `mask`, which arrays decay, as in
    `add_decayed_weights`; the others and the state are those of `scale_by_adamax`. `update` needs the parameters.

    **Source:** Adamax as in `scale_by_adamax`, the decay as in `adamw`.

    >>> import gradtx
    >>> gradtx.adamaxw(2e-3, weight_decay=0.1)
    adamaxw(learning_rate=0.002, weight_decay=0.1)
    """
    direction = scale_by_adamax(b1, b2, eps, eps_max=eps_max)
    return chain(direction, add_decayed_weights(weight_decay, mask), scale_by_learning_rate(learning_rate))
