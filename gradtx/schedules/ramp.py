"""Schedules that reach their end after a number of steps, and stay there."""

from typing import Any

import jax
import jax.numpy as jnp

from gradtx.schedules.value import schedule
from gradtx.values.annotations import Natural, Positive, Scalar


@schedule
def constant(value: Scalar):
    r"""The same value at every step, $\eta_\tau = \eta$.

    >>> import gradtx
    >>> float(gradtx.constant(0.5)(7))
    0.5
    """
    return lambda count: value


@schedule
def linear(start: Scalar, end: Scalar, steps: Natural):
    r"""A straight line, $\eta_\tau = (1 - \tau/K)\,\eta_0 + (\tau/K)\,\eta_K$, then $\eta_K$ for ever.

    **Arguments:** `start` $\eta_0$ and `end` $\eta_K$, finite; `steps` $K \ge 0$.

    **Source:** Optax's `linear_schedule`; torch's `LinearLR`, which takes shares of the rate.

    >>> import gradtx
    >>> [float(gradtx.linear(1.0, 0.0, 4)(t)) for t in (0, 1, 4, 9)]
    [1.0, 0.75, 0.0, 0.0]
    """
    return lambda count: share_left(count, steps) * start + share_done(count, steps) * end


@schedule
def polynomial(start: Scalar, end: Scalar, steps: Natural, power: Positive):
    r"""A power of what is left, $\eta_\tau = \eta_K + (\eta_0 - \eta_K)(1 - \tau/K)^p$, then $\eta_K$ for ever.

    **Arguments:** `start` $\eta_0$ and `end` $\eta_K$, finite; `steps` $K \ge 0$; `power` $p > 0$: 1 is `linear`, a
    larger one falls faster at first.

    **Source:** the "poly" policy of Caffe and DeepLab; Optax's `polynomial_schedule`, torch's `PolynomialLR` (with
    `end=0.0`) and Keras's `PolynomialDecay` (without `cycle`) equal it.

    >>> import gradtx
    >>> [float(gradtx.polynomial(1.0, 0.0, 4, power=2.0)(t)) for t in (0, 1, 2, 4, 9)]
    [1.0, 0.5625, 0.25, 0.0, 0.0]
    """

    def value(count):
        rest = share_left(count, steps)
        share = jnp.where(rest > 0, jnp.where(rest > 0, rest, 1.0) ** power, 0.0)  # a root has no slope at zero
        return mix(share, start, end)

    return value


@schedule
def cosine(start: Scalar, steps: Natural, floor: Scalar = 0.0):
    r"""Half a cosine wave, $\eta_\tau = f + \tfrac12(\eta_0 - f)(1 + \cos(\pi\tau/T))$, then $f$ for ever.

    **Arguments:** `start` $\eta_0$ and `floor` $f$, finite; `steps` $T \ge 0$.

    **Source:** Loshchilov & Hutter, SGDR (2017), equation 5, without restarts. `floor` is a value, as in torch's
    `eta_min`; Optax's `alpha` is its share of the start.

    >>> import gradtx
    >>> [round(float(gradtx.cosine(1.0, 4)(t)), 4) for t in (0, 2, 4, 9)]
    [1.0, 0.5, 0.0, 0.0]
    """
    return lambda count: mix(half_wave(share_left(count, steps)), start, floor)


def share_left(count: Any, steps: Any) -> jax.Array:
    """The share of the steps that is still to come: nothing where there are none. Whole numbers are subtracted exactly,
    before float32 rounds.
    """
    return jnp.maximum(steps - count, 0) / jnp.maximum(steps, 1)


def share_done(count: Any, steps: Any) -> jax.Array:
    return jnp.where(count < steps, count, 1) / jnp.where(count < steps, steps, 1)


def mix(share: Any, a: Any, b: Any) -> Any:
    """From b at the share 0 to a at the share 1, exact at both."""
    return share * a + (1.0 - share) * b


def half_wave(share: Any) -> jax.Array:
    r"""From 0 to 1 along a cosine: $\tfrac12(1 - \cos\pi x) = \sin^2(\pi x/2)$, which loses nothing near zero."""
    return jnp.square(jnp.sin(0.5 * jnp.pi * share))
