"""Optax's `sam`: any optimizer at parameters to where another one has led uphill."""

from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gradtx.core import check
from gradtx.core.count import increment
from gradtx.core.flow import Flow
from gradtx.core.lift import copy_params
from gradtx.core.rule import Part, Rule
from gradtx.core.stage import Fields
from gradtx.core.transformation import advance, start
from gradtx.core.walk import writes
from gradtx.optax.borrow import as_plain_number, leave_unless, optax_transformation
from gradtx.optax.over_any import Optimizer, start_anew
from gradtx.values.annotations import Check
from gradtx.values.errors import Refusal, require_function
from gradtx.wrappers.branch import run_branch
from gradtx.wrappers.kept import match_kept, promise_kept

Whole = Annotated[int, Check(as_plain_number)]  # a number of steps that a loop of Python takes


class Uphill(NamedTuple):
    cache: jax.Array
    first: jax.Array
    last: jax.Array


@optax_transformation
def sam(
    optimizer: Optimizer,
    adv_optimizer: Optimizer,
    sync_period: Whole = 2,
    reset_state: bool = True,
    opaque_mode: bool = False,
    batch_axis_name: str | None = None,
):
    leave_unless(sync_period=isinstance(sync_period, int) and sync_period >= 1)
    kind = optax.contrib.SAMState
    exact = writes(optimizer)

    def init(params: Any) -> Any:
        cache = None if opaque_mode else copy_params(params)
        return kind(jnp.zeros([], jnp.int32), start(optimizer, params), start(adv_optimizer, params), cache)

    def restart(flow: Flow, state: Any) -> Any:
        return start_anew(adv_optimizer, flow.own_params if flow.partial else flow.params, state)

    def advance_opaque(flow: Flow, state: Any, extra: dict[str, Any]) -> Any:
        check.require_state(state, kind)
        check.require_params(flow.params)
        grad_fn, rest = extra["grad_fn"], {name: x for name, x in extra.items() if name != "grad_fn"}
        require_function("grad_fn", grad_fn, "the parameters and the number of the step up", 2)
        flow.updates()
        uphill, adv_state = flow.fork(), state.adv_state
        for i in range(sync_period - 1):
            adv_state = climb(adv_optimizer, uphill, adv_state, rest)
            uphill.put(gradient_at(grad_fn, uphill, i, batch_axis_name))
        flow.put(uphill.updates())
        opt_state = advance(optimizer, flow, state.opt_state, rest, "optimizer")
        after = restart(flow, state.adv_state) if reset_state else adv_state
        return kind(jnp.zeros([], jnp.int32), opt_state, after, None)

    def advance_transparent(flow: Flow, state: Any, extra: dict[str, Any]) -> Any:
        check.require_state(state, kind)
        check.require_params(flow.params)
        flow.updates()
        column = match_kept(flow, state.cache, "cache")
        first, last = state.steps_since_sync == 0, state.steps_since_sync == sync_period - 1
        below = flow.fork()  # where the steps up began
        triples = zip(flow.leaves, flow.weights, column, strict=True)
        below.weights = [w if u is None else at_start(first, jnp.asarray(w), x) for u, w, x in triples]
        below.params = below.structure.unflatten(below.weights)

        def up() -> Any:
            out, after = run_branch(adv_optimizer, flow, state.adv_state, extra, "adv_optimizer", exact)
            return jax.tree.map(jnp.negative, out), state.opt_state, after

        def down() -> Any:
            out, after = run_branch(optimizer, below, state.opt_state, extra, "optimizer", exact)
            return out, after, state.adv_state

        fresh = restart(flow, state.adv_state) if reset_state else None  # ahead: no branch makes what another one needs
        out, opt_state, adv_state = jax.lax.cond(last, down, up)
        if reset_state:
            adv_state = jax.tree.map(lambda new, x: jnp.where(last, new, x), fresh, adv_state)
        flow.put(out)
        rows = [Uphill(x, first, last) for x in column]
        cache: Any = promise_kept(flow, "cache", column, flow.then(step_back, rows, ["cache"], needs_params=True))
        return kind(jnp.where(last, 0, increment(state.steps_since_sync)), opt_state, adv_state, cache)

    parts = {"optimizer": Part(optimizer, ("opt_state",)), "adv_optimizer": Part(adv_optimizer, ("adv_state",))}
    if opaque_mode:
        return Rule(init, advance_opaque, takes=frozenset({"grad_fn"}), needs=("grad_fn",), parts=parts)
    return Rule(init, advance_transparent, parts=parts)


def at_start(first: jax.Array, w: jax.Array, kept: jax.Array) -> jax.Array:
    return jnp.where(first, w, kept.astype(w.dtype))


def step_back(u: jax.Array, row: Any, w: jax.Array) -> tuple[jax.Array, Fields]:
    """At the last step from where the steps up began, the other ones from where they have led."""
    w = w.astype(u.dtype)
    kept = jnp.where(row.first, w, row.cache.astype(u.dtype))
    return jnp.where(row.last, kept - w + u, u), dict(cache=kept)


# ---- uphill within one update ----


def climb(tx: Any, flow: Flow, state: Any, extra: dict[str, Any]) -> Any:
    """Take a flow's parameters a step of a transformation in the other direction, as `apply_updates` would; the next
    state.
    """
    after = advance(tx, flow, state, extra, "adv_optimizer")
    steps, weights = flow.run(), list(flow.weights)
    for i, u in enumerate(steps):
        if u is not None:
            p = jnp.asarray(weights[i])
            weights[i] = (p.astype(u.dtype) - u).astype(p.dtype)
    after = flow.settle(after)
    flow.weights, flow.params = weights, flow.structure.unflatten(weights)
    return after


def gradient_at(grad_fn: Any, flow: Flow, i: int, axis: str | None) -> Any:
    """What the function returns at a flow's parameters."""
    returned = grad_fn(flow.params, i)
    if axis is not None:
        returned = jax.lax.pmean(returned, axis)
    rows = flow.match(returned, "what grad_fn returned")
    for place, (u, g) in enumerate(zip(flow.leaves, rows, strict=True)):
        if u is not None and jnp.shape(g) != u.shape:
            where, got = check.path_to(flow.tree, place), "None" if g is None else f"shape {jnp.shape(g)}"
            problem = f"grad_fn returned {got} at {where or 'its root'}, expected shape {u.shape}"
            raise Refusal(ValueError, f"{problem}; return the gradient of the loss for the parameters that it is given")
    pairs = zip(flow.leaves, rows, strict=True)
    return flow.structure.unflatten([None if u is None else jnp.asarray(g).astype(u.dtype) for u, g in pairs])
