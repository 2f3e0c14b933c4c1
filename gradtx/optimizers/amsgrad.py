"""Adam whose second moment never falls."""

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
from gradtx.transforms import momentum
from gradtx.transforms.rate import scale_by_learning_rate
from gradtx.values.annotations import Decay, NonNegative
from gradtx.values.errors import Refusal


class ScaleByAmsgradState(NamedTuple):
    """The state of `scale_by_amsgrad`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.amsgrad(1e-3, b2=0.5)
    >>> state = tx.init(jnp.zeros(1))
    >>> for g in (2.0, 0.0):
    ...     _, state = tx.update(jnp.array([g]), state)
    >>> gradtx.find(state, "nu"), gradtx.find(state, "nu_max")
    (Array([1.], dtype=float32), Array([2.], dtype=float32))
    """

    count: Count
    mu: Updates  # first moment
    nu: Squares  # second moment
    nu_max: Squares  # its maximum so far


@transformation
def scale_by_amsgrad(
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    *,
    eps_root: NonNegative = 0.0,
    debias: bool = True,
    debias_first: bool = False,
):
    r"""Adam's direction over the largest second moment so far,
    $\hat m / (\sqrt{\max_{i\le t} v_i/(1 - \beta_2^t) + \varepsilon_r} + \varepsilon)$ with Adam's $m$ and $v$: where
    $v$ falls, the steps don't grow again. Optax's default is `debias_first=True`.

    **Arguments:** `b1`, `b2`, `eps`, `eps_root` as in `scale_by_adam`. With `debias_first` the maximum is that of
    $\hat v_i = v_i/(1 - \beta_2^i)$; without `debias`, $m/(\sqrt{\max v_i + \varepsilon_r} + \varepsilon)$.

    **State:** `count`, `mu` $m$, `nu` $v$, `nu_max`: three arrays per parameter.

    **Raises:** `ValueError` for `debias_first` without `debias`.

    **Source:** Reddi, Kale & Kumar, On the Convergence of Adam and Beyond (2018), algorithm 2 (with `debias=False`).
    The default equals torch and, apart from its folded epsilon, Keras.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.scale_by_amsgrad()
    >>> tx.update(jnp.array([4.0, -0.5]), tx.init(jnp.zeros(2)))[0].round(5)
    Array([ 1., -1.], dtype=float32)
    """
    if debias_first and not debias:
        raise Refusal(ValueError, "debias_first needs debias, got debias=False; leave one of them out")

    def init(p: Array):
        zeros = jnp.zeros_like(p)
        return dict(mu=zeros, nu=zeros, nu_max=zeros)

    def update(g: Array, state: ScaleByAmsgradState):
        def corrected(average: Array, decay: Decay, when: bool):
            return momentum.debias(average, decay, state.count + 1.0) if when else average

        mu = b1 * state.mu + (1.0 - b1) * g
        nu = b2 * state.nu + (1.0 - b2) * g**2
        nu_max = jnp.maximum(state.nu_max, corrected(nu, b2, debias_first))
        spread = corrected(nu_max, b2, debias and not debias_first)
        return corrected(mu, b1, debias) / (root(spread + eps_root) + eps), dict(mu=mu, nu=nu, nu_max=nu_max)

    return per_array(ScaleByAmsgradState, init, update)


@composition
def amsgrad(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    *,
    eps_root: NonNegative = 0.0,
    debias: bool = True,
    debias_first: bool = False,
):
    r"""AMSGrad, $w \leftarrow w - \eta\,\hat m/(\sqrt{\hat v_{\max}} + \varepsilon)$: `scale_by_amsgrad` times the
    learning rate. Optax's default is `debias_first=True`.

    **Arguments:** `learning_rate` $\eta \ge 0$; the others, the state and the source are those of `scale_by_amsgrad`.

    >>> import gradtx
    >>> gradtx.amsgrad(1e-3)
    amsgrad(learning_rate=0.001)
    """
    direction = scale_by_amsgrad(b1, b2, eps, eps_root=eps_root, debias=debias, debias_first=debias_first)
    return chain(direction, scale_by_learning_rate(learning_rate))
