"""AdaDelta."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from gradtx.core.combine import chain
from gradtx.core.factories import composition, transformation
from gradtx.core.lift import per_array
from gradtx.core.quantity import Squares
from gradtx.transforms.rate import scale_by_learning_rate
from gradtx.values.annotations import Decay, NonNegative, Positive


class ScaleByAdadeltaState(NamedTuple):
    """The state of `scale_by_adadelta`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.adadelta(decay=0.5)
    >>> _, state = tx.update(jnp.array([2.0]), tx.init(jnp.zeros(1)))
    >>> gradtx.find(state, "e_g")
    Array([2.], dtype=float32)
    """

    e_g: Squares  # the average of squared gradients
    e_x: Squares  # the average of squared steps


@transformation
def scale_by_adadelta(decay: Decay = 0.9, eps: Positive = 1e-6):
    r"""The gradient in the units of the parameter, $d = g\,\sqrt{s + \varepsilon}/\sqrt{r + \varepsilon}$, with
    $r \leftarrow \rho r + (1 - \rho)\,g^2$ taken before $d$ and $s \leftarrow \rho s + (1 - \rho)\,d^2$ after it.

    **Arguments:** `decay` $\rho \in [0, 1)$; `eps` $\varepsilon > 0$, in the squared units of what it is added to: it
    sets the first steps, about $\sqrt{\varepsilon/(1 - \rho)}$ each.

    **State:** `e_g` $r$ and `e_x` $s$: two arrays per parameter.

    **Source:** Zeiler, ADADELTA (2012), algorithm 1. Equals torch, Keras (whose `rho` is 0.95 and `epsilon` 1e-7) and
    Optax.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.scale_by_adadelta(decay=0.75)
    >>> tx.update(jnp.array([4.0, -0.5]), tx.init(jnp.zeros(2)))[0].round(5)
    Array([ 0.002, -0.002], dtype=float32)
    """

    def init(p: Array):
        zeros = jnp.zeros_like(p)
        return dict(e_g=zeros, e_x=zeros)

    def update(g: Array, state: ScaleByAdadeltaState):
        e_g = decay * state.e_g + (1.0 - decay) * g**2
        step = g * jnp.sqrt(state.e_x + eps) / jnp.sqrt(e_g + eps)
        squared = g**2 * (state.e_x + eps) / (e_g + eps)  # not of the step, which would then be held in memory
        return step, dict(e_g=e_g, e_x=decay * state.e_x + (1.0 - decay) * squared)

    return per_array(ScaleByAdadeltaState, init, update)


@composition
def adadelta(learning_rate: NonNegative = 1.0, decay: Decay = 0.9, eps: Positive = 1e-6):
    r"""AdaDelta, $w \leftarrow w - \eta\,d$: `scale_by_adadelta` times a learning rate, which the paper lacks.
    Optax's default is `scale_by_adadelta()`, with `None` for the rate, uphill; Keras' is `adadelta(1e-3, 0.95, 1e-7)`.

    **Arguments:** `learning_rate` $\eta \ge 0$, 1 as in the paper and in torch; the others are `scale_by_adadelta`'s,
    with its state and its source.

    >>> import gradtx
    >>> gradtx.adadelta()
    adadelta()
    """
    return chain(scale_by_adadelta(decay, eps), scale_by_learning_rate(learning_rate))
