"""What rules share whose step for each array turns on numbers of the whole tree: sums that reach over all arrays."""

import math
from typing import Annotated, Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from gradtx.core import check
from gradtx.core.collectives import fold
from gradtx.core.flow import Flow, keep_promises
from gradtx.core.reals import reals
from gradtx.core.rule import Route, Rule
from gradtx.core.tree import root, widen
from gradtx.selectors import choose_some, two_routes
from gradtx.values.annotations import Number
from gradtx.values.ranges import Range

GrowthRate = Annotated[Number, Range(1, math.inf, "[]")]  # by which an estimate may be multiplied in a step


def zero_number() -> Array:
    return jnp.zeros([], jnp.result_type(float))


def measure_way(flow: Flow, init_params: Any) -> tuple[list[Array], list[Array], list[Array]]:
    """The gradients, the first parameters and the way from these, as real arrays."""
    check.require_params(flow.params)
    updates = flow.updates()
    start = reals(init_params, updates, "the state's init_params")
    now = reals(flow.params, updates, "params")
    way = [p - x.astype(p.dtype) for p, x in zip(now, start, strict=True)]
    return reals(updates, updates, "updates"), start, way


def avoid_zero(x: Array) -> Array:
    """What to divide by: 1 for 0, where what comes out is zero by another factor."""
    return jnp.where(x == 0.0, 1.0, x)


def sum_absolutes(arrays: list[Array]) -> Array:
    """The sum of the sizes of all elements of all arrays, of which some may be in parts."""
    return fold(lambda number, x: number + jnp.sum(jnp.abs(x)), arrays, jnp.zeros([], jnp.float32))


def average_first(averages: Rule, flow: Flow, state: Any) -> tuple[Any, list[Array], list[Array]]:
    """The state with its arrays behind an update, and the gradients and the parameters as real arrays."""
    check.require_params(flow.params)
    promised = averages.advance(flow, state, {})
    updates = flow.updates()
    after = keep_promises(promised)
    return after, reals(updates, updates, "updates"), reals(flow.params, updates, "params")


def arrays_of(flow: Flow, tree: Any, name: str) -> list[Array]:
    """The arrays of a state for those that have an update, of whatever shape, in at least float32."""
    return [widen(x) for x, u in zip(flow.match(tree, name), flow.leaves, strict=True) if u is not None]


def hold_number(name: str) -> Any:
    """For `shared`: what follows on a number that is worked out for the whole tree."""
    return lambda state: getattr(state, name)


# ---- steps ----


class AdamStep(NamedTuple):
    """An array's averages, and numbers of the whole tree."""

    mu: Any
    nu: Any
    rate: Array
    beside: Array  # the root
    weight: Array  # of the terms in nu
    decay: Array


def step_by_adam(g: Array, row: AdamStep, p: Array) -> tuple[Array, dict[str, Any]]:
    rate, beside, weight, decay = (x.astype(g.dtype) for x in row[2:])
    return -(rate * row.mu / (root(row.nu / weight) + beside) + decay * p), {}


class MomentumStep(NamedTuple):
    """An array's average, and numbers of the whole tree."""

    mu: Any
    rate: Array
    decay: Array


def step_by_momentum(g: Array, row: MomentumStep, p: Array) -> tuple[Array, dict[str, Any]]:
    rate, decay = (x.astype(g.dtype) for x in row[1:])
    return -(rate * row.mu + decay * p), {}


def spread_row(flow: Flow, row: Any, mask: Any = None) -> list[Any]:
    """A row for each array of one in which trees stand for arrays; numbers are the same for all, but for the decay of
    those that a mask leaves out.
    """
    trees = {name: x for name, x in row._asdict().items() if name in ("mu", "nu")}
    columns = {name: flow.match(x, f"the state's {name}") for name, x in trees.items()}
    decays = [True] * len(flow.leaves) if mask is None else mask.chosen(flow.selector_tree)
    without = row._replace(decay=jnp.zeros_like(row.decay))
    own = enumerate([row if chosen else without for chosen in decays])
    return [x._replace(**{name: column[i] for name, column in columns.items()}) for i, x in own]


def decay_some(rule: Rule, mask: Any) -> Rule:
    """The rule with what is known of the arrays that decay."""
    if mask is None:
        return rule

    def init(params: Any) -> Any:
        choose_some(mask, params, "mask")
        return rule.init(params)

    def routes(tree: Any) -> list[Route]:
        return two_routes(mask.chosen(tree), tree, "decayed", "as it is")

    return Rule(init, rule.advance, counts=rule.counts, routes=routes, everywhere=True)
