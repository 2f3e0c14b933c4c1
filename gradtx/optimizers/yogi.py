"""Yogi: a second moment that moves by steps of one sign."""

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
from gradtx.values.annotations import Decay, Initial, NonNegative


class ScaleByYogiState(NamedTuple):
    """The state of `scale_by_yogi`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.yogi(1e-3, b2=0.75, initial=0.0)
    >>> state = tx.init(jnp.zeros(1))
    >>> for g in (2.0, 0.5):
    ...     _, state = tx.update(jnp.array([g]), state)
    >>> gradtx.find(state, "nu")
    Array([0.9375], dtype=float32)
    """

    count: Count
    mu: Updates  # first moment
    nu: Squares  # second moment


@transformation
def scale_by_yogi(
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-3,
    *,
    eps_root: NonNegative = 0.0,
    initial: Annotated[NonNegative, Initial] = 1e-6,
):
    r"""Adam's direction $\hat m/(\sqrt{\hat v + \varepsilon_r} + \varepsilon)$ over a second moment that moves by
    $(1 - \beta_2)\,g^2$ at most, $v \leftarrow v - (1 - \beta_2)\operatorname{sign}(v - g^2)\,g^2$: behind large
    gradients it falls as slowly as small ones let it, and steps don't grow at once.

    **Arguments:** `b1` $\beta_1$ and `b2` $\beta_2 \in [0, 1)$; `eps` $\varepsilon$ and `eps_root`
    $\varepsilon_r \ge 0$, not both 0 where $v$ may be 0; `initial` $\ge 0$, what both moments start with. They are
    corrected as if they had started at 0.

    **State:** `count`, `mu` $m$, `nu` $v$: two arrays per parameter.

    **Source:** Zaheer et al., Adaptive Methods for Nonconvex Optimization (2018), algorithm 2. Equals Optax.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.scale_by_yogi()
    >>> tx.update(jnp.array([4.0, -0.5]), tx.init(jnp.zeros(2)))[0].round(2)
    Array([ 1., -1.], dtype=float32)
    """

    def init(p: Array):
        start = jnp.full_like(p, initial)
        return dict(mu=start, nu=start)

    def update(g: Array, state: ScaleByYogiState):
        t = state.count + 1.0
        mu = b1 * state.mu + (1.0 - b1) * g
        nu = state.nu - (1.0 - b2) * jnp.sign(state.nu - g**2) * g**2
        return debias(mu, b1, t) / (root(debias(nu, b2, t) + eps_root) + eps), dict(mu=mu, nu=nu)

    return per_array(ScaleByYogiState, init, update)


@composition
def yogi(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-3,
    *,
    eps_root: NonNegative = 0.0,
    initial: Annotated[NonNegative, Initial] = 1e-6,
):
    r"""Yogi, $w \leftarrow w - \eta\,\hat m/(\sqrt{\hat v} + \varepsilon)$: `scale_by_yogi` times the learning rate.

    **Arguments:** `learning_rate` $\eta \ge 0$; the others, the state and the source are those of `scale_by_yogi`.

    >>> import gradtx
    >>> gradtx.yogi(1e-2)
    yogi(learning_rate=0.01)
    """
    direction = scale_by_yogi(b1, b2, eps, eps_root=eps_root, initial=initial)
    return chain(direction, scale_by_learning_rate(learning_rate))
