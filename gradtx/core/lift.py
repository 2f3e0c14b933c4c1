"""From the formula for one array, or for one scalar, to a transformation of a tree."""

import functools
import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any, NamedTuple, TypeGuard, TypeVar

import jax
import jax.numpy as jnp
import optax

from gradtx.core import check
from gradtx.core.count import increment
from gradtx.core.flow import Flow
from gradtx.core.measurement import require_alike
from gradtx.core.placement import lay_like
from gradtx.core.returned import require_fields_of, require_start
from gradtx.core.rule import NONE, Keys, Rule
from gradtx.core.stage import Fields, Stage
from gradtx.core.tree import narrow, widen
from gradtx.values.errors import Refusal

S = TypeVar("S", bound=NamedTuple)
Result = tuple[Any, dict[str, Any]]  # of a formula: the update, and the fields by name


def per_array(
    state_type: type[S],
    init: Callable[[jax.Array], dict[str, Any]] | Callable[[jax.Array, int], dict[str, Any]],
    update: Callable[[jax.Array, S], Result] | Callable[[jax.Array, S, jax.Array], Result],
    shared: dict[str, tuple[Any, Callable[[S], Any]]] | None = None,
) -> Rule:
    """The pair whose rule for one array is `init(p) -> fields`, `update(g, state, p) -> (update, fields)`.

    `state_type` is a NamedTuple of the rule's quantities; in the formula each field is one array, in the state a tree.
    A field named `count` is kept here: the number of updates done so far, the same for every array, a float in the
    formula. Other scalars that all arrays share are given as `shared=dict(name=(start, following))`, where
    `following(state)` is the next one. A field that `init` leaves out is None; one array in several fields becomes
    several buffers, which costs less than to make each anew. A formula of two arguments, without `p`, does not need
    the parameters.

    The formula computes in at least float32, and never meets None, an integer or a complex number: a complex array
    comes as its real and imaginary part stacked in front. Where these must not be taken for an axis, `init(p, parts)`
    is told how many axes, 0 or 1, stand in front of the array's own, and makes fields that show it to the formula.
    Inside of `jit` it is traced once per shape and dtype, for however many arrays, and together with the formulas
    around it in a chain.

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
    require_fields_of(state_type)
    return PerArray.of(state_type=state_type, init_one=init, update_one=update, shared=shared or {})


class PerArray(Rule):
    """The rule of a formula for one array."""

    state_type: type[Any]
    init_one: Callable[..., dict[str, Any]]
    update_one: Callable[..., Result]
    shared: dict[str, tuple[Any, Callable[[Any], Any]]]
    least: tuple[int, ...] = ()  # a shape of arrays that it takes

    @property
    def counts(self) -> tuple[Keys, ...]:
        return (("count",),) if "count" in self.state_type._fields else ()

    def scalars(self) -> dict[str, tuple[Any, Callable[[Any], Any]]]:
        """What all arrays share: where it starts, and what follows on a state."""
        counted = {"count": (0, next_count)} if "count" in self.state_type._fields else {}
        return self.shared | counted

    def init(self, params: Any) -> Any:
        leaves, structure = jax.tree.flatten(params)
        absent, scalars = dict.fromkeys(self.state_type._fields), self.scalars()
        has_arrays = absent.keys() > scalars.keys()
        rows = [init_array(self.init_one, p) for p in (leaves if has_arrays else leaves[:1])]
        # An empty tree has the fields too.
        names = rows[0] if rows else init_array(self.init_one, jnp.zeros(self.least))
        if not names.keys() <= absent.keys():
            has = f"{self.state_type.__name__} has {list(absent)}"
            raise Refusal(ValueError, f"init returned the fields {sorted(names)}, but {has}")
        fields: dict[str, Any] = {name: structure.unflatten([row[name] for row in rows]) for name in names}
        for name, (start, _) in scalars.items():
            fields[name] = jnp.array(start, jnp.int32 if name == "count" else jnp.result_type(float))
        return self.state_type(**absent | fields)

    def advance(self, flow: Flow, state: Any, extra: dict[str, Any]) -> Any:
        check.require_state(state, self.state_type)
        needs_params = count_arguments(self.update_one) > 2
        if needs_params:
            check.require_params(flow.params)
        scalars, fields = self.scalars(), state._asdict()
        common: dict[str, Any] = dict.fromkeys(fields) | {name: fields.pop(name) for name in scalars}
        columns = {name: flow.match(x, f"the state's {name}") for name, x in fields.items() if x is not None}
        leaves = flow.leaves
        check.require_fields(columns, leaves, self.expected, lambda: flow.tree)
        rows = [self.state_type(**common)] * len(leaves)
        if columns:
            for i, g in enumerate(leaves):
                if g is not None:
                    rows[i] = self.state_type(**common | {name: column[i] for name, column in columns.items()})
        stage = flow.stage(self.formula if scalars else self.update_one, rows, list(columns), needs_params)
        self.put_in(flow, stage)
        results = stage.results
        after = {name: jnp.asarray(following(state), common[name].dtype) for name, (_, following) in scalars.items()}
        if not columns:
            return state._replace(**after)

        def filled() -> Any:
            rest = {name: next_column(name, column, results) for name, column in columns.items()}
            return state._replace(**after, **{name: flow.structure.unflatten(x) for name, x in rest.items()})

        return flow.promise(filled)

    def put_in(self, flow: Flow, stage: Stage) -> None:
        flow.add(stage)

    def formula(self, g: jax.Array, row: Any, *p: jax.Array) -> tuple[Any, Any]:
        # In the formula all numbers have one dtype, the array's: a count would not meet floats under strict promotion.
        numbers = {name: getattr(row, name).astype(g.dtype) for name in self.scalars()}
        return self.update_one(g, row._replace(**numbers), *p)

    def expected(self, g: jax.Array) -> Fields:
        return jax.eval_shape(functools.partial(init_array, self.init_one), g)


def next_count(state: Any) -> Any:
    return increment(state.count)


def next_column(name: str, column: list[Any], results: list[Fields | None]) -> list[Any]:
    """A field of every array behind the formula; as it was where that was not applied."""
    return [before if row is None else row[name] for before, row in zip(column, results, strict=True)]


def stateless(formula: Callable[[jax.Array], Any] | Callable[[jax.Array, jax.Array], Any]) -> Rule:
    """The pair without a state whose rule for one array is `formula(g)` or `formula(g, p)`.

    >>> import gradtx
    >>> @gradtx.transformation
    ... def add_to_gradient(amount: gradtx.Scalar):
    ...     return gradtx.stateless(lambda g, p: g + amount * p)
    >>> tx = add_to_gradient(0.5)
    >>> tx.update(1.0, tx.init(4.0), 4.0)[0]
    Array(3., dtype=float32)
    """
    made: Any = formula  # a type checker can't tell which of the two it is
    if count_arguments(formula) > 1:
        return per_array(optax.EmptyState, lambda p: {}, lambda g, state, p: (made(g, p), {}))
    return per_array(optax.EmptyState, lambda p: {}, lambda g, state: (made(g), {}))


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
    takes, needs = keywords_of(factor)

    def advance(flow: Flow, state: Any, extra: dict[str, Any]) -> Any:
        if whole and flow.partial:
            raise Refusal(ValueError, f"only some arrays of the tree are in sight here; {whole}")
        updates = [flow.updates()] if count_arguments(factor) > 1 else []
        scalar, after = factor(state, *updates, **extra)
        require_alike("the factor", scalar)
        flow.then(multiply, [jnp.asarray(scalar)] * len(flow.leaves))
        return after

    return Rule(init, advance, takes=takes, needs=needs)


def multiply(g: jax.Array, factor: jax.Array) -> tuple[jax.Array, Fields]:
    return factor.astype(g.dtype) * g, {}


def count_arguments(function: Callable[..., Any]) -> int:
    """How many arguments a function needs."""
    if is_plain(function):
        return function.__code__.co_argcount - len(function.__defaults__ or ())
    parameters = inspect.signature(function).parameters.values()
    return sum(p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)


def keywords_of(function: Callable[..., Any]) -> tuple[frozenset[str], tuple[str, ...]]:
    """The arguments that a function takes by name alone, and those of them that it needs."""
    if is_plain(function) and not function.__code__.co_kwonlyargcount:
        return NONE, ()
    keywords = [p for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    return frozenset(p.name for p in keywords), tuple(p.name for p in keywords if p.default is p.empty)


def is_plain(function: Any) -> TypeGuard[FunctionType]:
    """Whether its code says what it takes: to make a signature takes ten times as long."""
    return type(function) is FunctionType and "__wrapped__" not in function.__dict__


def init_empty(params: Any) -> optax.EmptyState:
    return optax.EmptyState()


def init_array(init: Callable[..., dict[str, Any]], p: Any) -> Fields:
    """The fields for one parameter, strongly typed, in buffers of their own so that both can be donated."""
    p = p if isinstance(p, jax.Array) else jnp.asarray(p)
    wide = widen(p)
    is_complex = p.dtype.kind == "c"
    fields: Fields = {}
    taken = {id(p), id(wide)}
    fields_of_one = init(wide, int(is_complex)) if count_arguments(init) > 1 else init(wide)
    for name, x in require_start(fields_of_one).items():
        x = x if isinstance(x, jax.Array) else jnp.asarray(x)
        if is_complex and x.shape == wide.shape:
            x = narrow(x, p.dtype)
        elif x.weak_type:
            x = x.astype(x.dtype)
        own = jnp.copy(x) if id(x) in taken else x
        fields[name] = lay_like(own, p) if x.shape == p.shape else own
        taken.add(id(x))
    return fields


def copy_params(params: Any) -> Any:
    """The parameters in buffers of their own and in at least float32, for a state; None for what can't move."""
    return jax.tree.map(lambda p: init_array(lambda wide: dict(own=wide), p)["own"], check.movable(params))
