"""A rate of its own for each group, each array, each unit: a tree of factors by which updates are multiplied."""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

from gradtx.core import check
from gradtx.core.count import ScheduledState, in_force, increment, value_at
from gradtx.core.factories import composition
from gradtx.core.flow import Flow
from gradtx.core.lift import multiply
from gradtx.core.paths import list_some, paths_and_leaves, places_of_rows
from gradtx.core.rule import Route, Rule
from gradtx.core.stage import Fields
from gradtx.values.annotations import Check
from gradtx.values.argument import as_number
from gradtx.values.errors import Refusal
from gradtx.values.ranges import Range, require_schedule
from gradtx.values.value import Value, text_of

FINITE = Range()
NO_STATE = optax.EmptyState()


def as_factors(name: str, value: Any) -> Any:
    """One factor as it is; a tree of factors as pairs of a path and a factor."""
    if is_pairs(value):
        found = list(value)
    else:
        found = paths_and_leaves(value, is_leaf=lambda x: x is None or isinstance(x, Value))
        if len(found) == 1 and found[0][1] is value:
            return as_factor(name, value)
    places = [path for path, x in found if x is not None]
    if twice := sorted({path for path in places if places.count(path) > 1}):
        raise Refusal(ValueError, f"{name} has several places that are written {list_some(twice)}")
    return tuple([(path, as_factor(f"{name} at {path or 'all'}", x)) for path, x in found if x is not None])


def is_pairs(value: Any) -> bool:
    return type(value) is tuple and all(type(x) is tuple and len(x) == 2 and type(x[0]) is str for x in value)


def as_factor(name: str, value: Any) -> Any:
    """A number, an array or a schedule, in a form that nothing can change later."""
    if callable(value):
        if not isinstance(value, Value):
            require_schedule(name, value)
        return value
    if not np.ndim(value):
        return as_number(name, value, FINITE)
    dtype = jnp.result_type(value)
    if not (jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer)):
        raise Refusal(TypeError, f"{name} must be an array of real numbers, got {dtype}{list(np.shape(value))}")
    if isinstance(value, Tracer):
        return value
    value = np.array(value)
    value.flags.writeable = False
    if not np.isfinite(value).all():
        raise Refusal(ValueError, f"{name} must be finite, got {dtype}{list(value.shape)} with NaN or infinity in it")
    return value


Factors = Annotated[Any, FINITE, Check(as_factors)]


@composition  # for its schedules as they are: each is one of several numbers
def scale_by_tree(factors: Factors):
    r"""Every array's updates times a factor of its own, $c_i\,g_i$.

    Behind an optimizer it is a rate for each array: `chain(adam(1e-3), scale_by_tree(factors))` has the rate
    $10^{-3} c_i$. A decay of the weights inside the optimizer is scaled too; to leave it alone, put the factors
    between `scale_by_adam()` and `add_decayed_weights`.

    **Arguments:** `factors` $c$, a tree of numbers like the parameters or one of its prefixes, as in
    `{"encoder": 0.1, "head": 1.0}`. A factor may be an array that broadcasts against its parameter, such as one of
    shape `(layers, 1, 1)` for layers that are stacked in one array, a schedule, or `controlled(…)`. Numbers and arrays
    are leaves of the value: `vmap` and `grad` go through them, and other ones compile nothing. What holds optimizers
    but no arrays in them, as `nnx.Optimizer`, takes `optax.GradientTransformation(*tx)`.

    The value holds the tree as pairs of a path and a factor, and such pairs are taken too; a number's path is
    `factors[0][1]` and so on.

    **State:** none; with schedules `ScheduledState`, whose `hyperparams` are by the paths in the tree.

    **Raises:** `TypeError` and `ValueError` for what is no finite number; (`init`) `ValueError` for an array without
    factor, for a factor without array, and for one that does not broadcast.

    **Source:** a tree of factors in the place of torch's parameter groups; muP's factors are such trees (Yang et al.,
    Tensor Programs V, 2022, Table 8).

    >>> import gradtx as gx, jax.numpy as jnp
    >>> tx = gx.scale_by_tree({"encoder": 0.5, "head": jnp.array([1.0, 2.0])})
    >>> tx
    scale_by_tree(factors=(('encoder', 0.5), ('head', float32[2])))
    >>> u = {"encoder": {"w": jnp.ones(2)}, "head": jnp.ones(2)}
    >>> tx.update(u, tx.init(u))[0]
    {'encoder': {'w': Array([0.5, 0.5], dtype=float32)}, 'head': Array([1., 2.], dtype=float32)}
    """
    pairs: tuple[tuple[str, Any], ...] = factors if type(factors) is tuple else (("", factors),)
    places, by_place = tuple(path for path, _ in pairs), dict(pairs)
    names = {path: path or "all" for path, x in pairs if callable(x)}  # of the numbers that the state holds

    def place_of_each(tree: Any) -> list[str | None]:
        rows = paths_and_leaves(tree)
        found = places_of_rows(rows, places, "the tree of factors")
        for (path, x), own in zip(rows, found, strict=True):
            shape, whole = () if own is None or own in names else np.shape(by_place[own]), np.shape(x)
            if not broadcasts(shape, whole):
                problem = f"the factor at {own or 'all'} is of shape {shape}"
                raise Refusal(ValueError, f"{problem}, which does not broadcast to {whole}, that of {path or 'all'}")
        return found

    def init(params: Any) -> Any:
        place_of_each(params)
        if not names:
            return NO_STATE
        count = jnp.zeros([], jnp.int32)
        return ScheduledState(count, {name: value_at(by_place[path], count) for path, name in names.items()}, NO_STATE)

    def advance(flow: Flow, state: Any, extra: dict[str, Any]) -> Any:
        now, after = by_place, state
        check.require_state(state, ScheduledState if names else optax.EmptyState)
        if names:
            check.require_names(state.hyperparams, list(names.values()))
            moved = {n: in_force(by_place[path], state.count, state.hyperparams[n]) for path, n in names.items()}
            now, after = by_place | {path: moved[n] for path, n in names.items()}, state._replace(hyperparams=moved)
            after = after._replace(count=increment(state.count))
        multiply_each(flow, now, place_of_each(flow.selector_tree))
        return after

    def routes(tree: Any) -> list[Route]:
        found = place_of_each(tree)
        return [Route([x == place for x in found], f"times {text_of(by_place[place])}") for place in places]

    prefix = "factors" if type(factors) is not tuple else ""
    paths = {path: prefix or f"factors[{i}][1]" for i, (path, _) in enumerate(pairs)}
    numbers = {paths[path]: ("hyperparams", name) for path, name in names.items()}
    return Rule(init, advance, routes=routes, everywhere=True, numbers=numbers)


def broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    return len(shape) <= len(to) and all(n in (1, m) for n, m in zip(shape[::-1], to[::-1], strict=False))


def multiply_each(flow: Flow, factors: dict[Any, Any], of_each: list[Any]) -> None:
    """Multiply every array by one of some factors."""
    arrays = {key: jnp.asarray(x, jnp.result_type(float)) for key, x in factors.items()}
    flow.then(multiply_along, [None if key is None else arrays[key] for key in of_each])


def multiply_along(g: jax.Array, factor: jax.Array) -> tuple[jax.Array, Fields]:
    return multiply(g, jnp.expand_dims(factor, range(g.ndim - factor.ndim)) if factor.ndim else factor)
