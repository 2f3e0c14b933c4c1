"""The last window of an accumulation, closed before it is full."""

from typing import Any

import jax
import jax.numpy as jnp

from gradtx.core import check, eager
from gradtx.core.combine import chain
from gradtx.core.count import increment
from gradtx.core.flow import Flow, run_flow
from gradtx.core.given import as_jax_arrays
from gradtx.core.pair import extra_of
from gradtx.core.transformation import Transformation, accept, add_notes, advance
from gradtx.core.walk import Node, parts_of, state_at, walk, with_state_at, writes
from gradtx.values.errors import Refusal, errors_of
from gradtx.values.printing import excerpt
from gradtx.values.value import build
from gradtx.wrappers.accumulate import AccumulateState, accumulate, is_foreign, is_of_optax
from gradtx.wrappers.branch import cast_like, in_form_of
from gradtx.wrappers.guard import skip_nonfinite, skip_spikes
from gradtx.wrappers.select import freeze, masked, only, partition

LETS_THROUGH = (skip_nonfinite, skip_spikes, masked, only, partition)  # what does not decide when its part acts


def flush(tx: Transformation, state: Any, params: Any, **extra: Any) -> tuple[Any, Any]:
    r"""The updates and the next state where `accumulate` closes its window now, with the $n$ gradients that came,
    $T(\frac{1}{n}\sum_{i=1}^n g_i)$, in the dtypes of the parameters: at the end of an epoch or of the training.
    Where none came, zeros and the state bit for bit as it was. It works inside of `jit` too.

    `accumulate` may be `tx` itself or stand inside of a chain, of `skip_nonfinite` and `skip_spikes`, of `masked`,
    `only` and `partition`, and of compositions of these. Parts of a chain behind it take the updates as at any step;
    those ahead of it have had the gradients, and are left as they are, as all other parts are.

    **Arguments:** `tx`; its `state`; `params`, with None where the gradients held None; extra arguments of the window,
    such as its `value_fn`. The mean of one that a part demands in its signature need not be given. To a part that may
    also do without, such as a line search, `flush(…, **find(state, "acc_extra"))` gives all means that were kept.

    **Raises:** `TypeError` for what is no transformation of gradtx; `ValueError` without `accumulate` and with several,
    for one inside of a wrapper that decides when it acts, such as `every`, and without `params`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx, w = gradtx.accumulate(gradtx.sgd(1.0), 4), jnp.zeros(1)
    >>> state = tx.init(w)
    >>> for g in (1.0, 3.0):
    ...     _, state = tx.update(jnp.array([g]), state, w)
    >>> updates, state = gradtx.flush(tx, state, w)
    >>> updates, int(state.mini_step), int(state.count)
    (Array([-2.], dtype=float32), 0, 1)
    """
    with errors_of("flush"):
        if not isinstance(tx, Transformation):  # pyright: ignore[reportUnnecessaryIsInstance]  # as users may call it
            got = f"{type(tx).__name__} {excerpt(tx)}"
            raise Refusal(TypeError, f"tx must be a transformation of gradtx, got {got}")
        if params is None:
            raise Refusal(ValueError, "it needs the parameters: call flush(tx, state, params)")
        extra = accept(tx, extra)
        window_of(tx, state)
        compilable = eager.is_compilable(tx, None, state, params, extra) and eager.is_shareable(tx)
        try:
            return (compiled_flush if compilable else run_flush)(tx, state, params, extra)
        except Exception as error:
            add_notes(error, tx)
            raise


def window_of(tx: Any, state: Any) -> Node:
    """The one accumulation in a transformation."""
    found = [node for node in walk(tx, state) if is_accumulation(node.tx)]
    if not found:
        remedy = "; in optax.chain it is not seen: join with gradtx.chain" if is_foreign(tx) else ""
        if any(is_of_optax(node.state) for node in walk(tx, state)):
            remedy = "; MultiSteps has none, gradtx.accumulate(tx, steps) in its place has"
        raise Refusal(ValueError, f"there is no accumulate in {excerpt(tx)}{remedy}")
    if len(found) > 1:
        several = ", ".join(node.path or "the whole" for node in found)
        raise Refusal(ValueError, f"there are several accumulate, at {several}; put one around all")
    return found[0]


def is_accumulation(tx: Any) -> bool:
    return isinstance(tx, Transformation) and tx.recipe is accumulate


def run_flush(tx: Transformation, state: Any, params: Any, extra: dict[str, Any]) -> tuple[Any, Any]:
    state, params = as_jax_arrays((state, params))
    updates = jax.tree.map(jnp.zeros_like, check.movable(params))
    nothing = in_form_of(updates, updates, writes(tx))

    def close() -> tuple[Any, Any]:
        made = run_flow(lambda flow: close_inside(tx, flow, state, extra), updates, params)
        return jax.tree.map(cast_like, made, (nothing, state))

    return jax.lax.cond(window_of(tx, state).state.mini_step > 0, close, lambda: (nothing, state))


compiled_flush = jax.jit(run_flush)


def close_inside(tx: Any, flow: Flow, state: Any, extra: dict[str, Any]) -> Any:
    """Close the window somewhere inside of a transformation, and take the flow through what stands behind it."""
    if tx.recipe is accumulate:
        return close_window(tx, flow, state, extra)
    parts = parts_of(tx)
    i, (name, part) = next((i, row) for i, row in enumerate(parts.items()) if holds_accumulation(row[1].tx))
    own, place = flow, flow.place
    if tx.recipe is chain:
        for ahead in list(parts.values())[:i]:
            freeze_ahead(ahead.tx, flow)
    elif tx.recipe in LETS_THROUGH:
        routes = build(tx).routes
        chosen = [route.where for route in routes(flow.selector_tree) if route.part == name] if routes else []
        if tx.recipe is only:
            flow.select([not c for c in chosen[0]]).freeze()
        own = flow.select(chosen[0]) if chosen else flow
    elif name:
        problem = f"accumulate stands inside of {tx.recipe.__name__}, which decides when it acts"
        raise Refusal(ValueError, f"{problem}; put accumulate around it")
    own.place = (*place, name)
    after = with_state_at(state, part.keys, close_inside(part.tx, own, state_at(state, part.keys), extra))
    flow.place = place
    for behind, other in list(parts.items())[i + 1 :] if tx.recipe is chain else []:
        after = with_state_at(after, other.keys, advance(other.tx, flow, state_at(state, other.keys), extra, behind))
    return after


def holds_accumulation(tx: Any) -> bool:
    return any(is_accumulation(node.tx) for node in walk(tx))


def freeze_ahead(tx: Any, flow: Flow) -> None:
    """What a part ahead of the window freezes stays frozen."""
    if isinstance(tx, Transformation) and tx.recipe is freeze:
        flow.select(tx.where.chosen(flow.selector_tree)).freeze()
    elif any(node.rule is not None and node.tx.recipe in (freeze, only) for node in walk(tx)):
        problem = f"{excerpt(tx)}, ahead of accumulate, freezes arrays for it"
        raise Refusal(ValueError, f"{problem}; put freeze(where) itself into the chain")


def close_window(tx: Any, flow: Flow, state: Any, extra: dict[str, Any]) -> AccumulateState:
    """The step that the inner transformation does at the last micro-batch of a window."""
    check.require_state(state, AccumulateState)
    inner = tx.arguments["tx"]
    means = check.match(flow.tree, state.acc_grads, "the state's mean", "params")
    flow.put(flow.structure.unflatten([None if u is None else x for u, x in zip(flow.leaves, means, strict=True)]))
    given = {name: x for name, x in state.acc_extra.items() if name in needed_names(inner)} | extra
    after = advance(inner, flow, state.inner_state, given, "tx")
    nothing = jax.tree.map(jnp.zeros_like, (state.mini_step, state.acc_grads, state.acc_extra))
    mini_step, acc_grads, acc_extra = nothing
    return AccumulateState(mini_step, increment(state.count), state.steps, acc_grads, acc_extra, after)


def needed_names(tx: Any) -> frozenset[str]:
    """The extra arguments that the parts of a transformation demand."""
    found: set[str] = set()
    for node in walk(tx):
        foreign = extra_of(node.tx.update) if node.rule is None else []
        found |= {p.name for p in foreign if p.default is p.empty and p.kind is not p.VAR_KEYWORD}
        found |= set(node.rule.needs if node.rule else ())
    return frozenset(found)
