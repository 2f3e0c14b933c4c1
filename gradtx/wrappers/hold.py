"""A step that may be left out, at the price of a choice between numbers and without a second copy of the state.

Updates are made of a state's new arrays. If those were chosen from or left only at the end, both would have to be kept,
new and old, until then. So each is chosen as soon as it is computed, and what follows is computed from the choice.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Literal

CALLS = {"jit", "pjit"}
BRANCHES = {"cond", "while", "scan"}  # nothing can be chosen in the midst of these


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
