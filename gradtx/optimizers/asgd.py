"""Averaged gradient descent, as torch has it."""

import functools

import jax.numpy as jnp

from gradtx.core.combine import chain
from gradtx.core.count import as_real
from gradtx.core.factories import composition
from gradtx.schedules.value import at_count, schedule_operator
from gradtx.transforms.average import average_parameters
from gradtx.transforms.decay import add_decayed_weights
from gradtx.transforms.rate import scale_by_learning_rate
from gradtx.values.annotations import Natural, NonNegative
from gradtx.values.errors import Refusal
from gradtx.values.recipe import Controlled


@functools.partial(schedule_operator, "_lower_rate({}, {}, {})")
def _lower_rate(rate: NonNegative, decay: NonNegative, power: NonNegative):
    """A rate over (1 + decay · rate · count)**power."""

    def value(count):
        now = at_count(rate, count)
        return now / (1.0 + at_count(decay, count) * now * as_real(count)) ** at_count(power, count)

    return value


@functools.partial(schedule_operator, "_mean_from({})")
def _mean_from(start: Natural):
    """The decay of an average that is the mean of what comes behind so many counts, and of the last one before."""
    return lambda count: 1.0 - 1.0 / jnp.maximum(as_real(count) - at_count(start, count), 1.0)


@composition
def asgd(
    learning_rate: NonNegative,
    weight_decay: NonNegative = 1e-4,
    power: NonNegative = 0.75,
    start: Natural = 1_000_000,
):
    r"""Averaged gradient descent, $w \leftarrow w - \eta_t\,(g + \lambda w)$ with the falling rate
    $\eta_t = \eta/(1 + \lambda\eta\tau)^c$, $\tau = t - 1$, and the mean of the parameters from the `start` on, which
    `evaluation_parameters(tx, state, params)` gives. Until then it gives the parameters.

    **Arguments:** `learning_rate` $\eta \ge 0$; `weight_decay` $\lambda \ge 0$, which also lowers the rate; `power`
    $c \ge 0$; `start`, the number of updates behind which the mean begins. `update` needs the parameters.

    **Raises:** `TypeError` where a number is `controlled`, since all of them are parts of schedules.

    **State:** `count` and `learning_rate`, `count` and `average`: one array per parameter.

    **Source:** Polyak & Juditsky (1992). By torch's code of `ASGD`, whose `lambd`, `alpha` and `t0` these are, and
    whose state's `ax` is the mean; its `weight_decay` is one more `add_decayed_weights` ahead of this.

    >>> import gradtx, jax.numpy as jnp
    >>> tx, w = gradtx.asgd(1.0, 0.0, start=1), jnp.array([8.0])
    >>> state = tx.init(w)
    >>> for _ in range(4):
    ...     updates, state = tx.update(jnp.array([1.0]), state, w)
    ...     w = gradtx.apply_updates(w, updates)
    >>> w, gradtx.evaluation_parameters(tx, state, w)  # the mean of 5 and 4
    (Array([4.], dtype=float32), Array([4.5], dtype=float32))
    """
    for name, value in dict(learning_rate=learning_rate, weight_decay=weight_decay, power=power, start=start).items():
        if isinstance(value, Controlled):
            remedy = "multiply the updates, chain(asgd(…), scale(controlled(1.0)))"
            raise Refusal(TypeError, f"{name} can't be controlled, since it is part of a schedule; {remedy}")
    rate = _lower_rate(learning_rate, weight_decay, power)
    average = average_parameters(_mean_from(start))
    return chain(add_decayed_weights(weight_decay), scale_by_learning_rate(rate), average)
