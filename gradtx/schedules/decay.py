"""Schedules that go from a start towards an end."""

import math

import jax.numpy as jnp
import numpy as np

from gradtx.core.recipe import Positive, Scalar, Steps
from gradtx.schedules.value import schedule


@schedule
def constant(value: Scalar):
    r"""The same value at every step, $\eta_\tau = \eta$.

    >>> import gradtx
    >>> float(gradtx.constant(0.5)(7))
    0.5
    """
    return lambda count: value


@schedule
def linear(start: Scalar, end: Scalar, steps: Steps):
    r"""A straight line, $\eta_\tau = (1 - \tau/K)\,\eta_0 + (\tau/K)\,\eta_K$, then $\eta_K$ for ever.

    **Arguments:** `start` $\eta_0$ and `end` $\eta_K$, finite; `steps` $K \ge 1$.

    >>> import gradtx
    >>> [float(gradtx.linear(1.0, 0.0, 4)(t)) for t in (0, 1, 4, 9)]
    [1.0, 0.75, 0.0, 0.0]
    """

    def value(count):
        done = jnp.minimum(count / steps, 1.0)
        return (1.0 - done) * start + done * end

    return value


@schedule
def exponential(start: Scalar, factor: Positive, every: Steps, staircase: bool = False):
    r"""A constant ratio, $\eta_\tau = \eta_0\,c^{\tau/s}$; with `staircase`, $\eta_0\,c^{\lfloor\tau/s\rfloor}$.

    **Arguments:** `start` $\eta_0$, finite; `factor` $c > 0$; `every` $s \ge 1$ steps. As an argument of `jit`, and in
    updates outside of it, $c$ is a float32, whose rounding grows to $6\cdot10^{-8}\,\tau/s$ of the value: write a slow
    decay as a factor far from 1 over many steps, `exponential(start, 0.5, every=100_000)`, which does not drift.

    >>> import gradtx
    >>> [float(gradtx.exponential(1.0, 0.5, every=2, staircase=True)(t)) for t in (0, 1, 2, 4)]
    [1.0, 1.0, 0.5, 0.25]
    """

    def value(count):
        n = count // every if staircase else count / every
        # A factor near 1 loses its distance from 1 in float32: what a Python float knows of it better is put back.
        rounded = np.asarray(factor, jnp.result_type(float)) if isinstance(factor, float) else factor
        rest = math.log(factor / float(rounded)) if isinstance(factor, float) else 0.0
        return start * rounded**n * jnp.exp(rest * n)

    return value


@schedule
def cosine(start: Scalar, steps: Steps, floor: Scalar = 0.0):
    r"""Half a cosine wave, $\eta_\tau = f + \tfrac12(\eta_0 - f)(1 + \cos(\pi\tau/T))$, then $f$ for ever.

    **Arguments:** `start` $\eta_0$ and `floor` $f$, finite; `steps` $T \ge 1$.

    **Source:** Loshchilov & Hutter, SGDR (2017), equation 5, without restarts. `floor` is a value, as in torch's
    `eta_min`; Optax's `alpha` is its share of the start.

    >>> import gradtx
    >>> [round(float(gradtx.cosine(1.0, 4)(t)), 4) for t in (0, 2, 4, 9)]
    [1.0, 0.5, 0.0, 0.0]
    """

    def value(count):
        done = jnp.minimum(count / steps, 1.0)
        return floor + 0.5 * (start - floor) * (1.0 + jnp.cos(jnp.pi * done))

    return value
