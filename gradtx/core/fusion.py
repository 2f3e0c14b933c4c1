"""One loop for all that a step makes of an array, where XLA can make one on a CPU.

XLA's CPU backend makes a loop for each result: Adam's moments and its update are three, which read their arrays three
times. With an option that is the user's to set it joins loops that stand side by side and read the same arrays, but
none of which one reads what the other makes. So each result is computed from what comes in alone, behind barriers of
its own: without them XLA would make the same of them before it makes loops. All multiply by a one that they share and
that XLA can't see through; with nothing in common but large arrays some of its versions join nothing. Once the loops
are one, what they compute several times is computed once.

Without the option the same barriers would make a step dearer, so they are set only where a tiny program shows that
XLA joins loops.
"""

import functools
from collections.abc import Callable, Sequence
from threading import Thread
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.core import eval_jaxpr

from gradtx.core.chunks import ELEMENTWISE, Program, all_each
from gradtx.core.locality import is_literal, programs_in

CALLS = ("jit", "pjit")  # the second is its name in older versions
MOST_READ = 19  # arrays and numbers: XLA joins no loop that reads 20, and adding to the parameters reads one more
EMPTY: frozenset[Any] = frozenset()
SMALLER = object()


@functools.cache
def joins_loops() -> bool:
    """Whether the compiler makes one loop of two results that stand apart: found out once, since its options hold for
    the process.
    """
    if jax.default_backend() != "cpu":
        return False
    verdict: list[bool] = []
    try:  # in a thread of its own, in which no trace, mesh or guard of the caller's is in force
        thread = Thread(target=lambda: verdict.append(joins_two()), daemon=True)
        thread.start()
        thread.join()
    except Exception:
        return False
    return verdict == [True]


def joins_two() -> bool:
    """Whether a program of two results reads its two arrays once. It is compiled from shapes alone, and never run."""

    def two(g: jax.Array, row: jax.Array, p: None) -> Any:
        mean = 0.9 * row + 0.1 * g
        return mean / (jnp.abs(mean) + 1.0), [mean]

    array = jax.ShapeDtypeStruct((1024,), jnp.float32)
    try:
        costs: Any = jax.jit(set_apart(two)).lower(array, array, None).compile().cost_analysis()
        costs = costs[0] if isinstance(costs, list) else costs  # a list in some versions
        return bool(costs["bytes accessed"] < 4.5 * 4 * array.size)
    except Exception:  # whatever it is, a step works without
        return False


def set_apart(run: Program) -> Program:
    """The program with each of its results computed apart from the others, where that is no dearer."""

    def run_apart(g: jax.Array, rows: list[Any], p: Any) -> Any:
        leaves, structure = jax.tree.flatten((g, rows, p))
        trace = jax.make_jaxpr(lambda leaves: run(*structure.unflatten(leaves)), return_shape=True)
        program, made = trace(leaves)
        form, shape = jax.tree.structure(made), g.shape
        large = [i for i, x in enumerate(program.jaxpr.outvars) if x.aval.shape == shape]
        if not shape or g.weak_type or len(large) < 2 or not is_splittable(program, shape):
            return form.unflatten(eval_jaxpr(program.jaxpr, program.consts, *leaves))

        @jax.jit
        def first(*leaves: jax.Array) -> Any:
            found: list[Any] = []
            return evaluate(program, leaves, shape, lambda make: found.append(make()) or found[-1]), found

        @jax.jit
        def again(found: list[Any], *leaves: jax.Array) -> Any:
            known = iter(found)
            return evaluate(program, leaves, shape, lambda make: next(known))

        results, small = first(*leaves)
        one = jax.lax.optimization_barrier(jnp.ones([], g.dtype))
        for i in large:
            leaves = put_behind_barrier(leaves)
            results[i] = again(small, leaves[0] * one, *leaves[1:])[i]
        return form.unflatten(results)

    return run_apart


def is_splittable(program: Any, shape: tuple[int, ...]) -> bool:
    """Whether results of a program that have this shape may be computed several times: each step makes element for
    element, or something smaller, such as a norm, which is computed once. That has to be of one array alone, as it
    comes in: what is made of several is better kept than made again for a norm and once more behind it.
    """
    taken = [frozenset([i]) if x.aval.shape == shape else EMPTY for i, x in enumerate(program.jaxpr.invars)]
    numbers = read_by_each(program, shape, list(program.jaxpr.invars))
    return trace_origins(program, taken, shape) is not None and len(numbers) + sum(map(bool, taken)) <= MOST_READ


def trace_origins(program: Any, taken: list[frozenset[Any]], shape: tuple[int, ...]) -> list[frozenset[Any]] | None:
    """For each result the arrays of this shape that it is made of, and `SMALLER` where it is made of something smaller
    that is made of one; None where the program can't be split.
    """
    if any(map(jnp.ndim, program.consts)):
        return None
    known = dict(zip(program.jaxpr.invars, taken, strict=True))

    def origins(x: Any) -> frozenset[Any]:
        return EMPTY if is_literal(x) else known.get(x, EMPTY)

    for step in program.jaxpr.eqns:
        own, n = EMPTY.union(*map(origins, step.invars)), len(step.outvars)
        same = [x.aval.shape == shape for x in step.outvars]
        made: list[frozenset[Any]] | None = [own] * n
        if not any(same):
            reads = [x for x in step.invars if not is_literal(x) and x.aval.shape == shape]
            if reads:
                made = [frozenset([SMALLER])] * n if len(own) < 2 else None
        elif step.primitive.name in CALLS:
            made = trace_origins(step.params["jaxpr"], list(map(origins, step.invars)), shape)
        elif not all(same) or step.primitive.name not in ELEMENTWISE:
            made = None
        elif not all(all_each(inside, shape) for inside in programs_in(step)):
            made = None
        if made is None:
            return None
        known.update(zip(step.outvars, made, strict=True))
    return list(map(origins, program.jaxpr.outvars))


def read_by_each(program: Any, shape: tuple[int, ...], given: list[Any]) -> set[Any]:
    """The numbers, and what else is smaller, that steps making arrays of this shape read."""
    read: set[Any] = set()
    known = dict(zip(program.jaxpr.invars, given, strict=True))
    for step in program.jaxpr.eqns:
        if any(x.aval.shape == shape for x in step.outvars):
            own = [(str(x.val), x.aval.dtype) if is_literal(x) else known.get(x, x) for x in step.invars]
            if step.primitive.name in CALLS:
                read |= read_by_each(step.params["jaxpr"], shape, own)
            else:
                read |= {name for name, x in zip(own, step.invars, strict=True) if x.aval.shape != shape}
    return read


class Steps(NamedTuple):
    """Some steps of a program, in the form in which JAX evaluates one."""

    constvars: list[Any]
    invars: list[Any]
    outvars: list[Any]
    eqns: list[Any]


def evaluate(program: Any, given: Sequence[Any], shape: tuple[int, ...], find: Callable[..., Any]) -> list[Any]:
    """The results of a program; `find(make)` is asked for what a step makes that is not of this shape."""
    known = dict(zip(program.jaxpr.invars, given, strict=True))
    known |= dict(zip(program.jaxpr.constvars, program.consts, strict=True))

    def values(variables: Sequence[Any]) -> list[Any]:
        return [x.val if is_literal(x) else known[x] for x in variables]

    for step in program.jaxpr.eqns:
        taken = list(dict.fromkeys(x for x in step.invars if not is_literal(x)))
        make = functools.partial(eval_jaxpr, Steps([], taken, step.outvars, [step]), [], *values(taken))
        if all(x.aval.shape != shape for x in step.outvars):
            made = find(make)
        elif step.primitive.name in CALLS:
            made = evaluate(step.params["jaxpr"], values(step.invars), shape, find)
        else:
            made = make()
        known.update(zip(step.outvars, made, strict=True))
    return values(program.jaxpr.outvars)


def put_behind_barrier(leaves: list[Any]) -> list[Any]:
    """The same arrays, as others in the eyes of the compiler; numbers stay what all share."""
    places = [i for i, x in enumerate(leaves) if jnp.ndim(x)]
    after = list(leaves)
    for i, x in zip(places, jax.lax.optimization_barrier([leaves[i] for i in places]), strict=True):
        after[i] = x
    return after
