"""A transformation in a branch that may not be taken: what comes out has to have the form of what goes in."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import eval_jaxpr
from jax.tree_util import keystr, tree_flatten_with_path

from gradtx.core import check
from gradtx.core.collectives import manual_axes
from gradtx.core.flow import Flow
from gradtx.core.fusion import CALLS, joins_loops
from gradtx.core.locality import programs_in
from gradtx.core.paths import list_some
from gradtx.core.placement import is_traced, lay_like
from gradtx.core.rule import Part, Rule
from gradtx.core.transformation import Transformation, advance
from gradtx.core.walk import writes
from gradtx.values.errors import Refusal
from gradtx.values.value import build


def advance_where(
    ok: jax.Array,
    tx: Any,
    flow: Flow,
    state: Any,
    extra: dict[str, Any],
    part: str,
    enter: Callable[[Flow], None] = lambda flow: None,
    seldom: bool = False,
) -> Any:
    """Take the flow through a transformation where it is ok; elsewhere zeros, and the state bit for bit as it was.
    `enter` does to the updates what comes ahead of it, at no cost of its own where it is a stage. If it is `seldom` not
    ok, the step may be made in any case.

    A rule with a branch of its own leaves the step out there: one branch inside of another would copy what both pass
    on.
    """
    if isinstance(tx, Transformation) and build(tx).advance_if:
        enter(flow)
        return advance(tx, flow, state, extra, part, ok)
    updates, exact = flow.updates(), writes(tx)
    left_out = jax.tree.map(jnp.zeros_like, in_form_of(updates, updates, exact)), state

    def through(begin: Callable[[Flow], None] = enter) -> tuple[Any, Any]:
        return run_branch(tx, flow, state, extra, part, exact, begin)

    made = run_in_line(lambda: through(zeros_unless(ok, enter))) if seldom and is_traced() and joins_loops() else None
    if made is None:
        updates, after = jax.lax.cond(ok, through, lambda: left_out)
    else:
        updates, after = jax.tree.map(lambda x, y: jnp.where(ok, x, y), made, left_out)
    flow.put(updates)
    return after


def zeros_unless(ok: jax.Array, enter: Callable[[Flow], None]) -> Callable[[Flow], None]:
    """What comes ahead, of zeros where it is not ok: what is not finite would be in a gradient through the step even
    where that is not chosen.
    """

    def begin(flow: Flow) -> None:
        flow.then(lambda g, ok: (jnp.where(ok, g, jnp.zeros_like(g)), {}), [ok] * len(flow.leaves))
        enter(flow)

    return begin


def run_in_line(run: Callable[[], Any]) -> Any:
    """What a function makes, if it has no branches, loops and effects; elsewhere None. A branch keeps the compiler from
    making its results in one loop with what is behind it.
    """
    program, made = jax.make_jaxpr(run, return_shape=True)()
    if program.effects or not is_line(program.jaxpr):
        return None
    return jax.tree.unflatten(jax.tree.structure(made), eval_jaxpr(program.jaxpr, program.consts))


def is_line(program: Any) -> bool:
    calls = (*CALLS, "custom_jvp_call", "custom_vjp_call")
    inside = [(step.primitive.name, x) for step in program.eqns for x in programs_in(step)]
    return all(name in calls and is_line(x) for name, x in inside)


def rule_around(tx: Any, init: Callable[[Any], Any], advance: Callable[..., Any]) -> Rule:
    """The rule of a wrapper whose state is that of its one part. `advance(flow, state, extra, ok)` hands `ok` on to the
    part, which leaves the step out by itself if it can.
    """

    def advance_if(flow: Flow, state: Any, ok: Any, extra: dict[str, Any]) -> Any:
        return advance(flow, state, extra, ok)

    has_branch = isinstance(tx, Transformation) and build(tx).advance_if
    return Rule(init, advance, parts={"tx": Part(tx, ())}, advance_if=advance_if if has_branch else None)


def run_branch(
    tx: Any,
    flow: Flow,
    state: Any,
    extra: dict[str, Any],
    part: str,
    exact: bool,
    enter: Callable[[Flow], None] = lambda flow: None,
) -> tuple[Any, Any]:
    """The updates and the state behind a transformation, in the dtypes that they had; the flow itself stays. What is
    `exact` among the updates is not narrowed.
    """
    own = flow.fork()
    enter(own)
    after = advance(tx, own, state, extra, part)
    out = own.updates(last=True)
    return in_form_of(flow.tree, out, exact), state_in_form_of(state, own.settle(after))


def in_form_of(updates: Any, out: Any, exact: bool) -> Any:
    """What comes out of a branch in the dtypes of the updates that went in, or in at least float32 where it is what
    makes parameters others to the bit.
    """
    if not exact:
        return jax.tree.map(cast_like, out, updates)
    return jax.tree.map(lambda x, u: lay_in_parts(x.astype(check.promote(u.dtype)), u), out, updates)


def state_in_form_of(before: Any, after: Any) -> Any:
    """The next state of what stands in a branch in the dtypes that it had; its structure must be the same."""
    try:
        return jax.tree.map(cast_like, after, before)
    except ValueError:
        had, has = ({keystr(path): None for path, _ in tree_flatten_with_path(tree)[0]} for tree in (before, after))
        lost, new = [path for path in had if path not in has], [path for path in has if path not in had]
        said = [f"{word} {list_some(paths)}" for word, paths in (("lost", lost), ("got", new)) if paths]
        problem = f"its state has {' and '.join(said) or 'changed its nodes'}, where a step may be left out"
        remedy = "a state must keep its form: give an update for each array that init was given"
        raise Refusal(ValueError, f"{problem}; {remedy}") from None


def keep_unless(due: jax.Array, renew: Callable[[], Any], old: Any) -> Any:
    """What is made anew where it is due, in the form of the old, which costs nothing elsewhere."""
    return jax.lax.cond(due, lambda: jax.tree.map(cast_like, renew(), old), lambda: old)


def choose(ok: Any, new: Any, old: Any) -> Any:
    """The new one where it is ok."""
    return new if ok is True else jnp.where(ok, new, old)


def cast_like(new: Any, old: Any) -> Any:
    return lay_in_parts(new if new.dtype == old.dtype else new.astype(old.dtype), old)


def lay_in_parts(new: Any, old: Any) -> Any:
    return lay_like(new, old) if manual_axes() else new
