"""RAdam: Adam that waits until its second moment says something."""

from typing import Annotated, NamedTuple

import jax.numpy as jnp
from jax import Array

from gradtx.core.combine import chain
from gradtx.core.count import Count
from gradtx.core.factories import composition, transformation
from gradtx.core.lift import per_array
from gradtx.core.quantity import Squares
from gradtx.core.transformation import Updates
from gradtx.core.tree import root
from gradtx.transforms.momentum import debias
from gradtx.transforms.rate import scale_by_learning_rate
from gradtx.values.annotations import Decay, NonNegative, Number
from gradtx.values.ranges import Range

Threshold = Annotated[Number, Range(4, ends="[)")]  # below 4 there is no variance


class ScaleByRadamState(NamedTuple):
    """The state of `scale_by_radam`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.radam(1e-3, b1=0.5, b2=0.75)
    >>> _, state = tx.update(jnp.array([2.0]), tx.init(jnp.zeros(1)))
    >>> gradtx.find(state, "mu"), gradtx.find(state, "nu")
    (Array([1.], dtype=float32), Array([1.], dtype=float32))
    """

    count: Count
    mu: Updates  # first moment
    nu: Squares  # second moment


@transformation
def scale_by_radam(
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    threshold: Threshold = 5,
    *,
    eps_root: NonNegative = 0.0,
    eps_hat: bool = False,
):
    r"""Adam's direction times $r_t = \sqrt{\frac{(\rho_t - 4)(\rho_t - 2)\rho_\infty}{(\rho_\infty - 4)(\rho_\infty -
    2)\rho_t}}$, how well its second moment is known, where $\rho_t > \theta$; momentum alone, $\hat m$, before. The
    second moment is worth $\rho_t = \rho_\infty - 2t\beta_2^t/(1 - \beta_2^t)$ gradients, in the end
    $\rho_\infty = 2/(1 - \beta_2) - 1$.

    **Arguments:** `b1`, `b2`, `eps`, `eps_root` and `eps_hat` as in `scale_by_adam`; `threshold` $\theta \ge 4$, a
    number of gradients. With 5 and $\beta_2 = 0.999$ the first five steps are momentum's, in the units of the gradient;
    all are where $\rho_\infty \le \theta$, with $\beta_2 \le 2/3$.

    **State:** `count`, `mu` $m$, `nu` $v$: two arrays per parameter.

    **Source:** Liu et al., On the Variance of the Adaptive Learning Rate and Beyond (2020), algorithm 2. Equals Optax;
    with `eps_hat` torch.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.scale_by_radam()
    >>> tx.update(jnp.array([4.0, -0.5]), tx.init(jnp.zeros(2)))[0].round(5)
    Array([ 4. , -0.5], dtype=float32)
    """

    def init(p: Array):
        zeros = jnp.zeros_like(p)
        return dict(mu=zeros, nu=zeros)

    def update(g: Array, state: ScaleByRadamState):
        t = state.count + 1.0
        mu = b1 * state.mu + (1.0 - b1) * g
        nu = b2 * state.nu + (1.0 - b2) * g**2
        worth, final = gradients_in_average(b2, t), 2.0 / (1.0 - b2) - 1.0
        is_known = worth > threshold
        # Before, these have no root, and with a small b2 never.
        known, best = jnp.where(is_known, worth, 5.0), jnp.where(is_known, final, 5.0)
        share = root((known - 4.0) * (known - 2.0) * best / ((best - 4.0) * (best - 2.0) * known))
        average = debias(mu, b1, t)
        beside = eps * root(debias(jnp.ones_like(t), b2, t)) if eps_hat else eps
        over = root(debias(nu, b2, t) + eps_root) + beside
        return jnp.where(is_known, share * average / over, average), dict(mu=mu, nu=nu)

    return per_array(ScaleByRadamState, init, update)


def gradients_in_average(decay: Decay, t: Array) -> Array:
    """How many equal terms have a mean as certain as the average of t terms."""
    return 2.0 / (1.0 - decay) - 1.0 - 2.0 * t * (debias(jnp.ones_like(t), decay, t) - 1.0)


@composition
def radam(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    threshold: Threshold = 5,
    *,
    eps_root: NonNegative = 0.0,
    eps_hat: bool = False,
):
    r"""RAdam, $w \leftarrow w - \eta\,r_t\,\hat m/(\sqrt{\hat v} + \varepsilon)$, in the first steps
    $w \leftarrow w - \eta\,\hat m$: `scale_by_radam` times the learning rate.

    **Arguments:** `learning_rate` $\eta \ge 0$; the others, the state and the source are those of `scale_by_radam`.

    >>> import gradtx
    >>> gradtx.radam(1e-3)
    radam(learning_rate=0.001)
    """
    direction = scale_by_radam(b1, b2, eps, threshold, eps_root=eps_root, eps_hat=eps_hat)
    return chain(direction, scale_by_learning_rate(learning_rate))
