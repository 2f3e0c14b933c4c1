"""Memory of past updates: velocity, the moving average, and the correction of its start."""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from gradtx.core.count import Count
from gradtx.core.factories import transformation
from gradtx.core.lift import per_array
from gradtx.core.transformation import Updates
from gradtx.values.annotations import Decay, Fraction


class ScaleByMomentumState(NamedTuple):
    """The state of `scale_by_momentum`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.sgd(0.1, momentum=0.9)
    >>> _, state = tx.update(jnp.array([2.0]), tx.init(jnp.zeros(1)))
    >>> gradtx.find(state, "trace")
    Array([2.], dtype=float32)
    """

    trace: Updates  # the velocity


@transformation
def scale_by_momentum(decay: Fraction = 0.9, *, nesterov: bool = False, dampening: Fraction = 0.0):
    r"""The velocity, $v \leftarrow \mu v + (1 - d)\,g$; with `nesterov`, $(1 - d)\,g + \mu v$ of the new velocity.

    A constant gradient reaches the terminal velocity $(1 - d)\,g/(1 - \mu)$: ten times the gradient at $\mu = 0.9$.

    **Arguments:** `decay` $\mu \in [0, 1]$; `dampening` $d \in [0, 1]$.

    **State:** `trace` $v$, one array per parameter.

    **Source:** Polyak (1964); Sutskever et al., On the importance of initialization and momentum (2013), whose
    look-ahead form `nesterov` rewrites with the gradient at the parameters themselves. Ahead of the learning rate it
    equals torch's SGD and Optax's `trace`; behind it, the rate is inside the velocity, as in Bishop and Keras. The
    averaged form of Ng is `ema`. With dampening $d$, torch takes the first gradient whole:
    `dampening=constant(0.0).then(constant(d), at=1)`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.scale_by_momentum(0.5)
    >>> g = jnp.array([1.0])
    >>> tx.update(g, tx.update(g, tx.init(g))[1])[0]
    Array([1.5], dtype=float32)
    """

    def init(p: Array):
        return dict(trace=jnp.zeros_like(p))

    def update(g: Array, state: ScaleByMomentumState):
        gain = (1.0 - dampening) * g
        trace = decay * state.trace + gain
        return gain + decay * trace if nesterov else trace, dict(trace=trace)

    return per_array(ScaleByMomentumState, init, update)


class EmaState(NamedTuple):
    """The state of `ema`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.ema(0.5)
    >>> tx.update(jnp.array([2.0]), tx.init(jnp.zeros(1)))[1].ema
    Array([1.], dtype=float32)
    """

    ema: Updates  # the moving average


@transformation
def ema(decay: Decay):
    r"""The exponentially weighted average, $v \leftarrow \beta v + (1 - \beta)\,g$, over about $1/(1-\beta)$ steps.
    Optax's default is `chain(ema(decay), bias_correction(decay))`, which removes the effect of the start at zero.

    **Arguments:** `decay` $\beta \in [0, 1)$.

    **State:** `ema` $v$, one array per parameter.

    **Source:** equals Optax's `ema(decay, debias=False)`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.ema(0.75)
    >>> tx.update(jnp.array([4.0]), tx.init(jnp.array([0.0])))[0]
    Array([1.], dtype=float32)
    """

    def init(p: Array):
        return dict(ema=jnp.zeros_like(p))

    def update(g: Array, state: EmaState):
        average = decay * state.ema + (1.0 - decay) * g
        return average, dict(ema=average)

    return per_array(EmaState, init, update)


class BiasCorrectionState(NamedTuple):
    """The state of `bias_correction`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.bias_correction(0.9)
    >>> int(tx.update(jnp.array([2.0]), tx.init(jnp.zeros(1)))[1].count)
    1
    """

    count: Count


@transformation
def bias_correction(decay: Decay):
    r"""What an average that started at zero would be without that start, $g/(1 - \beta^t)$ at update $t = 1, 2, \dots$

    **Arguments:** `decay` $\beta \in [0, 1)$, that of the average before it.

    **State:** `count`, one integer.

    **Source:** Kingma & Ba, Adam (2015), section 3.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.chain(gradtx.ema(0.5), gradtx.bias_correction(0.5))
    >>> tx.update(jnp.array([40.0]), tx.init(jnp.array([0.0])))[0]
    Array([40.], dtype=float32)
    """
    return per_array(BiasCorrectionState, lambda p: {}, lambda g, state: (debias(g, decay, state.count + 1.0), {}))


def debias(average: Array, decay: Decay, t: Array) -> Array:
    """An average of t terms that started at zero, over the weight of those terms, 1 - decay**t.

    That weight is computed as -expm1(t * log(decay)): the power itself would lose most digits to the 1. Give t as a
    float (`count + 1.0`), for the integer after the largest count would be negative.
    """
    log = (math.log(decay) if decay > 0 else -math.inf) if isinstance(decay, float | np.floating) else jnp.log(decay)
    return average / -jnp.expm1(t * log)
