"""Schedules that decay, or grow, by a law without an end."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradtx.core.count import as_real
from gradtx.schedules.value import schedule
from gradtx.values.annotations import NonNegative, Positive, Scalar, Steps


@schedule
def exponential(start: Scalar, factor: Positive, every: Steps, staircase: bool = False):
    r"""A constant ratio, $\eta_\tau = \eta_0\,c^{\tau/s}$; with `staircase`, $\eta_0\,c^{\lfloor\tau/s\rfloor}$.

    **Arguments:** `start` $\eta_0$, finite; `factor` $c > 0$; `every` $s \ge 1$ steps. As an argument of `jit`, and in
    updates outside of it, $c$ is a float32, whose rounding grows to $6\cdot10^{-8}\,\tau/s$ of the value: write a slow
    decay as a factor far from 1 over many steps, `exponential(start, 0.5, every=100_000)`, which does not drift.

    **Source:** Optax's `exponential_decay`, torch's `ExponentialLR` and Keras's `ExponentialDecay`.

    >>> import gradtx
    >>> [float(gradtx.exponential(1.0, 0.5, every=2, staircase=True)(t)) for t in (0, 1, 2, 4)]
    [1.0, 1.0, 0.5, 0.25]
    """
    return lambda count: start * compound(factor, count // every if staircase else as_real(count) / every)


def compound(factor: Any, times: Any) -> jax.Array:
    times = as_real(times)
    if not isinstance(factor, float):
        return factor**times
    # A factor near 1 loses its distance from 1 in float32: what a Python float knows of it better is put back.
    limits = jnp.finfo(jnp.result_type(float))
    rounded = np.clip(factor, limits.tiny, limits.max).astype(limits.dtype)
    return rounded**times * jnp.exp(math.log(factor / float(rounded)) * times)


@schedule
def power(start: Scalar, scale: Positive, exponent: Scalar):
    r"""A power law, $\eta_\tau = \eta_0\,(1 + \tau/s)^c$.

    **Arguments:** `start` $\eta_0$ and `exponent` $c$, finite, $c$ negative for a decay; `scale` $s > 0$, the number of
    steps after which $1 + \tau/s$ has doubled.

    **Source:** Bishop & Bishop, Deep Learning (2024), section 7.3. In power scheduling of Géron, Hands-On Machine
    Learning, the exponent is $-c$. The Transformer's rate (Vaswani et al., 2017) of peak $\eta$ after $K$ steps is
    `linear(0.0, η, K).then(power(η, K, -0.5), at=K)`.

    >>> import gradtx
    >>> [float(gradtx.power(1.0, 10.0, -1.0)(t)) for t in (0, 10, 30)]
    [1.0, 0.5, 0.25]
    """
    return lambda count: start * (1.0 + as_real(count) / scale) ** exponent


@schedule
def inverse_time(start: Scalar, decay_rate: NonNegative):
    r"""A decay by the inverse of time, $\eta_\tau = \eta_0 / (1 + k\tau)$.

    **Arguments:** `start` $\eta_0$, finite; `decay_rate` $k \ge 0$ per step; per epoch under `per_epoch`.

    **Source:** Ng, Deep Learning Specialization, there per epoch; Keras's `InverseTimeDecay`, whose
    `decay_rate / decay_steps` is $k$; Optax and torch have none.

    >>> import gradtx
    >>> [float(gradtx.inverse_time(1.0, 0.5)(t)) for t in (0, 2, 6)]
    [1.0, 0.5, 0.25]
    """
    return lambda count: start / (1.0 + decay_rate * as_real(count))


@schedule
def inverse_sqrt(start: Scalar, k: Scalar = 1.0):
    r"""A decay by the root of time, $\eta_\tau = k\,\eta_0 / \sqrt{\max(\tau, 1)}$: the value at 0 is that at 1.

    **Arguments:** `start` $\eta_0$ and `k`, finite. With a warmup before it, see `power`.

    **Source:** Ng, Deep Learning Specialization, where $\tau$ is the number of the epoch; Optax and torch have none.

    >>> import gradtx
    >>> [float(gradtx.inverse_sqrt(1.0)(t)) for t in (0, 1, 4, 16)]
    [1.0, 1.0, 0.5, 0.25]
    """
    return lambda count: k * start / jnp.sqrt(jnp.maximum(as_real(count), 1.0))
