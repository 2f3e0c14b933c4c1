"""Gradient descent, plain and with momentum."""

import numpy as np
from jax.core import Tracer

from gradtx.core.combine import chain
from gradtx.core.factories import composition
from gradtx.transforms.momentum import scale_by_momentum
from gradtx.transforms.rate import scale_by_learning_rate
from gradtx.values.annotations import Fraction, NonNegative
from gradtx.values.errors import Refusal


@composition
def sgd(
    learning_rate: NonNegative,
    momentum: Fraction | None = None,
    nesterov: bool = False,
    dampening: Fraction = 0.0,
):
    r"""Gradient descent, $w \leftarrow w - \eta\,g$; with `momentum`, $w \leftarrow w - \eta\,v$.

    **Arguments:** `learning_rate` $\eta \ge 0$; `momentum` $\mu \in [0, 1]$, or None for no velocity and no state;
    `nesterov` and `dampening` as in `scale_by_momentum`, only with momentum.

    **State:** with momentum, one array per parameter.

    **Raises:** `ValueError` for `nesterov` or `dampening` without momentum.

    Equals torch's SGD and Optax's `sgd`. With dampening, torch still takes the first gradient whole; Optax has no such
    argument.

    >>> import gradtx
    >>> gradtx.sgd(0.1, momentum=0.9, nesterov=True)
    sgd(learning_rate=0.1, momentum=0.9, nesterov=True)
    """
    if momentum is None:
        damped = callable(dampening) or (not isinstance(dampening, Tracer) and np.any(dampening))
        if nesterov or damped:  # a traced number was looked at when it was given
            raise Refusal(ValueError, "nesterov and dampening need momentum, got momentum=None; give momentum=0.9, say")
        return scale_by_learning_rate(learning_rate)
    velocity = scale_by_momentum(momentum, nesterov=nesterov, dampening=dampening)
    return chain(velocity, scale_by_learning_rate(learning_rate))
