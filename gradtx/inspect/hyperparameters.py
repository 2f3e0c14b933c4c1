"""Hyperparameters by their paths: as they were given, as they are in force, and those that live in the state."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from gradtx.core.count import value_at
from gradtx.core.rule import Keys, transformations_in
from gradtx.core.transformation import Transformation
from gradtx.core.walk import Node, parts_of, state_at, walk, with_state_at
from gradtx.values.annotations import Scalar
from gradtx.values.argument import as_number
from gradtx.values.errors import Refusal, errors_of
from gradtx.values.ranges import A_NUMBER, Range
from gradtx.values.recipe import Controlled, Recipe
from gradtx.values.value import Value, arguments, arguments_in, restore

SEPARATE = "_separate"  # where an instance keeps its copy


class control(Recipe[..., Controlled]):
    kind = Controlled
    number = A_NUMBER

    def check_schedule(self, name: str, value: Any, allowed: Range) -> None:
        remedy = "multiply by it in a part of its own: chain(…, scale(controlled(1.0)))"
        raise Refusal(TypeError, f"{name} must be {A_NUMBER}, got a function; {remedy}")


@control
def controlled(value: Scalar):
    """A hyperparameter that lives in the state, for those who can change a state and not the optimizer.

    It stands in the place of a number, as in `adam(controlled(1e-3))`, and starts with `value`. From then on the state
    says what it is: `set_hyperparameters(tx, state, learning_rate=1e-4)` gives a state with another one, which goes
    into checkpoints with the rest. Where the optimizer itself is at hand, `tx.replace` does without it.

    **Raises:** `TypeError` for what is no number, the range of the place where it stands applies. A number that `init`
    alone reads, such as `initial` of `adagrad`, can't be controlled.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.sgd(gradtx.controlled(0.1))
    >>> state = gradtx.set_hyperparameters(tx, tx.init(jnp.zeros(1)), learning_rate=0.5)
    >>> tx.update(jnp.array([1.0]), state)[0]
    Array([-0.5], dtype=float32)
    """


def hyperparameters(tx: Transformation, state: Any = None) -> dict[str, Any]:
    """Every hyperparameter by its path: numbers, scalar arrays and schedules as they were given.

    With a state, the numbers that the next update will use: schedules at the count that they have reached, controlled
    ones as the state has them. Where a composition uses one at several places, it is read at the first.

    **Raises:** `TypeError` for what is no gradtx transformation, `ValueError` for a state that it did not make.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.chain(gradtx.clip_by_norm(1.0), gradtx.scale_by_learning_rate(gradtx.linear(0.1, 0.0, 4)))
    >>> gradtx.hyperparameters(tx)
    {'parts[0].max_norm': 1.0, 'parts[1].learning_rate': linear(start=0.1, end=0.0, steps=4)}
    >>> float(gradtx.hyperparameters(tx, tx.init(jnp.zeros(1)))["parts[1].learning_rate"])
    0.10000000149011612
    """
    with errors_of("hyperparameters"):
        own = require_own(tx)
        if state is None:
            return {place.path: place.value for place in places(own)}
        found = list(walk(separate_numbers(own), state))
        return {place.path: number_now(place, found) for place in places(separate_numbers(own))}


def set_hyperparameters(tx: Transformation, state: Any, **values: Any) -> Any:
    """The state with other numbers for its `controlled` hyperparameters, by name or by path as in `tx.replace`.

    It works inside of `jit` too, and on the state of a framework that wraps the arrays in variables of its own. On the
    states of an ensemble, `jax.vmap(tx.init)(params)`, a number is that of all members; an array has one for each.

    **Raises:** `TypeError` for a name that is unknown, stands in several places or is not controlled, and for what is
    no number; `ValueError` for one that is out of range, for an array of another shape than the ensemble's, and for a
    state of another optimizer.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.adamw(gradtx.controlled(0.1), weight_decay=gradtx.controlled(1e-4))
    >>> state = gradtx.set_hyperparameters(tx, tx.init(jnp.zeros(1)), learning_rate=0.05, weight_decay=0.0)
    >>> float(gradtx.hyperparameters(tx, state)["learning_rate"])
    0.05000000074505806
    """
    with errors_of("set_hyperparameters"):
        own = separate_numbers(require_own(tx))
        controlled = [place for place in places(own) if isinstance(place.value, Controlled)]
        found = list(walk(own, state))
        for key, new in values.items():
            named = [x for x in controlled if x.path == key] or [x for x in controlled if x.path.endswith("." + key)]
            if len(named) != 1:
                known = ", ".join(x.path for x in named or controlled) or "none"
                remedy = "" if named else "; tx.replace changes what is not in the state"
                problem = f"has {'several' if named else 'no'} controlled {key!r}"
                raise Refusal(TypeError, f"the transformation {problem}, controlled are: {known}{remedy}")
            if callable(new):
                raise Refusal(TypeError, f"{key} must be {A_NUMBER}, got a function")
            keys = [keys for node, keys in users(named[0].value, found)]
            if not keys:
                raise Refusal(ValueError, f"no part has {named[0].path} in its state; {reason(found)}")
            for one in keys:
                held = state_at(state, one)
                require_numbers(key, new, named[0].allowed, np.shape(unwrap(held)))
                state = with_state_at(state, one, fill_like(new, held))
    return state


def require_numbers(name: str, new: Any, allowed: Range, shape: tuple[int, ...]) -> None:
    """Refuse what is neither a number nor an array of one for each member of an ensemble."""
    if not isinstance(new, jax.Array | np.ndarray) or not new.ndim:
        as_number(name, new, allowed, A_NUMBER)
        return
    if not shape:
        remedy = "an ensemble has a rate for each member where its state is jax.vmap(tx.init)(params)"
        raise Refusal(ValueError, f"{name} must be one number, got an array of shape {new.shape}; {remedy}")
    if new.shape != shape:
        expected = f"a number, or an array of shape {shape} with one for each member"
        raise Refusal(ValueError, f"{name} must be {expected}, got one of shape {new.shape}")
    if isinstance(new, Tracer):
        as_number(name, new.ravel()[0], allowed, A_NUMBER)  # of which only the dtype is known
        return
    for index, x in np.ndenumerate(np.asarray(new)):
        as_number(f"{name}{list(index)}", x, allowed, A_NUMBER)


def fill_like(number: Any, held: Any) -> Any:
    """The array of a state, in what a framework has put around it, with another number."""
    return jax.tree.map(lambda x: jnp.full(x.shape, number, x.dtype), held)


def require_own(tx: Any) -> Transformation:
    if not isinstance(tx, Transformation):
        raise Refusal(TypeError, f"it must be a transformation of gradtx, got {type(tx).__name__}")
    return tx


# ---- where they stand ----


class Place(NamedTuple):
    """A hyperparameter among the arguments of a transformation."""

    path: str
    value: Any
    allowed: Range
    owner: Transformation


def places(tx: Transformation, prefix: str = "") -> Iterator[Place]:
    def inside(name: str, value: Any, path: str) -> Iterator[Place]:
        if type(value) is tuple:
            for i, part in enumerate(value):
                yield from inside(name, part, f"{path}[{i}]")
        elif name in tx.recipe.ranges:
            if type(value) is not str:  # a name beside a number
                yield Place(prefix + path, value, tx.recipe.ranges[name], tx)
        elif isinstance(value, Transformation):
            yield from places(value, f"{prefix}{path}.")

    for name, value in tx.arguments.items():
        yield from inside(name, value, name)


def separate_numbers(tx: Transformation) -> Transformation:
    """An equal value in which no two places have the same schedule or controlled number: compositions hand these on as
    they are, so that in a part the object itself says which place of the whole it came from.
    """
    if SEPARATE not in tx.__dict__:
        tx.__dict__[SEPARATE] = copy_values(tx)
    return tx.__dict__[SEPARATE]


def copy_values(x: Any) -> Any:
    if isinstance(x, Value):
        return restore(type(x), x.recipe, {name: copy_values(argument) for name, argument in x.arguments.items()})
    return tuple(map(copy_values, x)) if type(x) is tuple else x


# ---- who has them in force ----


def users(value: Any, found: list[Node]) -> Iterator[tuple[Node, Keys]]:
    """The nodes whose state holds the number of this very schedule or controlled number, and the way there."""
    for node in found:
        numbers = node.rule.numbers if node.rule else {}
        own = dict(arguments(node.tx)) if numbers else {}
        for path, keys in numbers.items():
            if own[path] is value:
                yield node, node.keys + keys


def number_now(place: Place, found: list[Node]) -> Any:
    """The number that the next update uses."""
    value = place.value
    if not callable(value):
        return value
    for node, keys in users(value, found):
        if isinstance(value, Controlled):
            return unwrap(state_at(found[0].state, keys))
        return value_at(value, count_of(node))
    # A composition has made another number of it: a schedule with this one in it, or a function that hides it. Then
    # it is read at the count of that part, if it is plain which one that is.
    inside = [one for node in found if node.tx is place.owner for one in walk(node.tx, node.state)]
    counting = [node for node in inside if node.rule and node.rule.numbers]
    made_of_it = [node for node in counting if any(x is value for _, x in schedules_in(node.tx))]
    own = made_of_it or [node for node in counting if node.tx.recipe.schedules_among(node.tx.arguments)]
    if isinstance(value, Controlled) or (not made_of_it and len(own) != 1):
        raise Refusal(ValueError, f"no part is known to count the updates for {place.path}; {reason(found)}")
    return value_at(value, count_of(own[0]))


def reason(found: list[Node]) -> str:
    """Why it is not known in which state a hyperparameter is in force."""
    for node in found:
        if isinstance(node.tx, Transformation) and not parts_of(node.tx) and transformations_in(node.tx.arguments):
            name = node.tx.recipe.__name__
            return (
                f"{name} does not show where it keeps the states of its parts: its init looks into these or the params"
            )
    return "its owner has made a number of its own of it"


def count_of(node: Node) -> Any:
    """The number of updates that it has done."""
    return unwrap(state_at(node.state, ("count",)))


def schedules_in(tx: Any) -> Iterator[tuple[str, Any]]:
    """The schedules among the hyperparameters of one transformation, and what they are made of."""
    for name in tx.recipe.ranges:
        yield from arguments_in(tx.arguments[name], name)


def unwrap(x: Any) -> Any:
    """An array, without what a framework has put around it."""
    return jax.tree.leaves(x)[0]
