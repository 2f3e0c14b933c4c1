"""Adam and its family."""

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


class ScaleByAdamState(NamedTuple):
    """The state of `scale_by_adam`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.adam(1e-3, b1=0.5, b2=0.75)
    >>> _, state = tx.update(jnp.array([2.0]), tx.init(jnp.zeros(1)))
    >>> gradtx.find(state, "mu"), gradtx.find(state, "nu")
    (Array([1.], dtype=float32), Array([1.], dtype=float32))
    """

    count: Count
    mu: Updates  # first moment
    nu: Squares  # second moment


@transformation
def scale_by_adam(
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    *,
    eps_root: NonNegative = 0.0,
    nesterov: bool = False,
    eps_hat: bool = False,
):
    r"""Adam's direction, $\hat m / (\sqrt{\hat v + \varepsilon_r} + \varepsilon)$, with
    $m \leftarrow \beta_1 m + (1 - \beta_1)\,g$, $v \leftarrow \beta_2 v + (1 - \beta_2)\,g^2$ and
    $\hat m = m/(1 - \beta_1^t)$, $\hat v = v/(1 - \beta_2^t)$. Its elements are mostly within $\pm 1$.

    **Arguments:** `b1` $\beta_1$ and `b2` $\beta_2 \in [0, 1)$; `eps` $\varepsilon$ and `eps_root`
    $\varepsilon_r \ge 0$, not both 0 where gradients may stay zero (0/0). With `nesterov`,
    $\beta_1 m/(1 - \beta_1^{t+1}) + (1 - \beta_1)\,g/(1 - \beta_1^t)$ takes the place of $\hat m$. With `eps_hat`,
    $\varepsilon$ stands beside the root of $v$ itself: $\varepsilon/\sqrt{1 - \beta_2^t}$ takes its place.

    **State:** `count`, `mu` $m$, `nu` $v$: two arrays per parameter.

    **Source:** Kingma & Ba (2015), algorithm 1; `eps_hat`: the $\hat\varepsilon$ of their section 2; `nesterov`: Dozat
    (2016), in Optax's form. Equals Optax and, without `nesterov`, torch; with `eps_hat` Keras, and the Adam inside of
    SOAP and GaLore.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.scale_by_adam()
    >>> tx.update(jnp.array([4.0, -0.5]), tx.init(jnp.zeros(2)))[0].round(5)
    Array([ 1., -1.], dtype=float32)
    """

    def init(p: Array):
        zeros = jnp.zeros_like(p)
        return dict(mu=zeros, nu=zeros)

    def update(g: Array, state: ScaleByAdamState):
        t = state.count + 1.0
        mu = b1 * state.mu + (1.0 - b1) * g
        nu = b2 * state.nu + (1.0 - b2) * g**2
        ahead = b1 * debias(mu, b1, t + 1.0) + (1.0 - b1) * debias(g, b1, t) if nesterov else debias(mu, b1, t)
        beside = eps * root(debias(jnp.ones_like(t), b2, t)) if eps_hat else eps
        return ahead / (root(debias(nu, b2, t) + eps_root) + beside), dict(mu=mu, nu=nu)

    return per_array(ScaleByAdamState, init, update)


@composition
def adam(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    *,
    eps_root: NonNegative = 0.0,
):
    r"""Adam, $w \leftarrow w - \eta\,\hat m/(\sqrt{\hat v} + \varepsilon)$: `scale_by_adam` times the learning rate.

    **Arguments:** `learning_rate` $\eta \ge 0$; the others, the state and the source are those of `scale_by_adam`.

    >>> import gradtx
    >>> gradtx.adam(1e-3, b2=0.99)
    adam(learning_rate=0.001, b2=0.99)
    """
    direction = scale_by_adam(b1, b2, eps, eps_root=eps_root)
    return chain(direction, scale_by_learning_rate(learning_rate))


@composition
def adamw(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    *,
    weight_decay: NonNegative = 1e-4,
    mask: Mask | None = None,
    eps_root: NonNegative = 0.0,
):
    r"""Adam with decoupled weight decay, $w \leftarrow w - \eta\,(\hat m/(\sqrt{\hat v} + \varepsilon) + \lambda w)$.
    The decay is 1e-4 unless given, as in Optax; torch's is 1e-2, Keras' 4e-3.

    **Arguments:** `learning_rate` $\eta \ge 0$; `weight_decay` $\lambda \ge 0$; `mask`, which arrays decay, as in
    `add_decayed_weights`; the others and the state are those of `scale_by_adam`. `update` needs the parameters.

    **Source:** Loshchilov & Hutter, Decoupled Weight Decay Regularization (2019), algorithm 2. As in torch and Optax,
    the decay is multiplied by the rate.

    >>> import gradtx
    >>> gradtx.adamw(1e-3, weight_decay=0.1)
    adamw(learning_rate=0.001, weight_decay=0.1)
    """
    direction = scale_by_adam(b1, b2, eps, eps_root=eps_root)
    return chain(direction, add_decayed_weights(weight_decay, mask), scale_by_learning_rate(learning_rate))
