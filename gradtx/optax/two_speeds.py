"""Optax's `lookahead`: slow weights beside the fast ones, in a pair of parameters."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gradtx.core import check
from gradtx.core.count import increment, period_of
from gradtx.core.flow import Flow
from gradtx.core.rule import Part, Rule, going_down
from gradtx.core.stage import Fields
from gradtx.core.transformation import advance, start
from gradtx.optax.borrow import Real, StepCount, leave_unless, optax_transformation
from gradtx.optax.over_any import Optimizer, start_anew
from gradtx.values.errors import Refusal


class SlowWeights(NamedTuple):
    slow: jax.Array
    rate: jax.Array
    due: jax.Array


@optax_transformation
def lookahead(fast_optimizer: Optimizer, sync_period: StepCount, slow_step_size: Real, reset_state: bool = False):
    leave_unless(sync_period=isinstance(sync_period, jax.Array) or callable(sync_period) or sync_period >= 1)

    def init(params: Any) -> optax.LookaheadState:
        fast = params.fast if isinstance(params, optax.LookaheadParams) else params
        return optax.LookaheadState(start(fast_optimizer, fast), jnp.zeros([], jnp.int32))

    def advance_fast(flow: Flow, state: Any, extra: dict[str, Any]) -> optax.LookaheadState:
        check.require_state(state, optax.LookaheadState)
        pair = require_pair_of_params(flow)
        slow = slow_weights(flow, pair)
        promised = advance(fast_optimizer, flow, state.fast_state, extra, "fast_optimizer")
        steps, period = increment(jnp.asarray(state.steps_since_sync)), period_of(sync_period)
        due, rate = steps == period, jnp.asarray(slow_step_size)
        rows = [SlowWeights(x, rate, due) for x in slow]
        results = flow.then(step_of_both, rows, ["slow"], needs_params=True)
        fast_state = flow.settle(promised)
        if reset_state:
            fresh = start_anew(fast_optimizer, pair.fast, fast_state)
            fast_state = jax.tree.map(lambda x, new: jnp.where(due, new, x), fast_state, fresh)
        behind = flow.structure.unflatten([row and row["slow"] for row in results])
        put_pair(flow, pair, optax.LookaheadParams(fast=flow.updates(), slow=behind))
        return optax.LookaheadState(fast_state, jnp.where(due, 0, steps))

    return going_down(Rule(init, advance_fast, parts={"fast_optimizer": Part(fast_optimizer, ("fast_state",))}))


def step_of_both(u: jax.Array, row: Any, w: jax.Array) -> tuple[jax.Array, Fields]:
    """The fast weights' update, and that of the slow ones, which go a share of the way to where the fast ones are."""
    slow, rate = row.slow.astype(u.dtype), row.rate.astype(u.dtype)
    way = w.astype(u.dtype) - slow + u
    return jnp.where(row.due, u - (1.0 - rate) * way, u), dict(slow=jnp.where(row.due, rate * way, 0.0))


def require_pair_of_params(flow: Flow) -> optax.LookaheadParams:
    if flow.pair is None or flow.partial:
        remedy = "call update(updates, state, LookaheadParams.init_synced(params))"
        if flow.partial:
            remedy = "put what selects arrays inside of lookahead"
        got = "some of the arrays" if flow.partial else type(flow.params).__name__
        raise Refusal(TypeError, f"params must be optax.LookaheadParams, fast and slow ones, got {got}; {remedy}")
    return flow.pair


def slow_weights(flow: Flow, pair: optax.LookaheadParams) -> list[Any]:
    """The slow weight beside each fast one."""
    column = flow.match(pair.slow, "params.slow")
    for i, (u, slow, fast) in enumerate(zip(flow.leaves, column, flow.weights, strict=True)):
        if u is not None and jnp.shape(slow) != jnp.shape(fast):
            where = check.path_to(flow.tree, i)
            got = f"params.slow{where} has shape {jnp.shape(slow)}, params.fast{where} {jnp.shape(fast)}"
            raise Refusal(ValueError, f"{got}; make both with LookaheadParams.init_synced(params)")
        column[i] = slow if u is None else jnp.asarray(slow)
    return column


def put_pair(flow: Flow, pair: optax.LookaheadParams, updates: optax.LookaheadParams) -> None:
    """Go on with updates of both parameters."""
    n = len(flow.leaves)
    flow.frozen = {*flow.frozen, *[n + i for i in flow.frozen]}
    flow.params, flow.pair = pair, None
    flow.put(updates)
