"""Rprop: every element has a step of its own, which its signs alone make longer or shorter."""

from typing import Annotated, NamedTuple

import jax.numpy as jnp
from jax import Array

from gradtx.core.combine import chain
from gradtx.core.factories import Composed, composition, transformation
from gradtx.core.lift import per_array
from gradtx.core.rule import going_down
from gradtx.core.transformation import Updates
from gradtx.transforms.rate import scale
from gradtx.values.annotations import Fraction, Initial, NonNegative, Positive
from gradtx.values.errors import Refusal


class ScaleByRpropState(NamedTuple):
    """The state of `scale_by_rprop`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.rprop(0.5, shrink=0.5)
    >>> state = tx.init(jnp.zeros(2))
    >>> for g in ([3.0, 3.0], [2.0, -2.0]):
    ...     _, state = tx.update(jnp.array(g), state)
    >>> gradtx.find(state, "step_sizes"), gradtx.find(state, "prev_updates")
    (Array([0.6 , 0.25], dtype=float32), Array([2., 0.], dtype=float32))
    """

    step_sizes: Updates
    prev_updates: Updates  # the last gradient, 0 where its sign had changed: only signs count


@transformation
def scale_by_rprop(
    initial: Annotated[NonNegative, Initial],
    shrink: Fraction = 0.5,
    grow: Positive = 1.2,
    *,
    min_step: NonNegative = 1e-6,
    max_step: NonNegative = 50.0,
):
    r"""A step of its own for each element, $\Delta\operatorname{sign}(g)$. Where the sign is that of the last gradient
    $\Delta \leftarrow a\,\Delta$; where it is the other one, $\Delta \leftarrow b\,\Delta$, the element stays where it
    is, and its next gradient counts as the first. No call of it equals Optax's, whose update is that of the step
    before.

    **Arguments:** `initial` $\ge 0$, the step $\Delta$ before the first update, in the units of the parameter: it
    matters at `init` alone; `shrink` $b \in [0, 1]$ and `grow` $a > 0$; `min_step` and `max_step`, between which
    $\Delta$ stays.

    **State:** `step_sizes` $\Delta$ and `prev_updates`: two arrays per parameter.

    **Raises:** `ValueError` for a `min_step` above `max_step`.

    **Source:** Riedmiller & Braun, RPROP (1993); Igel & Hüsken, Improving the Rprop learning algorithm (2000), iRprop-
    (without weight backtracking). Equals torch, but for products of two gradients that float32 rounds to zero.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.scale_by_rprop(0.5)
    >>> state = tx.init(jnp.zeros(2))
    >>> for g in ([3.0, 3.0], [2.0, -2.0], [2.0, -2.0]):
    ...     updates, state = tx.update(jnp.array(g), state)
    ...     print(updates)
    [0.5 0.5]
    [0.6 0. ]
    [ 0.72 -0.25]
    """
    known = [x for x in (min_step, max_step) if isinstance(x, int | float)]
    if len(known) == 2 and min_step > max_step:
        raise Refusal(ValueError, f"min_step must be at most max_step, {max_step:g}, got {min_step:g}")

    def init(p: Array):
        return dict(step_sizes=jnp.full_like(p, initial), prev_updates=jnp.zeros_like(p))

    def update(g: Array, state: ScaleByRpropState):
        agreement = jnp.sign(g) * jnp.sign(state.prev_updates)  # of the signs: a product of the two may underflow
        change = jnp.where(agreement > 0.0, grow, jnp.where(agreement < 0.0, shrink, 1.0))
        sizes = jnp.clip(state.step_sizes * change, min_step, max_step)
        g = jnp.where(agreement < 0.0, 0.0, g)
        return sizes * jnp.sign(g), dict(step_sizes=sizes, prev_updates=g)

    return per_array(ScaleByRpropState, init, update)


@composition
def rprop(
    learning_rate: Annotated[NonNegative, Initial],
    shrink: Fraction = 0.5,
    grow: Positive = 1.2,
    *,
    min_step: NonNegative = 1e-6,
    max_step: NonNegative = 50.0,
):
    r"""Rprop, $w \leftarrow w - \Delta\operatorname{sign}(g)$ with the steps $\Delta$ of `scale_by_rprop`: for
    gradients of the whole data, since noise turns signs. No call of it equals Optax's, whose update is that of the step
    before.

    **Arguments:** `learning_rate` $\eta \ge 0$, the step of every element before the first update; the others, the
    state and the source are those of `scale_by_rprop`.

    >>> import gradtx
    >>> gradtx.rprop(1e-2)
    rprop(learning_rate=0.01)
    """
    steps = scale_by_rprop(learning_rate, shrink, grow, min_step=min_step, max_step=max_step)
    return going_down(Composed.of(tx=chain(steps, scale(-1.0))))
