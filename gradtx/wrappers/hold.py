"""A step that may be left out, at the price of a choice between numbers and without a second copy of the state.

Updates are made of a state's new arrays. If one chose between old and new at the end, both would have to be kept until
then. So each array is chosen as soon as it is computed, and what follows is computed from the choice; and a rule with a
branch of its own is told beforehand.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Literal

from gradtx.core import check
from gradtx.core.flow import Flow, Rule
from gradtx.core.transformation import Transformation, advance, taking

CALLS = {"jit", "pjit"}
BRANCHES = {"cond", "while", "scan"}  # nothing can be chosen in the midst of these


class Holding(Rule):
    """A rule that can leave a step out by itself: `advance_if(flow, state, ok, **extra)` makes zeros of the updates and
    leaves the state bit for bit as it was where it is not ok, whatever the updates are then.
    """

    advance_if: Callable[..., Callable[[], Any]]

    def __new__(cls, init: Any, advance_if: Callable[..., Callable[[], Any]]) -> "Holding":
        parameters = list(inspect.signature(advance_if).parameters.values())[3:]

        def advance(flow: Flow, state: Any, **extra: Any) -> Callable[[], Any]:
            return advance_if(flow, state, True, **extra)

        self: Any = super().__new__(cls, init, taking(parameters, advance))
        self.advance_if = advance_if
        return self


def advance_if(ok: Any, tx: Any, flow: Flow, state: Any, extra: dict[str, Any]) -> Callable[[], Any]:
    """Take a flow through a transformation where it is ok, as a rule that is `Holding` does."""
    pair = tx
    while isinstance(pair, Transformation):
        pair = pair.built
    if isinstance(pair, Holding):
        with flow.within(functools.partial(check.named, tx.recipe.__name__)):
            check.given([name for name in tx.required if name not in extra])
            return pair.advance_if(flow, state, ok, **extra)

    def step(updates: Any, state: Any) -> tuple[Any, Any]:
        flow.put(updates)
        finish = advance(tx, flow, state, extra)
        return flow.updates(), finish()

    updates, after = taken(ok, step, flow.updates(), state)
    flow.put(updates)
    return lambda: after


def kept(ok: Any, new: Any, old: Any) -> Any:
    """The new one where it is ok, leaf by leaf."""
    return new if ok is True else jax.tree.map(lambda x, o: jnp.where(ok, x, o), new, old)


def taken(ok: jax.Array, step: Callable[[Any, Any], tuple[Any, Any]], updates: Any, state: Any) -> tuple[Any, Any]:
    """`step(updates, state)` where `ok`, elsewhere zeros and the state bit for bit as it was.

    The step is computed in any case, on zeros for updates that are not ok; one with branches or loops of its own is
    not, at the price of a copy of the updates.
    """
    clean = jax.tree.map(lambda g: jnp.where(ok, g, jnp.zeros_like(g)), updates)
    program, (form, _) = jax.make_jaxpr(step, return_shape=True)(clean, state)
    shapes, old = jax.tree.leaves(form), jax.tree.leaves(state)
    n = len(shapes)

    def run(g: Any, keep: list[Any]) -> tuple[list[Any], list[Any]]:
        out = evaluated(ok, program, [*jax.tree.leaves(g), *old], [None] * n + keep)
        return out[:n], [in_dtype(x, o) for x, o in zip(out[n:], old, strict=True)]

    if branching(program):
        left_out = [jnp.zeros(x.shape, x.dtype) for x in shapes], old
        u, after = jax.lax.cond(ok, lambda: run(updates, [None] * len(old)), lambda: left_out)
    else:
        u, after = run(clean, old)
        u = [jnp.where(ok, x, jnp.zeros_like(x)) for x in u]
    return jax.tree.unflatten(jax.tree.structure(form), u), jax.tree.unflatten(jax.tree.structure(state), after)


def evaluated(ok: jax.Array, program: Any, arguments: list[Any], old: list[Any]) -> list[Any]:
    """What a jaxpr computes, where an output has an old value chosen between both before anything else uses it."""
    jaxpr = program.jaxpr
    made = {id(v): v.aval for eqn in jaxpr.eqns for v in eqn.outvars}
    held: dict[int, Any] = {}
    for v, o in zip(jaxpr.outvars, old, strict=True):
        if o is not None and id(v) in made and (v.aval.shape, v.aval.dtype) == (o.shape, o.dtype):
            held.setdefault(id(v), o)
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*program.consts, *arguments], strict=True))

    def read(v: Any) -> Any:
        return v.val if isinstance(v, Literal) else values[v]

    for eqn in jaxpr.eqns:
        inputs, keep = list(map(read, eqn.invars)), [held.get(id(v)) for v in eqn.outvars]
        if eqn.primitive.name in CALLS and any(o is not None for o in keep):
            out = evaluated(ok, eqn.params["jaxpr"], inputs, keep)
        else:
            params = eqn.primitive.get_bind_params(eqn.params)
            functions, params = params if isinstance(params, tuple) else ((), params)  # a pair in older versions of JAX
            out = eqn.primitive.bind(*functions, *inputs, **params)
            out = map(chosen, [ok] * len(keep), out if eqn.primitive.multiple_results else [out], keep)
        values.update(zip(eqn.outvars, out, strict=True))
    pairs = zip(jaxpr.outvars, old, strict=True)
    return [read(v) if held.get(id(v)) is o else chosen(ok, read(v), o) for v, o in pairs]


def chosen(ok: jax.Array, new: Any, old: Any) -> Any:
    return new if old is None else jax.lax.select(ok, in_dtype(new, old), old)


def in_dtype(new: Any, old: Any) -> Any:
    return new if new.dtype == old.dtype else new.astype(old.dtype)


def branching(program: Any) -> bool:
    """Whether there is a branch or a loop in it."""
    inside = [eqn.params["jaxpr"] for eqn in program.jaxpr.eqns if eqn.primitive.name in CALLS]
    return any(eqn.primitive.name in BRANCHES for eqn in program.jaxpr.eqns) or any(map(branching, inside))
