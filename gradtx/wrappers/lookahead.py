"""Slow weights behind fast ones."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gradtx.core import check
from gradtx.core.count import Count, as_real, increment
from gradtx.core.factories import transformation
from gradtx.core.flow import Flow
from gradtx.core.lift import copy_params
from gradtx.core.quantity import Slow
from gradtx.core.rule import Part, Rule
from gradtx.core.stage import Fields
from gradtx.core.transformation import advance, start
from gradtx.core.walk import require_no_writing
from gradtx.transforms.evaluation import in_place_of, require_no_other
from gradtx.values.annotations import Fraction, Steps
from gradtx.wrappers.kept import match_kept, promise_kept


class LookaheadState(NamedTuple):
    """The state of `lookahead`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx, w = gradtx.lookahead(gradtx.sgd(1.0), 2), jnp.array([4.0])
    >>> updates, state = tx.update(jnp.array([1.0]), tx.init(w), w)
    >>> int(state.steps_since_sync), state.slow
    (1, Array([4.], dtype=float32))
    """

    steps_since_sync: Count
    slow: Slow  # weights
    inner_state: Any

    def for_evaluation(self, params: Any) -> Any:
        require_no_other(self.inner_state, "lookahead")
        return in_place_of(params, self.slow, "the state's slow")


class WeightsOfTwoSpeeds(NamedTuple):
    slow: jax.Array
    rate: jax.Array
    due: jax.Array


@transformation
def lookahead(tx: optax.GradientTransformation, period: Steps = 5, rate: Fraction = 0.5):
    r"""The steps of an optimizer, $w \leftarrow w + u$ with $u = T(g)$, and at the $k$-th, the $2k$-th and so on
    $s \leftarrow s + \alpha\,(w + u - s)$, $w \leftarrow s$: slow weights $s$ go a share of the way that the fast
    weights $w$ have gone from them.

    Evaluate with `evaluation_parameters(tx, state, params)`, which are the slow weights.

    **Arguments:** `tx` $T$, a whole optimizer, an Optax one too; it keeps its state when the weights are set back.
    `period` $k \ge 1$, under a schedule the wait ends as soon as it is as long as the schedule then says; `rate`
    $\alpha \in [0, 1]$.

    **State:** `steps_since_sync`, `slow` $s$, one array per parameter in at least float32, and the state of `tx`.

    **Raises:** `ValueError` for a `tx` that writes parameters, and where `update` is called without them.

    **Source:** Zhang et al., Lookahead Optimizer (2019), algorithm 1. Optax's `lookahead` has the same steps, and keeps
    the slow weights beside the parameters, in a pair.

    >>> import gradtx, jax.numpy as jnp
    >>> tx, w = gradtx.lookahead(gradtx.sgd(1.0), period=2), jnp.array([4.0])
    >>> state = tx.init(w)
    >>> for _ in range(3):
    ...     updates, state = tx.update(jnp.array([1.0]), state, w)
    ...     w = gradtx.apply_updates(w, updates)
    ...     print(w, gradtx.evaluation_parameters(tx, state, w))
    [3.] [4.]
    [3.] [3.]
    [2.] [3.]
    """
    require_no_writing(tx, "lookahead")

    def init(params: Any) -> LookaheadState:
        return LookaheadState(jnp.zeros([], jnp.int32), copy_params(params), start(tx, params))

    def advance_fast(flow: Flow, state: Any, extra: dict[str, Any]) -> LookaheadState:
        check.require_state(state, LookaheadState)
        inner_state = advance(tx, flow, state.inner_state, extra, "tx")
        column = match_kept(flow, state.slow, "slow")
        steps = increment(state.steps_since_sync)
        due, share = ~(as_real(steps) < period), jnp.asarray(rate)
        rows = [WeightsOfTwoSpeeds(x, share, due) for x in column]
        results = flow.then(step_at_two_speeds, rows, ["slow"], needs_params=True)
        slow: Any = promise_kept(flow, "slow", column, results)
        return LookaheadState(jnp.where(due, 0, steps), slow, inner_state)

    return Rule(init, advance_fast, parts={"tx": Part(tx, ("inner_state",))})


def step_at_two_speeds(u: jax.Array, row: Any, w: jax.Array) -> tuple[jax.Array, Fields]:
    """The fast weights' step, or the way to where the slow weights follow them."""
    slow, w = row.slow.astype(u.dtype), w.astype(u.dtype)
    nearer = slow + row.rate.astype(u.dtype) * (w - slow + u)
    return jnp.where(row.due, nearer - w, u), dict(slow=jnp.where(row.due, nearer, slow))
