"""Steps of one size: the sign of the gradient, or of its average."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from gradtx.core.combine import chain
from gradtx.core.factories import composition, transformation
from gradtx.core.lift import per_array, stateless
from gradtx.core.transformation import Updates
from gradtx.selectors import Mask
from gradtx.transforms.decay import add_decayed_weights
from gradtx.transforms.momentum import ema
from gradtx.transforms.rate import scale_by_learning_rate
from gradtx.values.annotations import Decay, NonNegative


@transformation
def scale_by_sign():
    r"""The sign of each element, $\operatorname{sign}(g)$, 0 for 0. Behind `ema` it is `signum`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.scale_by_sign()
    >>> tx.update(jnp.array([4.0, 0.0, -0.5]), tx.init(None))[0]
    Array([ 1.,  0., -1.], dtype=float32)
    """
    return stateless(jnp.sign)


@composition
def sign_sgd(learning_rate: NonNegative):
    r"""Descent by signs, $w \leftarrow w - \eta\,\operatorname{sign}(g)$: every step is $\eta$ in every direction.

    **Arguments:** `learning_rate` $\eta \ge 0$, in the units of the parameter.

    **Source:** Bernstein et al., signSGD (2018), algorithm 1. Equals Optax's `sign_sgd`.

    >>> import gradtx
    >>> gradtx.sign_sgd(1e-3)
    sign_sgd(learning_rate=0.001)
    """
    return chain(scale_by_sign(), scale_by_learning_rate(learning_rate))


@composition
def signum(learning_rate: NonNegative, decay: Decay = 0.9):
    r"""Signum, $w \leftarrow w - \eta\,\operatorname{sign}(m)$ with the average
    $m \leftarrow \beta m + (1 - \beta)\,g$: every step is $\eta$, along what most of the last gradients say.

    **Arguments:** `learning_rate` $\eta \ge 0$, in the units of the parameter; `decay` $\beta \in [0, 1)$.

    **State:** that of `ema`: one array per parameter, half of Adam's.

    **Source:** Bernstein et al., signSGD (2018), algorithm 2. Equals Optax.

    >>> import gradtx
    >>> gradtx.signum(1e-3)
    signum(learning_rate=0.001)
    """
    return chain(ema(decay), scale_by_sign(), scale_by_learning_rate(learning_rate))


@composition
def tiger(
    learning_rate: NonNegative,
    decay: Decay = 0.965,
    weight_decay: NonNegative = 1e-2,
    *,
    mask: Mask | None = None,
):
    r"""Tiger, Signum with decoupled weight decay,
    $w \leftarrow w - \eta\,(\operatorname{sign}(m) + \lambda w)$: Lion with $\beta_1 = \beta_2$.

    **Arguments:** `learning_rate` $\eta \ge 0$, in the units of the parameter; `decay` $\beta \in [0, 1)$;
    `weight_decay` $\lambda \ge 0$; `mask`, which arrays decay, as in `add_decayed_weights`. `update` needs the
    parameters.

    **State:** that of `ema`: one array per parameter, half of Adam's.

    **Source:** Su, Tiger (2023).

    >>> import gradtx
    >>> gradtx.tiger(1e-3)
    tiger(learning_rate=0.001)
    """
    signs, decayed = chain(ema(decay), scale_by_sign()), add_decayed_weights(weight_decay, mask)
    return chain(signs, decayed, scale_by_learning_rate(learning_rate))


class ScaleByLionState(NamedTuple):
    """The state of `scale_by_lion`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx, w = gradtx.lion(1e-4, b2=0.5), jnp.zeros(1)
    >>> _, state = tx.update(jnp.array([2.0]), tx.init(w), w)
    >>> gradtx.find(state, "mu")
    Array([1.], dtype=float32)
    """

    mu: Updates  # the average of gradients


@transformation
def scale_by_lion(b1: Decay = 0.9, b2: Decay = 0.99):
    r"""The sign of an average, $\operatorname{sign}(\beta_1 m + (1 - \beta_1)\,g)$; the memory $m$ itself is
    averaged with $\beta_2$, $m \leftarrow \beta_2 m + (1 - \beta_2)\,g$.

    **Arguments:** `b1` $\beta_1$ and `b2` $\beta_2 \in [0, 1)$.

    **State:** `mu` $m$, one array per parameter, half of Adam's.

    **Source:** Chen et al., Symbolic Discovery of Optimization Algorithms (2023), program 1. Equals Optax and Keras.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.scale_by_lion()
    >>> tx.update(jnp.array([4.0, -0.5]), tx.init(jnp.zeros(2)))[0]
    Array([ 1., -1.], dtype=float32)
    """

    def init(p: Array):
        return dict(mu=jnp.zeros_like(p))

    def update(g: Array, state: ScaleByLionState):
        return jnp.sign(b1 * state.mu + (1.0 - b1) * g), dict(mu=b2 * state.mu + (1.0 - b2) * g)

    return per_array(ScaleByLionState, init, update)


@composition
def lion(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    b2: Decay = 0.99,
    weight_decay: NonNegative = 1e-3,
    *,
    mask: Mask | None = None,
):
    r"""Lion, $w \leftarrow w - \eta\,(\operatorname{sign}(\beta_1 m + (1 - \beta_1)\,g) + \lambda w)$.
    The decay is 1e-3 unless given, as in Optax; Keras has none.

    **Arguments:** `learning_rate` $\eta \ge 0$, a third to a tenth of AdamW's; `weight_decay` $\lambda \ge 0$, three to
    ten times AdamW's; `mask`, which arrays decay, as in `add_decayed_weights`; the others, the state and the source are
    those of `scale_by_lion`. `update` needs the parameters.

    >>> import gradtx
    >>> gradtx.lion(1e-4, weight_decay=1.0)
    lion(learning_rate=0.0001, weight_decay=1.0)
    """
    direction = scale_by_lion(b1, b2)
    return chain(direction, add_decayed_weights(weight_decay, mask), scale_by_learning_rate(learning_rate))
