"""What a function makes of one device's part of an array, where it should be the array that counts: found in its
program, since a formula may be anybody's.
"""

from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import jax
from jax.core import eval_jaxpr

from gradtx.core.collectives import AXES, REMEDY, Axes, axes_of_any, axes_of_type, join_names
from gradtx.values.errors import Refusal

REDUCTIONS = {
    **dict.fromkeys(("reduce_sum", "cumsum", "cumlogsumexp", "reduce_window_sum", "scatter-add"), "sums"),
    **dict.fromkeys(("reduce_prod", "cumprod", "dot_general", "conv_general_dilated", "scatter-mul"), "products"),
    **dict.fromkeys(("reduce_max", "reduce_min", "argmax", "argmin", "cummax", "cummin", "top_k"), "extremes"),
    **dict.fromkeys(("reduce_window_max", "reduce_window_min", "scatter-max", "scatter-min"), "extremes"),
    **dict.fromkeys(("reduce", "reduce_window", "reduce_and", "reduce_or", "reduce_xor"), "what all elements decide"),
    **dict.fromkeys(("sort", "fft", "scan"), "what all elements decide"),
    **dict.fromkeys(("eigh", "eig", "svd", "qr", "geqrf", "lu", "cholesky", "schur"), "a factorization"),
    "triangular_solve": "a factorization",
}
COLLECTIVES = ("psum", "pmax", "pmin", "all_gather", "all_reduce", "reduce_scatter")  # with what JAX appends to them

looking: ContextVar[bool] = ContextVar("looking", default=False)  # at what a function around it makes


def run_in_parts(function: Callable[..., Any], axes: Axes | None, *args: Any) -> Any:
    """What a function makes of arrays that may be in parts along these axes.

    **Raises:** `ValueError` where that depends on a reduction of one device's part.
    """
    with AXES(axes):
        leaves, structure = jax.tree.flatten(args)
        if axes == () or looking.get() or not all(isinstance(x, jax.Array) for x in leaves):
            return function(*args)
        seen = axes_of_any(leaves)
        over = seen if axes is None else seen & frozenset(axes)
        if not over:
            return function(*args)
        trace = jax.make_jaxpr(lambda leaves: function(*structure.unflatten(leaves)), return_shape=True)
        token = looking.set(True)
        try:
            program, made = trace(leaves)
        finally:
            looking.reset(token)
        name = first_of(trace_reductions(program.jaxpr, [None] * len(program.jaxpr.invars), over))
        if name:
            what = f"it takes {REDUCTIONS[name]} on each device alone of an array that differs along {join_names(over)}"
            own = "gradtx's own and gradtx.total take all parts; across(tx, ()) is for what each device has to itself"
            more = "over an axis of its own it has to add one by one, as Python's sum does"
            raise Refusal(ValueError, f"{what}; {own if axes else REMEDY}; {more}")
        return jax.tree.unflatten(jax.tree.structure(made), eval_jaxpr(program.jaxpr, program.consts, *leaves))


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
        if name.startswith(COLLECTIVES) and differs(step.invars, over) <= reach(step):
            made = [None] * n
        elif name in REDUCTIONS and reduces(step, over):
            made = [name] * n
        for inside in programs_in(step):
            if len(inside.invars) == len(before) and len(inside.outvars) == n:  # a function that is called
                made = [x or y for x, y in zip(made, trace_reductions(inside, before, over), strict=True)]
            else:  # a loop or a branch: any result may depend on any other
                start = [first_of(before)] * len(inside.invars)
                made = [first_of([*made, *trace_reductions(inside, start, over)])] * n
        known.update(zip(step.outvars, made, strict=True))
    return ask(program.outvars)


def reduces(step: Any, over: frozenset[str]) -> bool:
    """Whether a step of a program makes less of a part."""
    if step.primitive.name == "scan":  # elements that come one after the other are gathered in what it carries
        behind = step.params["num_consts"] + step.params["num_carry"]
        return step.params["num_carry"] > 0 and bool(differs(step.invars[behind:], over))
    if step.primitive.name == "dot_general" and not step.params["dimension_numbers"][0][0]:
        return False  # an outer product
    lengths = [step.invars[0].aval.shape[axis] for axis in step.params.get("axes", ())]
    return bool(differs(step.invars, over)) and (not lengths or max(lengths) > 1)


def differs(variables: list[Any], over: frozenset[str]) -> frozenset[str]:
    """The axes among these over which any of them differs."""
    return frozenset().union(*[axes_of_type(x.aval) for x in variables]) & over


def reach(step: Any) -> frozenset[str]:
    """The axes that a collective is over."""
    names = step.params.get("axes", step.params.get("axis_name", ()))
    return frozenset(names if isinstance(names, tuple | list) else (names,))


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
