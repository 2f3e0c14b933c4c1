"""Guards: a step that would do harm is left out, and counted."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gradtx.core import check
from gradtx.core.collectives import Axes, fold
from gradtx.core.count import Count, as_real, increment
from gradtx.core.factories import transformation
from gradtx.core.flow import Flow
from gradtx.core.measurement import as_measurement
from gradtx.core.rule import Part, Rule
from gradtx.core.transformation import start
from gradtx.core.tree import joint_norm
from gradtx.values.annotations import Bound, Decay, Natural
from gradtx.wrappers.branch import advance_where


class SkipNonfiniteState(NamedTuple):
    """The state of `skip_nonfinite`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.skip_nonfinite(gradtx.sgd(0.1))
    >>> _, state = tx.update(jnp.array([jnp.nan]), tx.init(jnp.zeros(1)))
    >>> bool(state.skipped), int(state.total)
    (True, 1)
    """

    skipped: jax.Array  # bool, (): whether the last step was
    total: Count  # steps skipped so far
    in_a_row: Count  # without one in between that was not
    exceeded: jax.Array  # bool, (): whether there have been more than the limit in a row
    inner_state: Any

    only_measured = ("skipped", "total", "in_a_row", "exceeded")  # no update reads them

    @property
    def metrics(self) -> dict[str, jax.Array]:
        return skip_metrics(self)


@transformation
def skip_nonfinite(tx: optax.GradientTransformation, limit: Natural = 10):
    r"""The transformation, $T(g)$, where every element of $g$ is finite; where one is NaN or infinite, zeros, and the
    state of $T$ bit for bit as it was.

    Nothing that is not finite gets through, however often it comes. After more than `limit` skipped steps in a row the
    state says so, in `exceeded`, and from then on: it may be looked at now and then. Put it around all that keeps a
    state, in `skip_nonfinite(chain(clip_by_global_norm(1.0), adam(1e-3)))`. What `tx` makes of finite gradients is not
    looked at.

    **Arguments:** `tx`, an Optax transformation too; `limit` $\ge 0$, steps.

    **State:** `skipped`, whether the last step was, `total` and `in_a_row`, how many were, `exceeded`, and that of
    `tx`; nothing per parameter. A step reads the gradients once more, and XLA makes a copy of the updates, in which
    the branch that is taken and the one that is not meet; around `accumulate` it needs none.

    **Source:** Optax's `apply_if_finite` gives up at its limit and lets the NaN through.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.skip_nonfinite(gradtx.sgd(1.0))
    >>> state = tx.init(jnp.zeros(2))
    >>> for g in (1.0, jnp.inf, 2.0):
    ...     updates, state = tx.update(jnp.array([g, 1.0]), state)
    ...     print(updates, state.skipped)
    [-1. -1.] False
    [0. 0.] True
    [-2. -1.] False
    >>> int(state.total)
    1
    """

    def init(params: Any) -> SkipNonfiniteState:
        return SkipNonfiniteState(**start_counting(), exceeded=jnp.zeros([], bool), inner_state=start(tx, params))

    def advance_guarded(flow: Flow, state: Any, extra: dict[str, Any]) -> SkipNonfiniteState:
        check.require_state(state, SkipNonfiniteState)
        return SkipNonfiniteState(**guard(tx, all_finite(flow.updates()), limit, flow, state, extra))

    return Rule(init, advance_guarded, parts={"tx": Part(tx, ("inner_state",))})


class SkipSpikesState(NamedTuple):
    """The state of `skip_spikes`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.skip_spikes(gradtx.sgd(0.1))
    >>> state = tx.init(jnp.zeros(1))
    >>> for g in (1.0, 3.0):
    ...     _, state = tx.update(jnp.array([g]), state)
    >>> int(state.accepted), round(float(state.mean), 2)
    (2, 2.01)
    """

    skipped: jax.Array  # these four as in SkipNonfiniteState
    total: Count
    in_a_row: Count
    exceeded: jax.Array
    accepted: Count  # steps that were not skipped
    measured: jax.Array  # at the last step
    mean: jax.Array  # of the accepted
    variance: jax.Array  # around it, before its bias is corrected
    weight: jax.Array  # the sum of the weights of the accepted
    square_weight: jax.Array  # the sum of their squares
    inner_state: Any

    only_measured = (*SkipNonfiniteState.only_measured, "measured")

    @property
    def metrics(self) -> dict[str, jax.Array]:
        return skip_metrics(self) | {
            "spike_measured": self.measured,
            "spike_mean": self.mean,
            "spike_deviation": deviation(self),
        }


@transformation
def skip_spikes(
    tx: optax.GradientTransformation,
    threshold: Bound = 5.0,
    *,
    decay: Decay = 0.99,
    warmup_steps: Natural = 100,
    limit: Natural = 10,
    loss: bool = False,
):
    r"""The transformation, $T(g)$, unless the norm $x = \lVert g\rVert_2$ of all arrays, or with `loss` the loss $x$,
    is a spike, $x > m + k\,\sigma$, or not finite: then zeros, and the state of $T$ bit for bit as it was.

    The mean $m$ and the deviation $\sigma$ are those of the accepted steps before, each weighted $\beta$ times as much
    as the one that followed it. An accepted $x$ changes them by

    $$W \leftarrow \beta W + 1, \quad Q \leftarrow \beta^2 Q + 1, \quad \delta = x - m, \quad m \leftarrow m + \delta/W,
    \quad S \leftarrow (1 - 1/W)(S + \delta^2/W), \quad \sigma^2 = S / (1 - Q/W^2),$$

    all from zero; the last is the unbiased estimate for weighted samples. $\sigma$ counts as at least
    $2^{-23}|m|$, the rounding of a float32. Before `warmup_steps` accepted steps, and before two, only what is not
    finite is skipped. With `loss` the gradients are not measured but must be finite too.

    A level that rises for good is a spike for good: after more than `limit` skipped steps in a row the state says so,
    in `exceeded`, and from then on.

    **Arguments:** `tx`, an Optax transformation too; `threshold` $k > 0$, in deviations, `inf` for none; `decay`
    $\beta \in [0, 1)$, for a memory of about $1/(1 - \beta)$ steps (with 0 nothing is known of $\sigma$, and nothing
    is a spike); `warmup_steps` $\ge 0$; `limit` $\ge 0$, steps; `loss`: measure the argument `value` of `update`.

    **State:** as of `skip_nonfinite`, and `accepted`, `measured`, `mean` $m$, `variance` $S$, `weight` $W$,
    `square_weight` $Q$; nothing per parameter.

    **Raises:** with `loss`, `TypeError` and `ValueError` for a `value` that is missing or no real scalar.

    **Source:** West, Updating Mean and Variance Estimates (1979), with weights that decay.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.skip_spikes(gradtx.sgd(1.0), warmup_steps=3)
    >>> state = tx.init(jnp.zeros(1))
    >>> for g in (1.0, 2.0, 1.5, 90.0, 2.0):
    ...     updates, state = tx.update(jnp.array([g]), state)
    ...     print(updates)
    [-1.]
    [-2.]
    [-1.5]
    [0.]
    [-2.]
    """

    def init(params: Any) -> SkipSpikesState:
        names = ["measured", "mean", "variance", "weight", "square_weight"]
        numbers = {name: jnp.zeros([], jnp.result_type(float)) for name in names}
        numbers |= dict(exceeded=jnp.zeros([], bool), accepted=jnp.zeros([], jnp.int32))
        return SkipSpikesState(**start_counting(), **numbers, inner_state=start(tx, params))

    def followed(state: Any, x: jax.Array) -> dict[str, jax.Array]:
        """The statistics with one more accepted step."""
        weight, square = decay * state.weight + 1.0, decay**2 * state.square_weight + 1.0
        delta = x - state.mean
        variance = (1.0 - 1.0 / weight) * (state.variance + delta**2 / weight)
        fields = dict(mean=state.mean + delta / weight, variance=variance, weight=weight, square_weight=square)
        return {name: jnp.asarray(new, state.mean.dtype) for name, new in fields.items()}

    def advance_guarded(flow: Flow, state: Any, x: Any, finite: Any, extra: Any) -> SkipSpikesState:
        x = jnp.asarray(x, state.mean.dtype)
        sigma = jnp.maximum(deviation(state), float(jnp.finfo(jnp.float32).eps) * jnp.abs(state.mean))
        known = (as_real(state.accepted) >= warmup_steps) & (state.accepted > 1)
        ok = finite & jnp.isfinite(x) & ~(known & (x > state.mean + threshold * sigma))
        new = followed(state, jnp.where(ok, x, state.mean))
        fields = {name: jnp.where(ok, x, getattr(state, name)) for name, x in new.items()}
        fields |= dict(measured=x, accepted=jnp.where(ok, increment(state.accepted), state.accepted))
        return SkipSpikesState(**guard(tx, ok, limit, flow, state, extra), **fields)

    def advance_norm(flow: Flow, state: Any, extra: dict[str, Any]) -> SkipSpikesState:
        check.require_state(state, SkipSpikesState)
        return advance_guarded(flow, state, joint_norm(flow.updates()), True, extra)

    def advance_loss(flow: Flow, state: Any, extra: dict[str, Any]) -> SkipSpikesState:
        check.require_state(state, SkipSpikesState)
        finite, value = all_finite(flow.updates()), as_measurement("value", extra["value"])
        return advance_guarded(flow, state, value, finite, extra)

    parts = {"tx": Part(tx, ("inner_state",))}
    if loss:
        return Rule(init, advance_loss, takes=frozenset({"value"}), needs=("value",), parts=parts)
    return Rule(init, advance_norm, parts=parts)


def deviation(state: SkipSpikesState) -> jax.Array:
    """The standard deviation of the accepted; infinite where there are too few to tell."""
    weight = jnp.maximum(state.weight, 1.0)
    known = 1.0 - state.square_weight / weight**2
    return jnp.sqrt(jnp.where((state.accepted > 1) & (known > 0.0), state.variance / known, jnp.inf))


# ---- what both do ----


def start_counting() -> dict[str, jax.Array]:
    """Of the skipped steps, what `count_skipped` counts."""
    return dict(skipped=jnp.zeros([], bool), total=jnp.zeros([], jnp.int32), in_a_row=jnp.zeros([], jnp.int32))


def guard(tx: Any, ok: jax.Array, limit: Any, flow: Flow, state: Any, extra: dict[str, Any]) -> dict[str, Any]:
    """Take the flow through the transformation where it is ok; the fields of the state that both guards have."""
    inner_state = advance_where(ok, tx, flow, state.inner_state, extra, "tx", seldom=True)
    counts = count_skipped(state, ok)
    exceeded = state.exceeded | (as_real(counts["in_a_row"]) > limit)
    return counts | dict(exceeded=exceeded, inner_state=inner_state)


def count_skipped(state: Any, ok: jax.Array) -> dict[str, jax.Array]:
    total = jnp.where(ok, state.total, increment(state.total))
    return dict(skipped=~ok, total=total, in_a_row=jnp.where(ok, 0, increment(state.in_a_row)))


def skip_metrics(state: Any) -> dict[str, jax.Array]:
    return {
        "skipped": state.skipped,
        "skipped_total": state.total,
        "skipped_in_a_row": state.in_a_row,
        "skip_limit_exceeded": state.exceeded,
    }


def all_finite(tree: Any) -> jax.Array:
    """Whether every element is, without a norm that would overflow."""
    parts = [part for x in jax.tree.leaves(tree) for part in ((x.real, x.imag) if jnp.iscomplexobj(x) else (x,))]
    parts = [x for x in parts if x.size]
    return ~fold(lambda bad, x: bad | ~is_finite(x), parts, jnp.array(False), is_any, jnp.logical_or)


def is_any(flag: jax.Array, axes: Axes) -> jax.Array:
    return jax.lax.pmax(flag.astype(jnp.int32), axes) > 0


@jax.jit
def is_finite(x: jax.Array) -> jax.Array:
    # Zero unless one is NaN or infinite. A mask of the elements would be a copy, as a constant beside them is with XLA
    # on CPUs, and a maximum over devices may lose a NaN.
    return jnp.sum(x - x) == 0
