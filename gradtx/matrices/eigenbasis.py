"""Any elementwise rule in the eigenbasis of the averages of G Gᵀ and Gᵀ G: SOAP is Adam there."""

from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import GetAttrKey, tree_flatten_with_path

from gradtx.core import check
from gradtx.core.count import Count, increment, period_of
from gradtx.core.factories import transformation
from gradtx.core.flow import Flow
from gradtx.core.loss import FUNCTIONS
from gradtx.core.placement import in_device_memory, in_memory_of
from gradtx.core.quantity import Slow
from gradtx.core.rule import Part, Rule
from gradtx.core.transformation import Updates, require_no, start
from gradtx.core.tree import narrow, widen
from gradtx.core.walk import require_no_writing
from gradtx.matrices.bases import (
    OfSides,
    average_in,
    gather_sides,
    make_first_bases,
    renew_bases,
    rotate,
    shapes_of_sides,
    zero_behind,
    zeros_for_side,
)
from gradtx.matrices.batch import matrices_in, put_wide, require_matrices
from gradtx.values.annotations import Check, Decay, Steps
from gradtx.values.errors import Refusal, require_whole
from gradtx.values.printing import excerpt
from gradtx.wrappers.branch import advance_where, choose


class InEigenbasisState(NamedTuple):
    """The state of `in_eigenbasis`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.in_eigenbasis(gradtx.scale_by_adam(), decay=0.5)
    >>> _, state = tx.update(jnp.diag(jnp.array([2.0, 4.0])), tx.init(jnp.zeros((2, 2))))
    >>> jnp.diag(state.left), jnp.abs(state.left_basis[:, 0]), int(state.inner_state.count)
    (Array([2., 8.], dtype=float32), Array([0., 1.], dtype=float32), 0)
    """

    count: Count  # with the first update, which makes the bases alone
    left: Slow  # the average of G Gᵀ for each matrix; None for an axis that keeps the identity
    right: Slow  # that of Gᵀ G
    left_basis: Updates  # their eigenvectors as columns, the largest eigenvalue first
    right_basis: Updates
    inner_state: Any  # of the turned updates


def as_names(name: str, value: Any) -> tuple[str, ...]:
    if type(value) is not tuple or not all(isinstance(x, str) for x in value):
        raise Refusal(TypeError, f"{name} must be a tuple of names of fields, such as ('mu',), got {excerpt(value)}")
    return value


@transformation
def in_eigenbasis(
    tx: optax.GradientTransformation,
    decay: Decay = 0.95,
    every: Steps = 10,
    max_dim: int = 10000,
    linear: Annotated[tuple[str, ...], Check(as_names)] = ("mu", "trace", "ema"),
):
    r"""The transformation in the eigenbasis of a matrix's gradients, $Q_L\,T(Q_L^T\,G\,Q_R)\,Q_R^T$, where the columns
    of $Q_L$ and $Q_R$ are near to the eigenvectors of $L \leftarrow \beta L + (1 - \beta)\,G G^T$ and
    $R \leftarrow \beta R + (1 - \beta)\,G^T G$.

    An elementwise rule, such as `scale_by_adam`, depends on the basis, and there it does best: SOAP is Adam in it,
    `in_eigenbasis(scale_by_adam(0.95, 0.95, eps_hat=True))`. The first update makes the bases alone, by a
    decomposition of $L$ and $R$: zeros come out, and $T$ is not run. Later ones go through $T$ first, then into $L$ and
    $R$. At every $k$-th of these the columns are put in the order of $\operatorname{diag}(Q^T L Q)$, the largest first,
    and one power step renews them, $Q \leftarrow \operatorname{qr}(L Q)$. What the state of $T$ has of a matrix's shape
    is then permuted with them, as second moments are; the fields `linear`, which are averages of $T$'s input, are
    turned into the new basis. The signs of columns, which are arbitrary, don't matter to a $T$ that is odd in each
    element; where the gradients so far leave several directions free, as the first ones do in a long and narrow matrix,
    their basis is arbitrary too.

    **Arguments:** `tx` $T$, elementwise, an Optax transformation too; it sees the parameters as $Q_L^T W Q_R$, so that
    a decay in it is that of $W$. `decay` $\beta \in [0, 1)$; `every` $k \ge 1$, under a schedule rounded up;
    `max_dim`, the longest axis that has a basis: a longer one, and one of length 1, keeps the identity. `linear`, names
    of fields, wherever in the state of $T$ they stand. Schedules in $T$ count its own updates, one less than all.

    **State:** `count`, `left` $L$, `right` $R$, `left_basis` $Q_L$, `right_basis` $Q_R$, that is
    $2 (n_{in}^2 + n_{out}^2)$ numbers per matrix, and the state of $T$. An axis without a basis has None. Those of a
    complex matrix are of its real and its imaginary part, which are two matrices. A step copies none of this, but for
    the $k$-th one. No gradient goes through the averages and the bases, which are statistics.

    **Raises:** `TypeError` for a `tx` that takes a function of the parameters or their gradient, which know them as
    they are, `ValueError` for one that writes parameters; (`init`) `ValueError` for an array of less than two
    dimensions.

    **Source:** Vyas et al., SOAP (2024), algorithm 3, and its author's code.

    >>> import gradtx as gx, jax.numpy as jnp
    >>> tx = gx.in_eigenbasis(gx.scale_by_sign(), every=1)
    >>> g = jnp.array([[3.0, 0.0], [0.0, 0.5]])
    >>> state = tx.init(g)
    >>> for _ in range(2):
    ...     updates, state = tx.update(g, state)
    ...     print(updates.round(3) + 0.0)
    [[0. 0.]
     [0. 0.]]
    [[1. 0.]
     [0. 1.]]
    """
    require_whole("max_dim", max_dim)
    remedy = "which knows the parameters as they are; put it outside of in_eigenbasis"
    require_no(FUNCTIONS | {"grad"}, tx, remedy)
    require_no_writing(tx, "in_eigenbasis")

    def init(params: Any) -> InEigenbasisState:
        own = check.movable(params)
        require_matrices(jax.tree.leaves(own, is_leaf=check.is_none), own, "params")
        leaves, structure = jax.tree.flatten(own)
        wide = [widen(jnp.asarray(p)) for p in leaves]

        def zeros(side: int) -> Any:
            return structure.unflatten([zeros_for_side(p, side, max_dim) for p in wide])

        count, inner_state = jnp.zeros([], jnp.int32), start(tx, params)
        return InEigenbasisState(count, zeros(0), zeros(1), zeros(0), zeros(1), inner_state)

    def advance_turned(flow: Flow, state: Any, ok: Any, extra: dict[str, Any]) -> InEigenbasisState:
        check.require_state(state, InEigenbasisState)
        arrays, places = matrices_in(flow)
        columns = [flow.match(x, f"the state's {name}") for name, x in zip(state._fields[1:5], state[1:5], strict=True)]
        require_bases(flow, [(i, arrays[i].shape) for i in places], columns, max_dim)
        spots = [(i, side) for i in places for side in (0, 1) if columns[side][i] is not None]
        moments = [average_in(columns[side][i], arrays[i], side, decay, ok) for i, side in spots]
        first = state.count == 0
        held = make_first_bases(first & ok, moments, [columns[2 + side][i] for i, side in spots])
        bases = gather_sides(spots, held, places)

        inner, shown = run_inside(tx, flow, state, ~first & ok, extra, {i: arrays[i] for i in places}, bases)
        flow.set({i: None for i in places if shown[i] is None})
        out = {i: rotate(widen(shown[i]), bases[i], back=True) for i in places if shown[i] is not None}

        leaves, structure = jax.tree.flatten(inner)
        names = names_of_columns(inner, flow.structure, {i: flow.leaves[i].shape for i, _ in spots if i in out})
        touched = [(j, *own) for j, own in enumerate(names) if own is not None]
        for j, name, i in touched:
            require_both_parts(flow, i, name, leaves[j])
        fields = [(in_device_memory(leaves[j]), i, name in linear) for j, name, i in touched]
        due = ~first & (state.count % period_of(every) == 0) & ok
        new, found = renew_bases(due, moments, held, spots, bases, fields, zero_behind(list(out.values())))
        for (j, _, _), x in zip(touched, found, strict=True):
            leaves[j] = in_memory_of(x, leaves[j])
        for (i, side), s, q in zip(spots, moments, new, strict=True):
            columns[side][i], columns[2 + side][i] = s, q

        put_wide(flow, [out.get(i, x) for i, x in enumerate(arrays)])
        left, right, left_basis, right_basis = [flow.structure.unflatten(column) for column in columns]
        count, inner_state = choose(ok, increment(state.count), state.count), structure.unflatten(leaves)
        return InEigenbasisState(count, left, right, left_basis, right_basis, inner_state)

    return Rule(
        init,
        advance=lambda flow, state, extra: advance_turned(flow, state, True, extra),
        parts={"tx": Part(tx, ("inner_state",))},
        counts=(("count",),),
        advance_if=advance_turned,
    )


def require_bases(flow: Flow, shapes: list[Any], columns: list[list[Any]], max_dim: int) -> None:
    """Refuse a state that was made for other shapes than those of the updates."""
    for i, shape in shapes:
        for place, column in enumerate(columns):
            expected, got = shapes_of_sides(shape, max_dim)[place % 2], getattr(column[i], "shape", None)
            if got != expected:
                name = InEigenbasisState._fields[1 + place]
                where, remedy = f"updates{check.path_to(flow.tree, i)}", "call init with these parameters"
                problem = f"{where} does not fit the state, whose {name} has shape {got} there, expected {expected}"
                raise Refusal(ValueError, f"{problem}; {remedy}")


def require_both_parts(flow: Flow, i: int, name: str, field: jax.Array) -> None:
    """Refuse a field that has one number for both parts of a complex one, which have bases of their own."""
    if jnp.iscomplexobj(flow.leaves[i]) and not jnp.iscomplexobj(field):
        problem = f"updates{check.path_to(flow.tree, i)} is complex, and {name} of the state inside is real there"
        remedy = "take a rule whose state is complex, such as scale_by_adam, or another for the array"
        raise Refusal(ValueError, f"{problem}; {remedy}")


def run_inside(
    tx: Any, flow: Flow, state: Any, ok: Any, extra: dict[str, Any], arrays: dict[int, Any], bases: dict[int, OfSides]
) -> tuple[Any, list[Any]]:
    """Its next state and what it makes of the turned updates; zeros where there are no bases yet."""

    def show_inside(x: jax.Array, i: int, dtype: Any) -> jax.Array:
        return narrow(rotate(x, bases[i]), check.promote(dtype))

    own = flow.fork()
    own.set({i: show_inside(x, i, flow.leaves[i].dtype) for i, x in arrays.items()})
    if flow.params is not None:  # what is not read costs nothing
        weights = {i: jnp.asarray(flow.weights[i]) for i in arrays}
        shown = {i: show_inside(widen(p), i, p.dtype) for i, p in weights.items()}
        own.weights = [shown.get(i, p) for i, p in enumerate(flow.weights)]
        own.params = own.structure.unflatten(own.weights)
    after = advance_where(ok, tx, own, state.inner_state, extra, "tx")
    out = own.run()
    return own.settle(after), out


def names_of_columns(state: Any, structure: Any, shapes: dict[int, Any], name: str = "") -> list[Any]:
    """For each leaf of a state the name of the field that it is in and which array it belongs to, if it is of its
    shape and in a tree like that of all arrays; else None.
    """
    try:
        rows = structure.flatten_up_to(state)
    except ValueError:
        rows = [None]
    if all(x is None or isinstance(x, jax.Array) for x in rows) and any(x is not None for x in rows):
        named = [(x, (name, i)) for i, x in enumerate(rows) if x is not None]
        return [own if shapes.get(own[1]) == x.shape else None for x, own in named]
    inside, _ = tree_flatten_with_path(state, is_leaf=lambda x: x is not state)
    if len(inside) == 1 and inside[0][1] is state:
        return [None]
    found: list[Any] = []
    for (key, *_), part in inside:
        if part is not None:
            found += names_of_columns(part, structure, shapes, key.name if isinstance(key, GetAttrKey) else name)
    return found
