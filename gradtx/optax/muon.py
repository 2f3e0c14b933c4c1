"""Optax's Muon: momentum whose two terms are each corrected, then `orthogonalize`."""

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

from gradtx.core.check import is_none
from gradtx.core.factories import transformation
from gradtx.core.flow import Flow
from gradtx.core.lift import multiply, per_array
from gradtx.core.rule import Rule
from gradtx.core.transformation import advance
from gradtx.matrices.coefficients import Triples, jiacheng_coefficients, jordan_coefficients
from gradtx.matrices.defaults import MATRICES
from gradtx.matrices.orthogonalize import orthogonalize
from gradtx.matrices.views import View, matrices, over
from gradtx.optax.blocks import add_decayed_weights, scale_by_learning_rate, start_empty
from gradtx.optax.borrow import Fixed, Leave, Real, held_in, leave_unless, optax_transformation
from gradtx.optax.optimizers import adamw
from gradtx.optax.states import NOTHING
from gradtx.optax.trees import OptionalMask, PlainTree
from gradtx.optax.wrappers import chain, partition
from gradtx.transforms.momentum import debias
from gradtx.values.annotations import Check

STANDARD_TRIPLE = jordan_coefficients(1)[0]
PRESETS = {"standard": STANDARD_TRIPLE, "dion": jiacheng_coefficients()}
Preconditioning = Literal["frobenius", "spectral", "aol", "schatten"]


def as_coefficients(name: str, value: Any) -> Any:
    """Numbers in tuples, which are compared as numbers are; what else there is, as it came."""
    if isinstance(value, str | Tracer) or any(isinstance(x, Tracer) for x in jax.tree.leaves(value)):
        return value
    numbers = np.asarray(value).tolist()
    return tuple([tuple(x) if isinstance(x, list) else x for x in numbers]) if isinstance(numbers, list) else numbers


def triples_of(coefficients: Any, steps: Any) -> Triples:
    """The coefficients of each step, where gradtx has such."""
    leave_unless(ns_coeffs=isinstance(coefficients, tuple), ns_steps=isinstance(steps, int) and steps > 0)
    rows: Any = (coefficients,) * steps if np.ndim(coefficients) == 1 else coefficients
    if np.shape(rows) != (len(rows), 3) or len(rows) > steps:
        raise Leave("ns_coeffs")
    return tuple([(float(a), float(b), float(c)) for a, b, c in rows])


# ---- how arrays are matrices ----


def is_dimensions(x: Any) -> bool:
    """Whether it is one of Optax's `MuonDimensionNumbers`, or stands for none."""
    return x is None or isinstance(x, optax.MaskedNode) or hasattr(x, "reduction_axis")


def dimensions_of(numbers: Any, tree: Any) -> list[Any]:
    """For each leaf of a tree, None among them, the dimension numbers that it has; None for none."""
    made = numbers.tree if isinstance(numbers, PlainTree) else numbers(tree)
    rows, structure = jax.tree.flatten(made, is_leaf=is_dimensions)
    pairs = zip(rows, structure.flatten_up_to(tree), strict=True)
    found = [x for x, below in pairs for _ in jax.tree.leaves(below, is_leaf=is_none)]
    return [x if hasattr(x, "reduction_axis") else None for x in found]


def view_of(numbers: Any, batch: tuple[()] | None = None) -> View:
    """The view of an array as stacked matrices, or as one."""
    reduce, output = [(x,) if isinstance(x, int) else tuple(x) for x in numbers]
    return matrices(reduce=reduce, output=output, batch=batch)


def views_in(flow: Flow, numbers: Any) -> list[View | None]:
    """The view of each array of a flow."""
    if numbers is None:
        return [MATRICES] * len(flow.leaves)
    return [x and view_of(x) for x in dimensions_of(numbers, flow.selector_tree)]


def as_pairs_of_views(flow: Flow, views: list[View | None]) -> Any:
    """What `over` takes: one view, or pairs of the arrays and their view."""
    inside = {view for view, u in zip(views, flow.leaves, strict=True) if u is not None}
    if len(inside) == 1 and None not in inside:
        return inside.pop()
    each = [view for view in dict.fromkeys(views) if view in inside and view is not None]
    return tuple([(flow.structure.unflatten([own == view for own in views]), view) for view in each])


# ---- the names of Optax ----


@optax_transformation
def scale_by_muon(
    ns_coeffs: Annotated[Any, Check(as_coefficients)] = STANDARD_TRIPLE,
    ns_steps: Fixed = 5,
    beta: Real = 0.95,
    eps: Real = 1e-8,
    mu_dtype: Any = None,
    *,
    nesterov: bool = True,
    adaptive: bool = False,
    preconditioning: Preconditioning = "frobenius",
    weight_dimension_numbers: OptionalMask = None,
):
    leave_unless(preconditioning=preconditioning == "frobenius", beta=not callable(beta), eps=not callable(eps))
    triples = triples_of(ns_coeffs, ns_steps)
    turned = orthogonalize(triples, scale=None, eps=eps)
    average = held_in(average_for_muon(beta, ns_coeffs, nesterov=nesterov), mu=mu_dtype)

    def advance_turned(flow: Flow, state: Any, extra: dict[str, Any]) -> Any:
        after = advance(average, flow, state, extra)
        before = flow.wide() if adaptive else []
        views = as_pairs_of_views(flow, views_in(flow, weight_dimension_numbers))
        if any(u is not None for u in flow.leaves):
            advance(over(views, turned), flow, NOTHING, extra)
        if adaptive:  # of a whole array, however many matrices it is
            flow.then(lambda g, u: (jnp.sum(u * g) * g, {}), before)
        return after

    return Rule(average.init, advance_turned, counts=(("count",),))


@transformation
def average_for_muon(beta: Real, coefficients: Any, *, nesterov: bool):
    """The average that is turned, in a state that holds the coefficients too, as Optax's does."""

    def init(p: jax.Array) -> dict[str, Any]:
        return dict(mu=jnp.zeros_like(p))

    def update(g: jax.Array, state: Any) -> Any:
        t = state.count + 1.0
        mu = beta * state.mu + (1.0 - beta) * g
        if nesterov:
            return beta * debias(mu, beta, t + 1.0) + (1.0 - beta) * debias(g, beta, t), dict(mu=mu)
        return debias(mu, beta, t), dict(mu=mu)

    return per_array(optax.contrib.MuonState, init, update, shared=dict(ns_coeffs=(coefficients, keep_coefficients)))


def keep_coefficients(state: Any) -> Any:
    return state.ns_coeffs  # as they came: those of the arguments are used


@optax_transformation
def scale_by_shape(weight_dimension_numbers: OptionalMask = None, consistent_rms: Real | None = None):
    def factor_of(u: Any, view: View | None) -> Any:
        if u is None or view is None:
            return None
        axes = view.roles(u.shape)
        inputs, outputs = (math.prod([u.shape[i] for i in own]) for own in (axes.reduce, axes.output))
        if consistent_rms is None:
            return jnp.asarray(max(1.0, outputs / max(inputs, 1)) ** 0.5)
        return jnp.asarray(consistent_rms * max(inputs, outputs) ** 0.5)

    def advance_scaled(flow: Flow, state: Any, extra: dict[str, Any]) -> Any:
        pairs = zip(flow.leaves, views_in(flow, weight_dimension_numbers), strict=True)
        flow.then(multiply, [factor_of(u, view) for u, view in pairs])
        return state

    return Rule(start_empty, advance_scaled)


@optax_transformation
def muon(
    learning_rate: Real,
    ns_coeffs: Annotated[Any, Check(as_coefficients)] = STANDARD_TRIPLE,
    ns_steps: Fixed = 5,
    beta: Real = 0.95,
    eps: Real = 1e-8,
    weight_decay: Real = 0.0,
    weight_decay_mask: OptionalMask = None,
    mu_dtype: Any = None,
    *,
    nesterov: bool = True,
    adaptive: bool = False,
    preconditioning: Preconditioning = "frobenius",
    adam_b1: Real = 0.9,
    adam_b2: Real = 0.999,
    adam_eps_root: Real = 0.0,
    adam_weight_decay: Real = 0.0,
    adam_learning_rate: Real | None = None,
    muon_weight_dimension_numbers: OptionalMask = None,
    consistent_rms: Real | None = None,
):
    coefficients = PRESETS.get(ns_coeffs, ns_coeffs) if isinstance(ns_coeffs, str) else ns_coeffs
    leave_unless(preconditioning=preconditioning == "frobenius")
    triples_of(coefficients, ns_steps)  # what Optax alone can make is left to it as a whole
    numbers = muon_weight_dimension_numbers
    direction = scale_by_muon(
        coefficients,
        ns_steps,
        beta,
        eps,
        mu_dtype,
        nesterov=nesterov,
        adaptive=adaptive,
        weight_dimension_numbers=numbers,
    )
    own = chain(
        direction,
        scale_by_shape(numbers, consistent_rms),
        add_decayed_weights(weight_decay, weight_decay_mask),
        scale_by_learning_rate(learning_rate),
    )
    rate = learning_rate if adam_learning_rate is None else adam_learning_rate
    others = adamw(rate, adam_b1, adam_b2, eps, adam_eps_root, mu_dtype, adam_weight_decay, nesterov=nesterov)
    return partition({"muon": own, "adam": others}, labels_for(numbers))


def labels_for(numbers: Any) -> Callable[[Any], Any]:
    """Which of the two groups each array of a tree belongs to."""

    def labels(params: Any) -> Any:
        leaves, structure = jax.tree.flatten(params, is_leaf=is_none)
        if numbers is None:
            chosen = [x is not None and jnp.ndim(x) == 2 for x in leaves]
        else:
            chosen = [x is not None for x in dimensions_of(numbers, params)]
        return structure.unflatten(["muon" if one else "adam" for one in chosen])

    return labels
