"""What a function makes of one device's part of an array, where it should be the array that counts: found in its
program, since a formula may be anybody's.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax

from gradtx.core.collectives import AXES, REMEDY, axes_of_type, join_names, varying_axes
from gradtx.values.errors import Refusal

REDUCTIONS = {
    **dict.fromkeys(("reduce_sum", "cumsum", "cumlogsumexp"), "sums"),
    **dict.fromkeys(("reduce_prod", "cumprod", "dot_general", "conv_general_dilated"), "products"),
    **dict.fromkeys(("reduce_max", "reduce_min", "argmax", "argmin", "cummax", "cummin", "top_k"), "extremes"),
    **dict.fromkeys(("reduce", "reduce_and", "reduce_or", "reduce_xor", "sort", "fft"), "what all elements decide"),
    **dict.fromkeys(("eigh", "eig", "svd", "qr", "geqrf", "lu", "cholesky", "schur"), "a factorization"),
}
COLLECTIVES = ("psum", "pmax", "pmin", "all_gather", "all_reduce", "reduce_scatter")  # with what JAX appends to them


def require_no_partial_result(function: Callable[..., Any], *args: Any) -> None:
    """Refuse a function of arrays in parts whose result depends on a reduction of a part."""
    axes = AXES.get()
    if axes == ():
        return
    seen = frozenset().union(*map(varying_axes, jax.tree.leaves(args)))
    over = seen if axes is None else seen & frozenset(axes)
    if not over:
        return
    program = jax.make_jaxpr(function)(*args)
    found = [name for name in trace_reductions(program.jaxpr, [None] * len(program.jaxpr.invars), over) if name]
    if found:
        what = f"it takes {REDUCTIONS[found[0]]} on each device alone of an array that differs along {join_names(over)}"
        own = (
            "gradtx's own and gradtx.total take all parts; across(tx, ()) is for arrays that each device has to itself"
        )
        raise Refusal(ValueError, f"{what}; {own if axes else REMEDY}")


def trace_reductions(program: Any, taken: list[str | None], over: frozenset[str]) -> list[str | None]:
    """For each result of a program the reduction of a part that it depends on, if it does; `taken` says it of what the
    program takes.
    """
    known: dict[Any, str | None] = dict(zip(program.invars, taken, strict=True))

    def ask(variables: list[Any]) -> list[str | None]:
        return [None if is_literal(x) else known.get(x) for x in variables]

    for step in program.eqns:
        name, n = step.primitive.name, len(step.outvars)
        before = ask(step.invars)
        made = [first_of(before)] * n
        if name.startswith(COLLECTIVES):
            made = [None] * n
        elif name in REDUCTIONS and any(axes_of_type(x.aval) & over for x in step.invars):
            made = [name] * n
        for inside in programs_in(step):
            if len(inside.invars) == len(before) and len(inside.outvars) == n:  # a function that is called
                made = trace_reductions(inside, before, over)
            else:  # a loop or a branch: any result may depend on any other
                made = [first_of([*made, *trace_reductions(inside, [first_of(before)] * len(inside.invars), over)])] * n
        known.update(zip(step.outvars, made, strict=True))
    return ask(program.outvars)


def first_of(names: list[str | None]) -> str | None:
    return next(filter(None, names), None)


def is_literal(x: Any) -> bool:
    return hasattr(x, "val")


def programs_in(step: Any) -> Iterator[Any]:
    """The programs that a step of another one runs."""
    for x in jax.tree.leaves(list(step.params.values()), is_leaf=lambda x: hasattr(x, "eqns") or hasattr(x, "jaxpr")):
        inside = getattr(x, "jaxpr", x)
        if hasattr(inside, "eqns"):
            yield inside
