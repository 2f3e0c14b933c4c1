"""Any elementwise transformation in the subspace of a gradient's largest directions: GaLore and its like."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gradtx.core import check
from gradtx.core.collectives import manual_axes
from gradtx.core.count import Count, increment, period_of
from gradtx.core.factories import transformation
from gradtx.core.flow import Flow
from gradtx.core.loss import FUNCTIONS
from gradtx.core.placement import lay_like, run_on_automatic_axes
from gradtx.core.rule import Part, Rule
from gradtx.core.transformation import Updates, advance, require_no, start
from gradtx.core.tree import narrow, widen
from gradtx.core.walk import require_no_writing
from gradtx.matrices.batch import in_batches, matrices_in, put_wide, require_matrices
from gradtx.matrices.decompositions import singular
from gradtx.matrices.sides import are_rows_projected, zeros_with_columns, zeros_with_rows
from gradtx.values.annotations import Steps
from gradtx.values.errors import Refusal, require_whole
from gradtx.wrappers.branch import keep_unless


class InSubspaceState(NamedTuple):
    """The state of `in_subspace`.

    >>> import gradtx, jax.numpy as jnp
    >>> state = gradtx.in_subspace(gradtx.scale_by_adam(), 2).init(jnp.zeros((4, 8)))
    >>> state.projection.shape, state.inner_state.mu.shape
    ((4, 2), (2, 8))
    """

    count: Count
    projection: Updates  # of each matrix, its side by r
    inner_state: Any  # for the matrices as they are projected


@transformation
def in_subspace(tx: optax.GradientTransformation, rank: int, every: Steps = 200, *, longer: bool = False):
    r"""The transformation in a subspace, $P\,T(P^T G)$, where $P$ are the first $r$ singular vectors of a gradient $G$:
    of that of the first update, and from then on of every $k$-th. Where columns are the shorter side, it is
    $T(G P)\,P^T$.

    What `tx` holds is then as small as the rank, and stays as it is when $P$ changes. A vector and its opposite serve
    equally well; the one is taken that is nearer to its predecessor. Between two changes nothing is factorized. Where
    both sides of a matrix are equally long its rows are projected. An array is a stack of matrices of $n_{in}$ rows
    and $n_{out}$ columns in its last two dimensions; `over` shows others so.

    **Arguments:** `tx`, an Optax transformation too, which sees parameters projected as well, zeros at first; `rank`
    $r \ge 1$, at most the smaller size of a matrix, which is taken where it is larger; `every` $k \ge 1$; with `longer`
    the longer side is projected, which makes what `tx` holds smaller still and $P$ larger.

    **State:** `count`, `projection` $P$, $r$ numbers per row of the shorter side, and that of `tx` for $r$ by the
    longer side.

    **Raises:** `TypeError` and `ValueError` for a rank that is no whole number from 1 on, `TypeError` for a `tx` that
    takes a function of the parameters, `ValueError` for one that writes parameters; (`init`) `ValueError` for an array
    of less than two dimensions. Its derivative takes $P$ as given.

    **Source:** Zhao et al., GaLore (2024), algorithm 2. As in the authors' code; Optax's projects the longer side.

    >>> import gradtx as gx, jax.numpy as jnp
    >>> tx = gx.in_subspace(gx.scale_by_sign(), 1)
    >>> u = jnp.array([[3.0, 0.0, 3.0], [0.0, -0.5, 0.0]])
    >>> tx.update(u, tx.init(u))[0].round(3) + 0.0
    Array([[1., 0., 1.],
           [0., 0., 0.]], dtype=float32)
    """
    require_whole("rank", rank)
    require_no(FUNCTIONS, tx, "a function of the parameters as they are; put it outside of in_subspace")
    require_no_writing(tx, "in_subspace")

    def init(params: Any) -> InSubspaceState:
        params = check.movable(params)
        arrays = jax.tree.map(lambda p: widen(jnp.asarray(p)), params)
        require_matrices(jax.tree.leaves(arrays, is_leaf=check.is_none), arrays, "params")
        shown = jax.tree.map(lambda p: zeros_shown(p, rank, longer), arrays)
        sides = jax.tree.map(lambda p: zeros_of_side(p, rank, longer), arrays)
        return InSubspaceState(jnp.zeros([], jnp.int32), sides, start(tx, shown))

    def advance_inside(flow: Flow, state: Any, extra: dict[str, Any]) -> InSubspaceState:
        check.require_state(state, InSubspaceState)
        arrays, places = matrices_in(flow)
        column = flow.match(state.projection, "the state's projection")
        require_sides(column, arrays, places, flow, lambda u: zeros_of_side(u, rank, longer))
        grads = [arrays[i] for i in places]
        held = [column[i].astype(arrays[i].dtype) for i in places]
        # One that is all zeros has never been made, for want of a gradient that says something.
        unmade = [jnp.any(jnp.all(side == 0, axis=(-2, -1))) for side in held if side.size]
        due = functools.reduce(jnp.logical_or, unmade, state.count % period_of(every) == 0)
        sides = choose_sides(due, grads, held, longer)

        inside = flow.fork()
        inside.set({i: zeros_shown(u, rank, longer) for i, u in enumerate(arrays) if isinstance(u, jax.Array)})
        inside.set({i: show_inside(arrays[i], side, longer) for i, side in zip(places, sides, strict=True)})
        if flow.params is not None:
            weights = {i: widen(jnp.asarray(flow.weights[i])).astype(arrays[i].dtype) for i in places}
            shown = {i: show_inside(weights[i], side, longer) for i, side in zip(places, sides, strict=True)}
            inside.weights = [shown.get(i, p) for i, p in enumerate(flow.weights)]
            for i in flow.frozen:
                inside.weights[i] = inside.leaves[i]
            inside.params = inside.structure.unflatten(inside.weights)
        after = advance(tx, inside, state.inner_state, extra, "tx")
        out = inside.wide()
        for i, side in zip(places, sides, strict=True):
            arrays[i] = None if out[i] is None else turn_back(out[i], side, arrays[i], longer)
            column[i] = narrow(side, column[i].dtype)
        flow.set({i: None for i in places if arrays[i] is None})
        put_wide(flow, arrays)
        return InSubspaceState(increment(state.count), flow.structure.unflatten(column), inside.settle(after))

    return Rule(init, advance_inside, parts={"tx": Part(tx, ("inner_state",))}, counts=(("count",),))


def require_sides(
    column: list[Any], arrays: list[Any], places: list[int], flow: Flow, fresh: Callable[..., Any]
) -> None:
    """Refuse projections that were made for matrices of other shapes."""
    for i in places:
        expected = jax.eval_shape(fresh, arrays[i]).shape
        if getattr(column[i], "shape", None) != expected:
            where, got = f"updates{check.path_to(flow.tree, i)}", getattr(column[i], "shape", None)
            problem = f"{where} does not fit the state, whose projection has shape {got} there, expected {expected}"
            raise Refusal(ValueError, f"{problem}; call init with the parameters that are updated")


# ---- which side, and its directions ----


def zeros_of_side(x: jax.Array, rank: int, longer: bool) -> jax.Array:
    """A projection of a matrix, side by rank."""
    r = min(rank, *x.shape[-2:])
    return zeros_with_rows(x, r) if are_rows_projected(x, longer) else zeros_with_rows(x.mT, r)


def zeros_shown(x: jax.Array, rank: int, longer: bool) -> jax.Array:
    """What becomes of a matrix."""
    r = min(rank, *x.shape[-2:])
    return zeros_with_columns(x, r) if are_rows_projected(x, longer) else zeros_with_rows(x, r)


def choose_sides(due: jax.Array, grads: list[Any], held: list[Any], longer: bool) -> list[Any]:
    """The directions of these gradients if they are due, else those that are held."""
    if manual_axes():
        held = [lay_like(side, g) for side, g in zip(held, grads, strict=True)]
    # They are given: a derivative would divide by the differences of singular values.
    rows = [(jax.lax.stop_gradient(g), side) for g, side in zip(grads, held, strict=True)]

    def find(common: None, g: jax.Array, before: jax.Array) -> jax.Array:
        return first_directions(g, before, longer)

    return keep_unless(due, lambda: in_batches(find, None, rows, like=lambda g, side: side), held)


def first_directions(g: jax.Array, before: jax.Array, longer: bool) -> jax.Array:
    """The first singular vectors of a side of a matrix, each on the side of its predecessor; those before where the
    matrix is zero and so has none.
    """
    side = singular_side(g, before.shape[1], longer)
    side = jnp.where(jnp.sum(side * before, axis=0)[None, :] < 0, -side, side)
    return jnp.where(jnp.any(g != 0), side, before)


def singular_side(g: jax.Array, rank: int, longer: bool) -> jax.Array:
    """The first singular vectors of a side of a matrix, with the signs that the factorization gives them."""
    u, _, vt = singular(g)
    return (u if are_rows_projected(g, longer) else vt.T)[:, :rank]


# ---- into the subspace and back: each array by itself, since a batch would copy them all ----


def show_inside(x: jax.Array, side: jax.Array, longer: bool) -> jax.Array:
    on_rows = are_rows_projected(x, longer)
    shown = zeros_shown(x, side.shape[-1], longer)
    return run_on_automatic_axes(lambda x, side: side.mT @ x if on_rows else x @ side, (x, side), shown)


def turn_back(u: jax.Array, side: jax.Array, like: jax.Array, longer: bool) -> jax.Array:
    on_rows = are_rows_projected(like, longer)
    return run_on_automatic_axes(lambda u, side: side @ u if on_rows else u @ side.mT, (u, side), like)
