"""Averages in the place of a schedule: the gradient is taken between the steps and their average."""

from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gradtx.core import check
from gradtx.core.combine import chain, identity
from gradtx.core.count import Count, as_real, increment
from gradtx.core.factories import composition, transformation
from gradtx.core.flow import Flow
from gradtx.core.lift import copy_params
from gradtx.core.quantity import Anchor
from gradtx.core.rule import Part, Rule, going_down
from gradtx.core.stage import Fields
from gradtx.core.transformation import advance, start
from gradtx.core.walk import require_no_writing
from gradtx.selectors import Mask
from gradtx.transforms.decay import add_decayed_weights
from gradtx.transforms.evaluation import in_place_of, require_no_other
from gradtx.transforms.rate import turns_down
from gradtx.transforms.rms import scale_by_rms
from gradtx.values.annotations import Decay, NonNegative, Number
from gradtx.values.ranges import Range
from gradtx.wrappers.kept import match_kept, promise_kept

PositiveShare = Annotated[Number, Range(0, 1, "(]")]


class ScheduleFreeState(NamedTuple):
    """The state of `schedule_free`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx, w = gradtx.schedule_free_sgd(1.0), jnp.array([4.0])
    >>> updates, state = tx.update(jnp.array([1.0]), tx.init(w), w)
    >>> state.z, float(state.weight_sum)
    (Array([3.], dtype=float32), 1.0)
    """

    count: Count
    b1: jax.Array  # the share of the average in the parameters
    weight_sum: jax.Array
    max_lr: jax.Array  # the largest learning rate so far
    z: Anchor  # where the steps lead
    inner_state: Any

    def for_evaluation(self, params: Any) -> Any:
        def average(z: jax.Array, y: jax.Array) -> jax.Array:
            b1 = self.b1.astype(z.dtype)
            return recover_average(y.astype(z.dtype), z, b1)

        require_no_other(self.inner_state, "schedule_free")
        return in_place_of(params, self.z, "the state's z", average)


class Averaged(NamedTuple):
    z: jax.Array
    before: jax.Array  # b1
    b1: jax.Array
    share: jax.Array
    factor: jax.Array  # of an update in its step


@transformation
def schedule_free(
    tx: optax.GradientTransformation,
    learning_rate: NonNegative,
    b1: PositiveShare = 0.9,
    power: NonNegative = 2.0,
    r: NonNegative = 0.0,
):
    r"""Steps $z \leftarrow z - \eta\,T(g)$ whose average $x \leftarrow (1 - c)\,x + c\,z$ needs no schedule that falls;
    the parameters, at which $g$ is taken, are between both, $w = \beta x + (1 - \beta)\,z$.

    The weight of a step is $t^r \hat\eta^p$ with the largest rate so far $\hat\eta$, and $c$ its share of the sum of
    all weights so far: for a constant rate and $r = 0$ it is $1/t$. A warmup is a schedule of `learning_rate`, which is
    the rate of $z$ and in the weights. Evaluate with $x$, by `evaluation_parameters(tx, state, params)`.

    **Arguments:** `tx` $T$, a direction, Optax's too, best without momentum, whose place the average has: `identity()`,
    `scale_by_rms(0.999, debias=True)`. A decay in it is that of $w$, as its author's is. An optimizer, `sgd(0.1)`, has
    its own rate, $z \leftarrow z + T(g)$, and `learning_rate`, best the same, is in the weights alone.
    `learning_rate` $\eta \ge 0$, `b1` $\beta \in (0, 1]$, `power` $p$ and `r` $\ge 0$.

    **State:** `count`, `b1`, `weight_sum`, `max_lr`, and `z`, one array per parameter in at least float32, and that of
    `tx`. $x = (w - (1 - \beta)\,z)/\beta$ is no more exact than the parameters are; `b1` is that of these.

    **Raises:** `ValueError` where `update` is called without the parameters, and for a `tx` that writes them, or of
    which can't be told whether it goes along the gradient or down.

    **Source:** Defazio et al., The Road Less Scheduled (2024), algorithm 1. Equal to its author's; Optax's of this name
    takes an optimizer, whose rate is in its `schedule_free_sgd` and `_adamw` one step behind that in the weights.

    >>> import gradtx, jax.numpy as jnp
    >>> tx, w = gradtx.schedule_free(gradtx.scale_by_sign(), 1.0, b1=0.5), jnp.array([4.0])
    >>> state = tx.init(w)
    >>> for _ in range(3):
    ...     updates, state = tx.update(jnp.array([3.0]), state, w)
    ...     w = gradtx.apply_updates(w, updates)
    ...     print(w, state.z, gradtx.evaluation_parameters(tx, state, w))
    [3.] [3.] [3.]
    [2.25] [2.] [2.5]
    [1.5] [1.] [2.]
    """
    require_no_writing(tx, "schedule_free")
    descends = turns_down(tx)

    def init(params: Any) -> ScheduleFreeState:
        dtype = jnp.result_type(float)
        numbers = dict(b1=jnp.array(b1, dtype), weight_sum=jnp.zeros([], dtype), max_lr=jnp.zeros([], dtype))
        z, inner_state = copy_params(params), start(tx, params)
        return ScheduleFreeState(jnp.zeros([], jnp.int32), **numbers, z=z, inner_state=inner_state)

    def advance_averaged(flow: Flow, state: Any, extra: dict[str, Any]) -> ScheduleFreeState:
        check.require_state(state, ScheduleFreeState)
        inner_state = advance(tx, flow, state.inner_state, extra, "tx")
        rate = jnp.asarray(learning_rate, state.max_lr.dtype)
        factor = jnp.ones_like(rate) if descends else -rate
        return move_average(flow, state._replace(inner_state=inner_state), rate, factor, b1, power, r)

    return going_down(Rule(init, advance_averaged, parts={"tx": Part(tx, ("inner_state",))}, counts=(("count",),)))


def move_average(
    flow: Flow, state: ScheduleFreeState, rate: jax.Array, factor: jax.Array, b1: Any, power: Any, r: Any
) -> ScheduleFreeState:
    """Take the flow to what is between the steps and their average, and the state behind a step of so many times the
    updates, whose weight is that of this rate.
    """
    column = match_kept(flow, state.z, "z")
    dtype = state.max_lr.dtype
    count, now = increment(state.count), jnp.asarray(b1, dtype)
    max_lr = jnp.maximum(state.max_lr, rate)
    weight = as_real(count).astype(dtype) ** jnp.asarray(r, dtype) * max_lr ** jnp.asarray(power, dtype)
    total = state.weight_sum + weight
    share = weight / jnp.where(total > 0, total, 1.0)  # while the rate is zero, all is where it was
    rows = [Averaged(x, state.b1, now, share, factor) for x in column]
    z: Any = promise_kept(flow, "z", column, flow.then(step_between, rows, ["z"], needs_params=True))
    return ScheduleFreeState(count, now, total, max_lr, z, state.inner_state)


def step_between(u: jax.Array, row: Any, y: jax.Array) -> tuple[jax.Array, Fields]:
    """The step of what is between the steps and their average, as a sum of small numbers."""
    before, b1, share, factor = [x.astype(u.dtype) for x in (row.before, row.b1, row.share, row.factor)]
    z = row.z.astype(u.dtype)
    x = recover_average(y.astype(u.dtype), z, before)
    step = factor * u
    after = z + step
    return b1 * share * (after - x) + (1.0 - b1) * step + (b1 - before) * (x - z), dict(z=after)


def recover_average(y: jax.Array, z: jax.Array, b1: jax.Array) -> jax.Array:
    """The average of which the parameters have a share."""
    return z + (y - z) / b1


@composition
def schedule_free_sgd(
    learning_rate: NonNegative = 1.0,
    b1: PositiveShare = 0.9,
    weight_decay: NonNegative | None = None,
    power: NonNegative = 2.0,
    r: NonNegative = 0.0,
    *,
    mask: Mask | None = None,
):
    r"""Gradient descent without a schedule: `schedule_free` of $g + \lambda w$.

    **Arguments:** `learning_rate` $\eta \ge 0$; `weight_decay` $\lambda \ge 0$, or None; `mask`, which arrays decay, as
    in `add_decayed_weights`; the others as in `schedule_free`.

    **State:** as `schedule_free`, one array per parameter.

    **Source:** as `schedule_free`. Equals Optax's `contrib.schedule_free_sgd` without a warmup.

    >>> import gradtx
    >>> gradtx.schedule_free_sgd(gradtx.linear(0.0, 1.0, 100))
    schedule_free_sgd(learning_rate=linear(start=0.0, end=1.0, steps=100))
    """
    direction = identity() if weight_decay is None else add_decayed_weights(weight_decay, mask)
    return schedule_free(direction, learning_rate, b1, power, r)


@composition
def schedule_free_adamw(
    learning_rate: NonNegative = 0.0025,
    b1: PositiveShare = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0.0,
    power: NonNegative = 2.0,
    r: NonNegative = 0.0,
    *,
    mask: Mask | None = None,
):
    r"""AdamW without a schedule: `schedule_free` of $g/(\sqrt{\hat v} + \varepsilon) + \lambda w$, with an average in
    the place of Adam's momentum.

    **Arguments:** `learning_rate` $\eta \ge 0$, one to ten times AdamW's; `b2` $\in [0, 1)$, the decay of $v$; `eps`
    $\varepsilon \ge 0$; `weight_decay` $\lambda \ge 0$; `mask`, which arrays decay, as in `add_decayed_weights`; the
    others as in `schedule_free`.

    **State:** as `schedule_free`, and `nu` $v$: two arrays per parameter.

    **Source:** as `schedule_free`. Equals its author's `AdamWScheduleFree`, whose warmup over $T$ steps is the schedule
    $\eta\min((n + 1)/T, 1)$ of the count $n$, and Optax's `contrib.schedule_free_adamw` without one.

    >>> import gradtx
    >>> gradtx.schedule_free_adamw(0.01, b1=0.95)
    schedule_free_adamw(learning_rate=0.01, b1=0.95)
    """
    direction = chain(scale_by_rms(b2, eps, debias=True), add_decayed_weights(weight_decay, mask))
    return schedule_free(direction, learning_rate, b1, power, r)
