"""One loop for all that a step makes of an array, where XLA can make one on a CPU.

XLA's CPU backend makes a loop for each result: Adam's moments and its update are three, which read their arrays three
times. With an option that is the user's to set it joins loops that stand side by side, but none of which one reads what
the other makes. So each result is computed from what comes in alone, behind a barrier of its own: without it XLA would
make one of what is equal before it makes loops. Once they are one loop, that is computed once there too.

What XLA gains by joining two loops it counts by what both read: by the arrays, and in newer versions by the numbers. So
each array has its numbers to itself, and multiplies by a one among them.

Without the option the same barriers would make a step dearer, so they are set only where a tiny program shows that
XLA joins loops.
"""

import functools
from collections.abc import Callable, Sequence
from threading import Thread
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import eval_jaxpr

from gradtx.core import check
from gradtx.core.chunks import ELEMENTWISE, Program, all_each
from gradtx.core.collectives import varying_axes
from gradtx.core.locality import is_literal, programs_in

CALLS = ("jit", "pjit")  # the second is its name in older versions
MOST_READ = 16  # XLA joins no loop that reads 20, and the numbers, a one, the parameters and a learning rate are more
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
    """Whether a program of two results for each of two arrays reads what it is given once. It is compiled from shapes
    alone, and never run.
    """

    def two(g: jax.Array, rows: list[Any], p: Any) -> Any:
        mean = 0.9 * rows[0] + 0.1 * g
        return mean / (jnp.abs(mean) + 1.0), [mean]

    def both(*arrays: jax.Array) -> Any:
        return [set_apart(two)(g, [row], None) for g, row in (arrays[:2], arrays[2:])]

    array = jax.ShapeDtypeStruct((1024,), jnp.float32)
    try:
        costs: Any = jax.jit(both).lower(*[array] * 4).compile().cost_analysis()
        costs = costs[0] if isinstance(costs, list) else costs  # a list in some versions
        return bool(costs["bytes accessed"] < 2 * 4.5 * 4 * array.size)  # apart, three arrays for each of the results
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
        alike = len({program.jaxpr.outvars[i].aval.dtype for i in large}) == 1  # else they are not joined
        if not shape or g.weak_type or len(large) < 2 or not alike or not is_splittable(program, shape):
            return form.unflatten(eval_jaxpr(program.jaxpr, program.consts, *leaves))
        read: list[Any] = []  # what is smaller than the array
        order: list[int] = []  # the places in it, as they are read

        def note(x: Any) -> Any:
            known = [i for i, y in enumerate(read) if y is x or is_same_constant(x, y)]
            order.append(known[0] if known else len(read))
            read.extend([] if known else [x])
            return x

        results = evaluate_program(program, leaves, shape, note)
        numbers = NumbersInLine([jnp.asarray(x) for x in read], g)
        if len(numbers.others) + sum(x.shape == shape for x in leaves) > MOST_READ:
            return form.unflatten(results)

        @jax.jit
        def again(line: jax.Array, others: list[jax.Array], g: jax.Array, *leaves: jax.Array) -> Any:
            found, places = numbers.in_their_places(line, others), iter(order)
            one = line[0].astype(g.dtype)
            return evaluate_program(program, [g * one, *leaves], shape, lambda x: found[next(places)], small=False)

        line = numbers.in_line()
        for i in large:
            line, *leaves = put_behind_barrier([line, *leaves])
            results[i] = again(line, numbers.others, *leaves)[i]
        return form.unflatten(results)

    return run_apart


def is_same_constant(x: Any, y: Any) -> bool:
    return isinstance(x, np.ndarray) and isinstance(y, np.ndarray) and x.dtype == y.dtype and bool(x == y)


class NumbersInLine:
    """Numbers that all results of one array read, in one line: loops that read too much are not joined, and those of
    several arrays would be, for the numbers that they share, before those of one are.
    """

    def __init__(self, read: list[Any], g: jax.Array):
        self.read = read
        self.dtype = check.promote(g.dtype)
        fit = [not x.ndim and x.dtype in (self.dtype, bool) and varying_axes(x) <= varying_axes(g) for x in read]
        self.places = [i for i, x in enumerate(fit) if x]
        self.others = [x for x, fits in zip(read, fit, strict=True) if not fits]
        self.beside = g

    def in_line(self) -> jax.Array:
        """A one, and the numbers, from a barrier beside the array, so that for another array they are others."""
        own = [jnp.ones([], self.dtype), *[self.read[i].astype(self.dtype) for i in self.places]]
        return jnp.stack(jax.lax.optimization_barrier((own, self.beside))[0])

    def in_their_places(self, line: jax.Array, others: list[jax.Array]) -> list[jax.Array]:
        """What is read: those numbers that are in the line taken from it, and the others."""
        in_line, rest, after = iter(line[1:]), iter(others), list[jax.Array]()
        for i, x in enumerate(self.read):
            own = next(in_line if i in self.places else rest)
            after.append(own != 0.0 if x.dtype == bool and own.dtype != bool else own)
        return after


def is_splittable(program: Any, shape: tuple[int, ...]) -> bool:
    """Whether results of a program that have this shape may be computed several times: each step makes element for
    element, or something smaller, such as a norm, which is computed once. That has to be of one array alone, as it
    comes in: what is made of several is better kept than made again for a norm and once more behind it.
    """
    taken = [frozenset([i]) if x.aval.shape == shape else EMPTY for i, x in enumerate(program.jaxpr.invars)]
    return trace_origins(program, taken, shape) is not None


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
        elif not all(same) or step.primitive.name not in ELEMENTWISE or not all_inside_each(step, shape):
            made = None
        if made is None:
            return None
        known.update(zip(step.outvars, made, strict=True))
    return list(map(origins, program.jaxpr.outvars))


def evaluate_program(
    program: Any, given: Sequence[Any], shape: tuple[int, ...], read: Callable[[Any], Any], small: bool = True
) -> list[Any]:
    """The results of a program. What is of another shape goes through `read` where a step makes an array of this shape
    of it; without `small` it is not computed.
    """
    known = dict(zip(program.jaxpr.invars, given, strict=True))
    known |= dict(zip(program.jaxpr.constvars, program.consts, strict=True))

    def value(x: Any) -> Any:
        return x.val if is_literal(x) else known[x]

    for step in program.jaxpr.eqns:
        values = list(map(value, step.invars))
        if all(x.aval.shape != shape for x in step.outvars):
            made = evaluate_step(step, values) if small else [None] * len(step.outvars)
        elif step.primitive.name in CALLS:
            made = evaluate_program(step.params["jaxpr"], values, shape, read, small)
        else:
            exact = step.primitive.name == "pow"  # the compiler has to see that it is a square root
            kept = [x.aval.shape == shape or (exact and is_literal(x)) for x in step.invars]
            of_type = [
                np.asarray(x.val, x.aval.dtype) if is_literal(x) else v
                for x, v in zip(step.invars, values, strict=True)
            ]
            taken = zip(values, of_type, kept, strict=True)
            made = evaluate_step(step, [x if keep else read(typed) for x, typed, keep in taken])
        known.update(zip(step.outvars, made, strict=True))
    return list(map(value, program.jaxpr.outvars))


def all_inside_each(step: Any, shape: tuple[int, ...]) -> bool:
    return all(all_each(inside, shape) for inside in programs_in(step))


class Operand:
    """Stands in a program for what a step reads."""

    def __init__(self, aval: Any):
        self.aval = aval


class Steps(NamedTuple):
    """Some steps of a program, in the form in which JAX evaluates one."""

    constvars: list[Any]
    invars: list[Any]
    outvars: list[Any]
    eqns: list[Any]

    @property
    def all_invars(self) -> list[Any]:  # as JAX 0.12 names them
        return self.invars


def evaluate_step(step: Any, values: list[Any]) -> list[Any]:
    pairs = zip(step.invars, values, strict=True)
    operands = [x if is_literal(x) and isinstance(v, np.ndarray) else Operand(x.aval) for x, v in pairs]
    taken = [(x, v) for x, v in zip(operands, values, strict=True) if isinstance(x, Operand)]
    steps: Any = Steps([], [x for x, _ in taken], step.outvars, [step.replace(invars=operands)])
    return eval_jaxpr(steps, [], *[v for _, v in taken])


def put_behind_barrier(leaves: list[Any]) -> list[Any]:
    """The same arrays, as others in the eyes of the compiler; numbers stay what all share."""
    places = [i for i, x in enumerate(leaves) if jnp.ndim(x)]
    after = list(leaves)
    for i, x in zip(places, jax.lax.optimization_barrier([leaves[i] for i in places]), strict=True):
        after[i] = x
    return after
