"""Adam with Nesterov's look ahead."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from gradtx.core.combine import chain
from gradtx.core.count import Count, as_real
from gradtx.core.factories import composition, transformation
from gradtx.core.lift import per_array
from gradtx.core.quantity import Squares
from gradtx.core.transformation import Updates
from gradtx.core.tree import root
from gradtx.optimizers.adam import scale_by_adam
from gradtx.selectors import Mask
from gradtx.transforms.decay import add_decayed_weights
from gradtx.transforms.momentum import debias
from gradtx.transforms.rate import scale_by_learning_rate
from gradtx.values.annotations import Decay, NonNegative


class ScaleByNadamState(NamedTuple):
    """The state of `scale_by_nadam`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.nadam(1e-3, momentum_decay=0.004)
    >>> _, state = tx.update(jnp.array([2.0]), tx.init(jnp.zeros(1)))
    >>> round(float(gradtx.find(state, "product")), 2)
    0.45
    """

    count: Count
    product: Any  # (), of all momenta so far; None without momentum_decay
    mu: Updates  # first moment
    nu: Squares  # second moment


@transformation
def scale_by_nadam(
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    *,
    eps_root: NonNegative = 0.0,
    momentum_decay: NonNegative | None = None,
):
    r"""Adam's direction one step ahead: in the place of $\hat m$ stands
    $\mu_{t+1}\,m/(1 - \prod_{i\le t+1}\mu_i) + (1 - \mu_t)\,g/(1 - \prod_{i\le t}\mu_i)$.

    **Arguments:** as `scale_by_adam`; `momentum_decay` $\psi \ge 0$ makes the momentum rise from about $\beta_1/2$ to
    $\beta_1$, $\mu_t = \beta_1\,(1 - \tfrac12\,0.96^{t\psi})$; None keeps it at $\mu_t = \beta_1$, which is
    `scale_by_adam(nesterov=True)`.

    **State:** `count`, `product` $\prod_{i\le t}\mu_i$, `mu` $m$, `nu` $v$: two arrays per parameter; without
    `momentum_decay`, that of `scale_by_adam`.

    **Source:** Dozat, Incorporating Nesterov Momentum into Adam (2016). `momentum_decay=4e-3` equals torch, 1.0 Keras,
    None Optax.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.scale_by_nadam(momentum_decay=4e-3)
    >>> tx.update(jnp.array([4.0, -0.5]), tx.init(jnp.zeros(2)))[0].round(2)
    Array([ 1.06, -1.06], dtype=float32)
    """
    if momentum_decay is None:
        return scale_by_adam(b1, b2, eps, eps_root=eps_root, nesterov=True)

    def momentum(t: Array):
        return b1 * (1.0 - 0.5 * 0.96 ** (t * momentum_decay))

    def product(state: ScaleByNadamState):
        return state.product * momentum(as_real(state.count) + 1.0)

    def init(p: Array):
        zeros = jnp.zeros_like(p)
        return dict(mu=zeros, nu=zeros)

    def update(g: Array, state: ScaleByNadamState):
        t = state.count + 1.0
        mu = b1 * state.mu + (1.0 - b1) * g
        nu = b2 * state.nu + (1.0 - b2) * g**2
        now, following, so_far = (jnp.asarray(x, g.dtype) for x in (momentum(t), momentum(t + 1.0), product(state)))
        ahead = following * mu / (1.0 - following * so_far) + (1.0 - now) * g / (1.0 - so_far)
        return ahead / (root(debias(nu, b2, t) + eps_root) + eps), dict(mu=mu, nu=nu)

    return per_array(ScaleByNadamState, init, update, shared=dict(product=(1.0, product)))


@composition
def nadam(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    *,
    eps_root: NonNegative = 0.0,
    momentum_decay: NonNegative | None = None,
):
    r"""NAdam, $w \leftarrow w - \eta\,\bar m/(\sqrt{\hat v} + \varepsilon)$: `scale_by_nadam` times the learning rate.
    The momentum stays at $\beta_1$, as in Optax; torch has `momentum_decay=4e-3`, Keras 1.0.

    **Arguments:** `learning_rate` $\eta \ge 0$; the others, the state and the source are those of `scale_by_nadam`.

    >>> import gradtx
    >>> gradtx.nadam(2e-3, momentum_decay=4e-3)
    nadam(learning_rate=0.002, momentum_decay=0.004)
    """
    direction = scale_by_nadam(b1, b2, eps, eps_root=eps_root, momentum_decay=momentum_decay)
    return chain(direction, scale_by_learning_rate(learning_rate))


@composition
def nadamw(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    *,
    weight_decay: NonNegative = 1e-4,
    mask: Mask | None = None,
    eps_root: NonNegative = 0.0,
    momentum_decay: NonNegative | None = None,
):
    r"""NAdam with decoupled decay, $w \leftarrow w - \eta\,(\bar m/(\sqrt{\hat v} + \varepsilon) + \lambda w)$.

    **Arguments:** `learning_rate` $\eta \ge 0$; `weight_decay` $\lambda \ge 0$; `mask`, which arrays decay, as in
    `add_decayed_weights`; the others and the state are those of `scale_by_nadam`. `update` needs the parameters.

    Equals Optax's `nadamw` and, with `momentum_decay`, torch's `NAdam(decoupled_weight_decay=True)`.

    >>> import gradtx
    >>> gradtx.nadamw(2e-3, weight_decay=0.1)
    nadamw(learning_rate=0.002, weight_decay=0.1)
    """
    direction = scale_by_nadam(b1, b2, eps, eps_root=eps_root, momentum_decay=momentum_decay)
    return chain(direction, add_decayed_weights(weight_decay, mask), scale_by_learning_rate(learning_rate))
