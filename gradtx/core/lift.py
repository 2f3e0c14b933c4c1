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
from gradtx.core.flow import Fields, Flow
from gradtx.core.rule import Rule
from gradtx.core.tree import narrow, widen
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
    needs_params = count_arguments(update) > 2
    absent = dict.fromkeys(state_type._fields)

    def expected(g: jax.Array) -> Fields:
        return jax.eval_shape(functools.partial(init_array, init), g)

    def tree_init(params: Any) -> Any:
        leaves, structure = jax.tree.flatten(params)
        rows = [init_array(init, jnp.asarray(p)) for p in leaves]
        names = rows[0] if rows else init_array(init, jnp.zeros([]))  # an empty tree has the fields too
        if not names.keys() <= absent.keys():
            has = f"{state_type.__name__} has {list(absent)}"
            raise Refusal(ValueError, f"init returned the fields {sorted(names)}, but {has}")
        fields: dict[str, Any] = {name: structure.unflatten([row[name] for row in rows]) for name in names}
        for name, (start, _) in scalars.items():
            fields[name] = jnp.array(start, jnp.int32 if name == "count" else jnp.result_type(float))
        return state_type(**absent | fields)

    def formula(g: jax.Array, row: Any, *p: jax.Array) -> tuple[Any, Any]:
        # In the formula all numbers have one dtype, the array's: a count would not meet floats under strict promotion.
        for name in scalars:
            row = row._replace(**{name: getattr(row, name).astype(g.dtype)})
        return update(g, row, *p)

    def advance(flow: Flow, state: Any, extra: dict[str, Any]) -> Any:
        check.require_state(state, state_type)
        if needs_params:
            check.require_params(flow.params)
        fields = state._asdict()
        common = absent | {name: fields.pop(name) for name in scalars}
        columns = {name: flow.match(x, f"the state's {name}") for name, x in fields.items() if x is not None}
        leaves = flow.leaves
        check.require_fields(columns, leaves, expected, lambda: flow.tree)
        rows = [state_type(**common) if not columns else None for _ in leaves]
        for i, g in enumerate(leaves):
            if g is not None and columns:
                rows[i] = state_type(**common | {name: column[i] for name, column in columns.items()})
        results = flow.then(formula if scalars else update, rows, list(columns), needs_params)
        after = {name: jnp.asarray(following(state), common[name].dtype) for name, (_, following) in scalars.items()}
        if not columns:
            return state._replace(**after)

        def filled() -> Any:
            rest = {name: next_column(name, column, results) for name, column in columns.items()}
            return state._replace(**after, **{name: flow.structure.unflatten(x) for name, x in rest.items()})

        return flow.promise(filled)

    return Rule(tree_init, advance)


def next_column(name: str, column: list[Any], results: list[Fields | None]) -> list[Any]:
    """A field of every array behind the formula; as it was where that was not applied."""
    return [before if row is None else row[name] for before, row in zip(column, results, strict=True)]


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
    if count_arguments(formula) > 1:
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
    needs_updates = count_arguments(factor) > 1
    keywords = [p for p in inspect.signature(factor).parameters.values() if p.kind is p.KEYWORD_ONLY]
    takes = frozenset(p.name for p in keywords)

    def advance(flow: Flow, state: Any, extra: dict[str, Any]) -> Any:
        if whole and flow.partial:
            raise Refusal(ValueError, f"only some arrays of the tree are in sight here; {whole}")
        scalar, after = factor(state, flow.updates(), **extra) if needs_updates else factor(state, **extra)
        flow.then(multiply, [jnp.asarray(scalar)] * len(flow.leaves))
        return after

    return Rule(init, advance, takes, frozenset(p.name for p in keywords if p.default is p.empty))


def multiply(g: jax.Array, factor: jax.Array) -> tuple[jax.Array, Fields]:
    return factor.astype(g.dtype) * g, {}


def count_arguments(function: Callable[..., Any]) -> int:
    """How many arguments a function needs."""
    code = getattr(function, "__code__", None)
    if code is not None and not code.co_flags & VARIADIC and not hasattr(function, "__wrapped__"):
        return code.co_argcount - len(function.__defaults__ or ()) - inspect.ismethod(function)
    parameters = inspect.signature(function).parameters.values()  # which takes ten times as long
    return sum(p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)


VARIADIC = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS


def init_empty(params: Any) -> optax.EmptyState:
    return optax.EmptyState()


def init_array(init: Callable[..., Fields], p: jax.Array) -> Fields:
    """The fields for one parameter, strongly typed, in buffers of their own so that both can be donated."""
    wide = widen(p)
    is_complex = p.dtype.kind == "c"
    fields: Fields = {}
    taken = [p, wide]
    for name, x in init(wide).items():
        x = jnp.asarray(x)
        if is_complex and x.shape == wide.shape:
            x = narrow(x, p.dtype)
        elif x.weak_type:
            x = x.astype(x.dtype)
        if any(x is other for other in taken):
            x = jnp.copy(x)
        fields[name] = x
        taken.append(x)
    return fields
