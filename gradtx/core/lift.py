"""From the formula for one array to a transformation of a tree."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from gradtx.core import check
from gradtx.core.transformation import Updates, increment
from gradtx.core.tree import narrowed, widened

Fields = dict[str, jax.Array]
Pair = tuple[Callable[..., Any], Callable[..., Any]]


def per_array(state_type: type[Any], init: Callable[..., Fields], update: Callable[..., tuple[Any, Fields]]) -> Pair:
    """The pair whose rule for one array is `init(p) -> fields`, `update(g, state, p) -> (update, fields)`.

    `state_type` is a NamedTuple of the rule's quantities; in the formula each field is one array, in the state a tree.
    A field named `count` is kept here: the number of updates done so far, the same for every array. A field that
    `init` leaves out is None. A formula without the argument `p` does not need the parameters.

    The formula computes in at least float32, and never meets None, an integer or a complex number: a complex array
    comes as its real and imaginary part stacked in front. It is traced once per shape, however many arrays there are.
    """
    counted = "count" in state_type._fields
    needs_params = len(inspect.signature(update).parameters) > 2
    run = lifted(update)

    def expected(g: jax.Array) -> Fields:
        return jax.eval_shape(functools.partial(fresh, init), g)

    def tree_init(params: Any) -> Any:
        leaves, structure = jax.tree.flatten(params)
        rows = [fresh(init, jnp.asarray(p)) for p in leaves]
        names = rows[0] if rows else fresh(init, jnp.zeros([]))  # an empty tree has the fields too
        fields: dict[str, Any] = {name: structure.unflatten([row[name] for row in rows]) for name in names}
        if counted:
            fields["count"] = jnp.zeros([], jnp.int32)
        return state_type(**dict.fromkeys(state_type._fields) | fields)

    def tree_update(updates: Updates, state: Any, params: Any = None) -> tuple[Updates, Any]:
        check.state_of(state, state_type)
        if needs_params and params is None:
            raise check.Refusal(ValueError, "update needs the parameters: call update(updates, state, params)")
        leaves, structure = jax.tree.flatten(updates, is_leaf=check.is_none)
        weights = structure.flatten_up_to(params) if needs_params else [None] * len(leaves)
        columns = {
            name: check.matching(updates, field, f"the state's {name}")
            for name, field in state._asdict().items()
            if name != "count" and field is not None
        }
        count = {"count": state.count} if counted else {}
        after: list[Any] = []
        for i, (g, p) in enumerate(zip(leaves, weights, strict=True)):
            row = {name: column[i] for name, column in columns.items()}
            if g is not None:
                check.fields(row, g.shape, functools.partial(expected, g), updates, i)
                one = state_type(**dict.fromkeys(state_type._fields) | count | row)
                leaves[i], row = run(g, one, None if p is None else jnp.asarray(p))
            after.append(row)
        fields: dict[str, Any] = {name: structure.unflatten([row[name] for row in after]) for name in columns}
        if counted:
            fields["count"] = increment(state.count)
        return structure.unflatten(leaves), state._replace(**fields)

    return tree_init, tree_update


def stateless(formula: Callable[..., Any]) -> Pair:
    """The pair without a state whose rule for one array is `formula(g)` or `formula(g, p)`."""
    if len(inspect.signature(formula).parameters) > 1:
        return per_array(optax.EmptyState, lambda p: {}, lambda g, state, p: (formula(g, p), {}))
    return per_array(optax.EmptyState, lambda p: {}, lambda g, state: (formula(g), {}))


def scaled(factor: Any, updates: Updates) -> Updates:
    """The updates times one scalar: how a rule of the whole tree acts on it without a second copy."""
    return jax.tree.map(lambda g: multiply(g, factor)[0], updates)


def init_empty(params: Any) -> optax.EmptyState:
    return optax.EmptyState()


def lifted(formula: Callable[..., Any]) -> Callable[..., tuple[jax.Array, Fields]]:
    """The formula between arrays as they are stored, compiled once per shape."""

    @jax.jit
    def run(g: jax.Array, state: Any, p: jax.Array | None = None) -> tuple[jax.Array, Fields]:
        wide = widened(g)
        u, fields = formula(wide, jax.tree.map(computed, state), *(() if p is None else (widened(p),)))
        if u.shape != wide.shape:
            raise check.Refusal(ValueError, f"the formula made an update of shape {u.shape} from one of {wide.shape}")
        return narrowed(u, g.dtype), {name: narrowed(x, getattr(state, name).dtype) for name, x in fields.items()}

    return run


multiply = lifted(lambda g, factor: (g * factor, {}))


def computed(x: jax.Array) -> jax.Array:
    return widened(x) if jnp.issubdtype(x.dtype, jnp.inexact) else x  # a count stays whole


def fresh(init: Callable[..., Fields], p: jax.Array) -> Fields:
    """The fields for one parameter, strongly typed, in buffers of their own so that both can be donated."""
    wide = widened(p)
    fields: Fields = {}
    taken = {id(p), id(wide)}
    for name, x in init(wide).items():
        like_p = jnp.iscomplexobj(p) and x.shape == wide.shape
        x = narrowed(x, p.dtype) if like_p else x.astype(x.dtype)
        fields[name] = jnp.copy(x) if id(x) in taken else x
        taken.add(id(fields[name]))
    return fields
