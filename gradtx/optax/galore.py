"""Optax's GaLore: a transformation in the subspace of the longer side of each matrix."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from gradtx.core import check
from gradtx.core.collectives import require_whole_arrays
from gradtx.core.count import increment, period_of
from gradtx.core.flow import Flow
from gradtx.core.rule import Part, Rule
from gradtx.core.transformation import advance, start
from gradtx.matrices.batch import in_batches, put_wide
from gradtx.matrices.subspace import require_sides, show_inside, singular_side, turn_back, zeros_of_side, zeros_shown
from gradtx.matrices.views import View, matrices
from gradtx.optax.blocks import add_decayed_weights, scale_by_adam, scale_by_learning_rate
from gradtx.optax.borrow import Real, StepCount, optax_transformation
from gradtx.optax.muon import dimensions_of, view_of
from gradtx.optax.other_trees import SHARDED_BY_JIT
from gradtx.optax.over_any import Optimizer
from gradtx.optax.trees import OptionalMask, PlainTree
from gradtx.optax.wrappers import chain
from gradtx.values.errors import Refusal, require_whole
from gradtx.wrappers.branch import keep_unless


@optax_transformation
def scale_by_galore(
    rank: int = 128,
    update_proj_gap: StepCount = 200,
    scale: Real = 1.0,
    base_optimizer: Optimizer | None = None,
    weight_dimension_numbers: OptionalMask = None,
):
    require_whole("rank", rank)
    base: Any = scale_by_adam() if base_optimizer is None else base_optimizer
    kind = optax.contrib.GaLoreState

    def init(params: Any) -> Any:
        leaves, structure = jax.tree.flatten(check.movable(params), is_leaf=check.is_none)
        views = views_of_matrices(weight_dimension_numbers, structure.unflatten(leaves))
        shown, sides = list(leaves), list(leaves)
        for i, (p, view) in enumerate(zip(leaves, views, strict=True)):
            if view is not None:
                matrix = view.show(as_real_matrix(p))
                shown[i], sides[i] = zeros_shown(matrix, rank, True), zeros_of_side(matrix, rank, True)
            elif p is not None:
                shown[i], sides[i] = jnp.zeros_like(p), jnp.zeros((0, 0), check.promote(jnp.result_type(p)))
        inside = start(base, structure.unflatten(shown))
        return kind(jnp.zeros([], jnp.int32), inside, structure.unflatten(sides))

    def advance_inside(flow: Flow, state: Any, extra: dict[str, Any]) -> Any:
        check.require_state(state, kind)
        arrays = flow.wide()
        check.require_arrays(arrays)
        views = views_of_matrices(weight_dimension_numbers, flow.selector_tree)
        require_real([u for u, view in zip(flow.leaves, views, strict=True) if view])
        pairs = enumerate(zip(arrays, views, strict=True))
        shown: Any = {i: view.show(x) for i, (x, view) in pairs if view and x is not None}
        places = [i for i in shown if i not in flow.frozen]
        require_whole_arrays([shown[i] for i in places], "a matrix is needed whole: " + SHARDED_BY_JIT)
        column = flow.match(state.projector, "the state's projector")
        require_sides(column, shown, places, flow, lambda u: zeros_of_side(u, rank, True))
        held = [column[i].astype(shown[i].dtype) for i in places]
        rows = [(jax.lax.stop_gradient(shown[i]), side) for i, side in zip(places, held, strict=True)]

        def renew() -> list[Any]:
            return in_batches(first_vectors, None, rows, like=lambda g, side: side)

        sides = keep_unless(state.count % period_of(update_proj_gap) == 0, renew, held)
        inside = flow.fork()
        inside.params, inside.weights = None, [None] * len(arrays)  # it sees no parameters, as in Optax
        inside.set({i: zeros_shown(x, rank, True) for i, x in shown.items()})
        inside.set({i: show_inside(shown[i], side, True) for i, side in zip(places, sides, strict=True)})
        after = advance(base, inside, state.base_optimizer_state, extra, "base_optimizer")
        out = inside.wide()
        for i, side in zip(places, sides, strict=True):
            u = turn_back(out[i], side, shown[i], True)
            out[i] = views[i].turn_back(jnp.asarray(scale).astype(u.dtype) * u, arrays[i])
            column[i] = side.astype(column[i].dtype)
        put_wide(flow, out)
        return kind(increment(jnp.asarray(state.count)), inside.settle(after), flow.structure.unflatten(column))

    parts = {"base_optimizer": Part(base, ("base_optimizer_state",))}
    return Rule(init, advance_inside, parts=parts, counts=(("count",),))


def first_vectors(common: None, g: jax.Array, before: jax.Array) -> jax.Array:
    """The first singular vectors of the longer side with the signs that the factorization, in float32, gives them. So
    Optax takes them; what is held in the subspace is equal where a batch is factorized one matrix by one, as on CPUs.
    """
    return singular_side(g.astype(jnp.float32), before.shape[1], True).astype(before.dtype)


def as_real_matrix(x: Any) -> jax.Array:
    require_real([x])
    return jnp.asarray(x, check.promote(jnp.result_type(x)))


def require_real(arrays: list[Any]) -> None:
    for x in arrays:
        if x is not None and jnp.iscomplexobj(x):
            remedy = "leave complex arrays to another one, as partition does, or use gradtx.galore"
            got = f"{jnp.result_type(x)}{list(jnp.shape(x))}"
            raise Refusal(TypeError, f"Optax's projection is of real matrices, got {got}; {remedy}")


def views_of_matrices(numbers: Any, tree: Any) -> list[View | None]:
    """How each array of a tree, None among them, is a matrix; None for what is not projected."""
    leaves = jax.tree.leaves(tree, is_leaf=check.is_none)
    if numbers is None:
        return [matrices() if x is not None and jnp.ndim(x) == 2 else None for x in leaves]
    rows = dimensions_of(numbers, tree)
    if isinstance(numbers, PlainTree) and hasattr(numbers.tree, "reduction_axis"):  # one for all that have two axes
        rows = [row if x is not None and jnp.ndim(x) >= 2 else None for x, row in zip(leaves, rows, strict=True)]
    return [row and view_of(row, batch=()) for row in rows]


@optax_transformation
def galore(
    learning_rate: Real,
    rank: int = 128,
    update_proj_gap: StepCount = 200,
    scale: Real = 1.0,
    base_optimizer: Optimizer | None = None,
    weight_decay: Real = 0.0,
    mask: OptionalMask = None,
    weight_dimension_numbers: OptionalMask = None,
):
    direction = scale_by_galore(rank, update_proj_gap, scale, base_optimizer, weight_dimension_numbers)
    return chain(direction, add_decayed_weights(weight_decay, mask), scale_by_learning_rate(learning_rate))
