"""Performance scheduling: a learning rate that falls when a measurement stops improving."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradtx.core import check
from gradtx.core.count import Count, as_count, as_real
from gradtx.core.factories import transformation
from gradtx.core.lift import scaling
from gradtx.transforms.best import measure, start_measuring
from gradtx.values.annotations import Decay, Fraction, Natural, NonNegative, Steps


class ReduceOnPlateauState(NamedTuple):
    """The state of `reduce_on_plateau`.

    >>> import gradtx
    >>> tx = gradtx.reduce_on_plateau(0.5, patience=1)
    >>> state = tx.init(None)
    >>> for loss in (3.0, 2.0, 2.5):
    ...     _, state = tx.update(None, state, value=loss)
    >>> float(state.scale), float(state.best_value)
    (0.5, 2.0)
    """

    scale: jax.Array  # what the last update was multiplied by
    best_value: jax.Array  # infinite before the first
    plateau_count: Count  # measurements since the best one, or since the last reduction
    cooldown_count: Count  # measurements that will not count yet
    count: Count  # values in the mean that is being taken
    avg_value: jax.Array  # that mean

    @property
    def metrics(self) -> dict[str, jax.Array]:
        return dict(scale=self.scale, best_value=self.best_value)


@transformation
def reduce_on_plateau(
    factor: Decay = 0.1,
    patience: Steps = 10,
    *,
    cooldown: Natural = 0,
    min_scale: Fraction = 0.0,
    rtol: Fraction = 1e-4,
    atol: NonNegative = 0.0,
    maximize: bool = False,
    every: Steps = 1,
):
    r"""The updates times a scale, $s\,g$ from $s = 1$, with $s \leftarrow \max(c\,s, s_{\min})$ when `patience`
    measurements in a row were no improvement. With the best so far $b$, an improvement is
    $v < b - (\mathrm{rtol}\,|b| + \mathrm{atol})$ or, with `maximize`, $v > b + (\mathrm{rtol}\,|b| + \mathrm{atol})$.
    NaN and infinities never are one.

    The measurement is an argument of `update`, `value=`; that same update already has the new scale. To measure once
    per epoch, drive it alone, `_, state = tx.update(None, state, value=loss)`, and use `state.scale`.

    **Arguments:** `factor` $c \in [0, 1)$; `patience` $\ge 1$; `cooldown` $\ge 0$, the measurements after a reduction
    that can improve the best and count for nothing else; `min_scale` $s_{\min}$ and `rtol` $\in [0, 1]$; `atol`
    $\ge 0$, in units of the value; `every` $\ge 1$, the values averaged into one measurement: a loss per step into one
    per epoch.

    **State:** `scale`, `best_value` and four counters and means; nothing per parameter.

    **Raises:** `TypeError` and `ValueError` for a `value` that is missing or no real scalar.

    **Source:** equals Optax's `contrib.reduce_on_plateau` (its `accumulation_size` is `every`) and, with a patience
    greater by one and `threshold` as `rtol` ("rel") or `atol` ("abs"), torch's `ReduceLROnPlateau`, for positive
    measurements. Both take $b(1 - \mathrm{rtol})$ for the bound. For a negative $b$ that lies above $b$, so that worse
    values pass for improvements. Keras counts the last measurement of its cooldown again.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.reduce_on_plateau(0.5, patience=2)
    >>> state = tx.init(None)
    >>> for loss in (3.0, 2.0, 2.5, 2.0, 1.0):
    ...     updates, state = tx.update(jnp.array([8.0]), state, value=loss)
    ...     print(updates)
    [8.]
    [8.]
    [8.]
    [4.]
    [4.]
    """

    def init(params: Any) -> ReduceOnPlateauState:
        one, zero = jnp.ones([], jnp.result_type(float)), jnp.zeros([], jnp.int32)
        return ReduceOnPlateauState(scale=one, cooldown_count=zero, **start_measuring(maximize))

    def scale(state: ReduceOnPlateauState, *, value: Any) -> tuple[jax.Array, ReduceOnPlateauState]:
        check.require_state(state, ReduceOnPlateauState)
        fields, complete, _ = measure(state, value, rtol=rtol, atol=atol, maximize=maximize, every=every)
        measured = complete.astype(jnp.int32)
        cooling = state.cooldown_count > 0
        reduce = complete & ~cooling & (as_real(fields["plateau_count"]) >= patience)
        after = state._replace(**fields)._replace(
            scale=jnp.where(reduce, jnp.maximum(factor * state.scale, min_scale), state.scale),
            plateau_count=jnp.where(cooling | reduce, 0, fields["plateau_count"]),
            cooldown_count=jnp.where(reduce, as_count(cooldown), jnp.maximum(state.cooldown_count - measured, 0)),
        )
        after = jax.tree.map(lambda new, old: new.astype(old.dtype), after, state)
        return after.scale, after

    return scaling(init, scale)
