"""From the formula for one array, or for one scalar, to a transformation of a tree."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from gradtx.core import check
from gradtx.core.count import increment
from gradtx.core.flow import Fields, Flow, Rule, taking
from gradtx.core.tree import narrowed, widened
from gradtx.values.errors import Refusal


def per_array(
    state_type: type[Any],
    init: Callable[..., Fields],
    update: Callable[..., tuple[Any, Fields]],
    shared: dict[str, tuple[Any, Callable[[Any], Any]]] | None = None,
) -> Rule:
    """The pair whose rule for one array is `init(p) -> fields`, `update(g, state, p) -> (update, fields)`.

    `state_type` is a NamedTuple of the rule's quantities; in the formula each field is one array, in the state a tree.
    A field named `count` is kept here: the number of updates done so far, the same for every array. Other scalars that
    all arrays share are given as `shared=dict(name=(start, following))`, where `following(state)` is the next one. A
    field that `init` leaves out is None. A formula of two arguments, without `p`, does not need the parameters.

    The formula computes in at least float32, and never meets None, an integer or a complex number: a complex array
    comes as its real and imaginary part stacked in front. Inside of `jit` it is traced once per shape and dtype, for
    however many arrays, and together with the formulas around it in a chain.

    >>> import gradtx, jax.numpy as jnp
    >>> from typing import Any, NamedTuple
    >>> class DifferenceState(NamedTuple):
    ...     last: Any
    >>> @gradtx.transformation
    ... def difference():
    ...     return gradtx.per_array(
    ...         DifferenceState,
    ...         init=lambda p: dict(last=jnp.zeros_like(p)),
    ...         update=lambda g, state: (g - state.last, dict(last=g)),
    ...     )
    >>> tx = difference()
    >>> _, state = tx.update({"w": jnp.array([3.0])}, tx.init({"w": jnp.zeros(1)}))
    >>> tx.update({"w": jnp.array([5.0])}, state)[0]
    {'w': Array([2.], dtype=float32)}
    """
    scalars = dict(shared or {})
    if "count" in state_type._fields:
        scalars["count"] = 0, lambda state: increment(state.count)
    needs_params = arity(update) > 2

    def expected(g: jax.Array) -> Fields:
        return jax.eval_shape(functools.partial(fresh, init), g)

    def tree_init(params: Any) -> Any:
        leaves, structure = jax.tree.flatten(params)
        rows = [fresh(init, jnp.asarray(p)) for p in leaves]
        names = rows[0] if rows else fresh(init, jnp.zeros([]))  # an empty tree has the fields too
        if not names.keys() <= set(state_type._fields):
            has = f"{state_type.__name__} has {list(state_type._fields)}"
            raise Refusal(ValueError, f"init returned the fields {sorted(names)}, but {has}")
        fields: dict[str, Any] = {name: structure.unflatten([row[name] for row in rows]) for name in names}
        for name, (start, _) in scalars.items():
            fields[name] = jnp.array(start, jnp.int32 if name == "count" else jnp.result_type(float))
        return state_type(**dict.fromkeys(state_type._fields) | fields)

    def advance(flow: Flow, state: Any) -> Callable[[], Any]:
        check.require_state(state, state_type)
        if needs_params:
            check.require_params(flow.params)
        columns = {
            name: check.match(flow.tree, field, f"the state's {name}")
            for name, field in state._asdict().items()
            if name not in scalars and field is not None
        }
        common = dict.fromkeys(state_type._fields) | {name: getattr(state, name) for name in scalars}
        states: list[Any] = [None] * len(flow.leaves)
        for i, g in enumerate(flow.leaves):
            if g is not None:
                row = {name: column[i] for name, column in columns.items()}
                check.require_fields(row, g.shape, functools.partial(expected, g), flow.tree, i)
                states[i] = state_type(**common | row)
        after = flow.then(update, states, list(columns), needs_params)
        structure = flow.structure

        def finish() -> Any:
            def column(name: str, before: list[Any]) -> Any:
                return structure.unflatten(
                    [b if row is None else row[name] for b, row in zip(before, after, strict=True)]
                )

            fields = {name: column(name, before) for name, before in columns.items()}
            for name, (_, following) in scalars.items():
                fields[name] = jnp.asarray(following(state), getattr(state, name).dtype)
            return state._replace(**fields)

        return finish

    return Rule(tree_init, advance)


def stateless(formula: Callable[..., Any]) -> Rule:
    """The pair without a state whose rule for one array is `formula(g)` or `formula(g, p)`.

    >>> import gradtx
    >>> @gradtx.transformation
    ... def add_to_gradient(amount: gradtx.Scalar):
    ...     return gradtx.stateless(lambda g, p: g + amount * p)
    >>> tx = add_to_gradient(0.5)
    >>> tx.update(1.0, tx.init(4.0), 4.0)[0]
    Array(3., dtype=float32)
    """
    if arity(formula) > 1:
        return per_array(optax.EmptyState, lambda p: {}, lambda g, state, p: (formula(g, p), {}))
    return per_array(optax.EmptyState, lambda p: {}, lambda g, state: (formula(g), {}))


def scaling(init: Callable[[Any], Any], factor: Callable[..., tuple[Any, Any]], whole: str = "") -> Rule:
    """The pair that multiplies all updates by one scalar: `factor(state)` or `factor(state, updates)` returns it and
    the new state. What a rule needs to know of the whole tree becomes that scalar, never a second copy of the tree.
    What `factor` names after a `*` are extra arguments of `update`. A rule that is wrong where only some arrays of a
    tree are in sight says in `whole` what to use there.

    >>> import gradtx, jax.numpy as jnp
    >>> @gradtx.transformation
    ... def by_value():
    ...     return gradtx.scaling(lambda params: (), lambda state, *, value: (1.0 / value, state))
    >>> tx = by_value()
    >>> tx.update(jnp.array([3.0]), tx.init(None), value=2.0)[0]
    Array([1.5], dtype=float32)
    """
    needs_updates = arity(factor) > 1

    def advance(flow: Flow, state: Any, **extra: Any) -> Callable[[], Any]:
        if whole and flow.partial:
            raise Refusal(ValueError, f"only some arrays of the tree are in sight here; {whole}")
        scalar, after = factor(state, flow.updates(), **extra) if needs_updates else factor(state, **extra)
        flow.then(multiply, [scalar] * len(flow.leaves), names=[], needs_params=False)
        return lambda: after

    keywords = [p for p in inspect.signature(factor).parameters.values() if p.kind is p.KEYWORD_ONLY]
    return Rule(init, taking(keywords, advance))


def multiply(g: jax.Array, factor: jax.Array) -> tuple[jax.Array, Fields]:
    return factor * g, {}


def arity(function: Callable[..., Any]) -> int:
    """How many arguments a function needs."""
    parameters = inspect.signature(function).parameters.values()
    return sum(p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)


def init_empty(params: Any) -> optax.EmptyState:
    return optax.EmptyState()


def fresh(init: Callable[..., Fields], p: jax.Array) -> Fields:
    """The fields for one parameter, strongly typed, in buffers of their own so that both can be donated."""
    wide = widened(p)
    fields: Fields = {}
    taken = {id(p), id(wide)}
    for name, x in init(wide).items():
        x = jnp.asarray(x)
        like_p = jnp.iscomplexobj(p) and x.shape == wide.shape
        x = narrowed(x, p.dtype) if like_p else x.astype(x.dtype)
        fields[name] = jnp.copy(x) if id(x) in taken else x
        taken.add(id(fields[name]))
    return fields
