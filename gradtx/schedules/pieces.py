"""Schedules that jump."""

import itertools

import jax.numpy as jnp
from jax.core import Tracer

from gradtx.schedules.decay import compound
from gradtx.schedules.value import schedule
from gradtx.values.annotations import Natural, Positive, Scalar, Steps
from gradtx.values.errors import Refusal


@schedule
def step(start: Scalar, factor: Positive, every: Steps):
    r"""A jump by a factor at regular times, $\eta_\tau = \eta_0\,c^{\lfloor\tau/s\rfloor}$.

    **Arguments:** `start` $\eta_0$, finite; `factor` $c > 0$; `every` $s \ge 1$ steps.

    **Source:** torch's `StepLR`; Optax's `exponential_decay` with `staircase`.

    >>> import gradtx
    >>> [float(gradtx.step(1.0, 0.5, every=30)(t)) for t in (0, 29, 30, 60)]
    [1.0, 1.0, 0.5, 0.25]
    """
    return lambda count: start * compound(factor, count // every)


@schedule
def piecewise_constant(boundaries: tuple[Natural, ...], values: tuple[Scalar, ...]):
    r"""One value per piece, $\eta_\tau = v_i$ for $b_{i-1} \le \tau < b_i$.

    **Arguments:** `boundaries` $b$, numbers of steps $\ge 0$, none earlier than the last; `values` $v$, finite, one
    more than boundaries.

    **Raises:** `ValueError` for boundaries that decrease and for another number of values.

    **Source:** Keras's `PiecewiseConstantDecay` holds each value one step longer, through its boundary; Optax's
    `piecewise_constant_schedule` and torch's `MultiStepLR` jump where this one does, and take factors in place of
    values.

    >>> import gradtx
    >>> [round(float(gradtx.piecewise_constant((10, 20), (0.1, 0.03, 0.01))(t)), 2) for t in (0, 9, 10, 19, 20)]
    [0.1, 0.1, 0.03, 0.03, 0.01]
    """
    if len(values) != len(boundaries) + 1:
        expected = f"one value more than boundaries, {len(boundaries) + 1}"
        raise Refusal(ValueError, f"values must have {expected}, got {len(values)}")
    for i, (b, c) in enumerate(itertools.pairwise(boundaries)):
        if not isinstance(b, Tracer) and not isinstance(c, Tracer) and c < b:
            raise Refusal(ValueError, f"boundaries[{i + 1}] must not be earlier than boundaries[{i}]={b}, got {c}")

    def value(count):
        now = values[0]
        for boundary, following in zip(boundaries, values[1:], strict=True):
            now = jnp.where(count < boundary, now, following)
        return now

    return value
