"""NovoGrad: one second moment for each array."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from gradtx.core.collectives import sum_parts
from gradtx.core.combine import chain
from gradtx.core.count import Count
from gradtx.core.factories import composition, transformation
from gradtx.core.lift import per_array
from gradtx.core.quantity import Squares
from gradtx.core.rule import Rule
from gradtx.core.transformation import Updates
from gradtx.core.tree import root
from gradtx.selectors import Mask
from gradtx.transforms.rate import scale_by_learning_rate
from gradtx.transforms.shrink import by_mask
from gradtx.values.annotations import Decay, NonNegative


class ScaleByNovogradState(NamedTuple):
    """The state of `scale_by_novograd`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx, w = gradtx.novograd(1e-3), jnp.zeros(2)
    >>> _, state = tx.update(jnp.array([3.0, 4.0]), tx.init(w), w)
    >>> gradtx.find(state, "nu")
    Array(25., dtype=float32)
    """

    count: Count
    mu: Updates  # the velocity
    nu: Squares  # second moment, one number for each array


@transformation
def scale_by_novograd(
    b1: Decay = 0.9,
    b2: Decay = 0.25,
    eps: NonNegative = 1e-6,
    *,
    eps_root: NonNegative = 0.0,
    weight_decay: NonNegative = 0.0,
    mask: Mask | None = None,
):
    r"""The velocity of gradients over the size of their array, $m \leftarrow \beta_1 m + u$ with
    $u = g/(\sqrt{v + \varepsilon_r} + \varepsilon) + \lambda w$ and
    $v \leftarrow \beta_2 v + (1 - \beta_2)\lVert g\rVert_2^2$, which is $\lVert g\rVert_2^2$ at first. Optax's default
    is `eps=1e-8`.

    **Arguments:** `b1` $\beta_1$ and `b2` $\beta_2 \in [0, 1)$; `eps` $\varepsilon$ and `eps_root`
    $\varepsilon_r \ge 0$, not both 0 where gradients may stay zero (0/0); `weight_decay` $\lambda \ge 0$, which goes
    through the velocity; `mask`, which arrays decay, as in `add_decayed_weights`. A constant gradient reaches
    $1/(1 - \beta_1)$ times $u$: the velocity is a sum, no average.

    **State:** `count`, `mu` $m$, one array per parameter, and `nu` $v$, one number per array.

    **Raises:** `ValueError` where `update` is called without the parameters; (`init`) where no array decays.

    **Source:** Ginsburg et al., Stochastic Gradient Methods with Layer-wise Adaptive Moments (2019), algorithm 1.
    Equals Optax. A norm beyond float32 (1.8e19) gives zeros.

    >>> import gradtx, jax.numpy as jnp
    >>> tx, w = gradtx.scale_by_novograd(), jnp.zeros(2)
    >>> tx.update(jnp.array([3.0, -4.0]), tx.init(w), w)[0].round(1)
    Array([ 0.6, -0.8], dtype=float32)
    """

    def init(p: Array):
        return dict(mu=jnp.zeros_like(p), nu=jnp.zeros([], p.dtype))

    def moments(g: Array, state: ScaleByNovogradState):
        memory = jnp.where(state.count > 0.0, b2, 0.0)
        before = state.nu.astype(g.dtype)  # a number may be of another dtype: as JSON has it, say
        nu = memory * before + (1.0 - memory) * sum_parts(g**2)
        return g / (root(nu + eps_root) + eps) + b1 * state.mu, nu

    def update(g: Array, state: ScaleByNovogradState, p: Array):
        mu, nu = moments(g, state)
        mu = mu + weight_decay * p
        return mu, dict(mu=mu, nu=nu)

    def update_others(g: Array, state: ScaleByNovogradState):
        mu, nu = moments(g, state)
        return mu, dict(mu=mu, nu=nu)

    def rule(formula) -> Rule:
        return per_array(ScaleByNovogradState, init, formula)

    return by_mask(mask, rule(update), rule(update_others))


@composition
def novograd(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    b2: Decay = 0.25,
    eps: NonNegative = 1e-6,
    *,
    eps_root: NonNegative = 0.0,
    weight_decay: NonNegative = 0.0,
    mask: Mask | None = None,
):
    r"""NovoGrad, $w \leftarrow w - \eta\,m$ with $m \leftarrow \beta_1 m + g/(\sqrt v + \varepsilon) + \lambda w$:
    `scale_by_novograd` times the learning rate.

    **Arguments:** `learning_rate` $\eta \ge 0$; the others, the state and the source are those of `scale_by_novograd`.
    `update` needs the parameters.

    >>> import gradtx
    >>> gradtx.novograd(1e-2, weight_decay=1e-3)
    novograd(learning_rate=0.01, weight_decay=0.001)
    """
    direction = scale_by_novograd(b1, b2, eps, eps_root=eps_root, weight_decay=weight_decay, mask=mask)
    return chain(direction, scale_by_learning_rate(learning_rate))
