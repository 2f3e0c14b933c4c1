"""Schedules that rise from a small value."""

import jax.numpy as jnp

from gradtx.core.recipe import Scalar, Steps
from gradtx.schedules.value import schedule


@schedule
def warmup(value: Scalar, steps: Steps):
    r"""A linear rise, $\eta_\tau = \eta\,(\tau + 1)/K$, then $\eta$ for ever: no step is lost on a zero rate.

    **Arguments:** `value` $\eta$, finite; `steps` $K \ge 1$. Join it to what follows:
    `warmup(1e-3, 100).then(cosine(1e-3, 900), at=100)`.

    **Source:** Goyal et al., Accurate, Large Minibatch SGD (2017), section 2.2; Optax's `linear_schedule` from zero
    starts one step earlier, at 0.

    >>> import gradtx
    >>> [float(gradtx.warmup(1.0, 4)(t)) for t in (0, 1, 3, 9)]
    [0.25, 0.5, 1.0, 1.0]
    """
    return lambda count: value * jnp.minimum((count + 1.0) / steps, 1.0)
