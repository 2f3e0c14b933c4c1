"""Hyperparameters by their paths: as they were given, as they are in force, and those that live in the state."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradtx.core.count import ScheduledState, value_at
from gradtx.core.transformation import Transformation, inner
from gradtx.values.errors import Refusal, errors_of
from gradtx.values.recipe import Controlled, Recipe, Scalar, checked_number


class control(Recipe[..., Controlled]):
    kind = Controlled

    def checked(self, name: str, value: Any) -> Any:
        if callable(value):
            remedy = "multiply by it in a part of its own: chain(…, scale(controlled(1.0)))"
            raise Refusal(TypeError, f"{name} must be a number or a scalar array, got a function; {remedy}")
        return super().checked(name, value)


@control
def controlled(value: Scalar):
    """A hyperparameter that lives in the state, for those who can change a state and not the optimizer.

    It stands in the place of a number, as in `adam(controlled(1e-3))`, and starts with `value`. From then on the state
    says what it is: `set_hyperparameters(tx, state, learning_rate=1e-4)` gives a state with another one, which goes
    into checkpoints with the rest. Where the optimizer itself is at hand, `tx.replace` does without it.

    **Raises:** `TypeError` for what is no number, the range of the place where it stands applies.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.sgd(gradtx.controlled(0.1))
    >>> state = gradtx.set_hyperparameters(tx, tx.init(jnp.zeros(1)), learning_rate=0.5)
    >>> tx.update(jnp.array([1.0]), state)[0]
    Array([-0.5], dtype=float32)
    """


def hyperparameters(tx: Transformation, state: Any = None) -> dict[str, Any]:
    """Every hyperparameter by its path: numbers, scalar arrays and schedules as they were given.

    With a state, the numbers that the next update will use: schedules at the count that they have reached, controlled
    ones as the state has them.

    **Raises:** `TypeError` for what is no gradtx transformation, `ValueError` for a state that it did not make.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.chain(gradtx.clip_by_norm(1.0), gradtx.scale_by_learning_rate(gradtx.linear(0.1, 0.0, 4)))
    >>> gradtx.hyperparameters(tx)
    {'parts[0].max_norm': 1.0, 'parts[1].learning_rate': linear(start=0.1, end=0.0, steps=4)}
    >>> float(gradtx.hyperparameters(tx, tx.init(jnp.zeros(1)))["parts[1].learning_rate"])
    0.10000000149011612
    """
    with errors_of("hyperparameters"):
        found = list(places(own(tx), state))
        return {one.path: one.value if state is None else one.now() for one in found}


def set_hyperparameters(tx: Transformation, state: Any, **values: Any) -> Any:
    """The state with other numbers for its `controlled` hyperparameters, by name or by path as in `tx.replace`.

    It works inside of `jit` too, and on the state of a framework that wraps the arrays in variables of its own.

    **Raises:** `TypeError` for a name that is unknown, stands in several places or is not controlled, and for what is
    no number; `ValueError` for one that is out of range, and for a state of another optimizer.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.adamw(gradtx.controlled(0.1), weight_decay=gradtx.controlled(1e-4))
    >>> state = gradtx.set_hyperparameters(tx, tx.init(jnp.zeros(1)), learning_rate=0.05, weight_decay=0.0)
    >>> float(gradtx.hyperparameters(tx, state)["learning_rate"])
    0.05000000074505806
    """
    with errors_of("set_hyperparameters"):
        controlled = [place for place in places(own(tx), state) if isinstance(place.value, Controlled)]
        for key, new in values.items():
            named = [x for x in controlled if x.path == key] or [x for x in controlled if x.path.endswith("." + key)]
            if len(named) != 1:
                known = ", ".join(x.path for x in named or controlled) or "none"
                remedy = "" if named else "; tx.replace changes what is not in the state"
                problem = f"has {'several' if named else 'no'} controlled {key!r}"
                raise Refusal(TypeError, f"the transformation {problem}, controlled are: {known}{remedy}")
            if callable(new):
                raise Refusal(TypeError, f"{key} must be a number or a scalar array, got a function")
            checked_number(key, new, named[0].owner.recipe.annotation(named[0].name))
            if not (numbers := named[0].held()):
                remedy = "its owner stands in the transformation several times, or has made another one of it"
                raise Refusal(ValueError, f"the state of {named[0].path} can't be told; {remedy}")
            for number in numbers:
                state = exchanged(state, number, new)
    return state


def own(tx: Any) -> Transformation:
    if not isinstance(tx, Transformation):
        raise Refusal(TypeError, f"it must be a transformation of gradtx, got {type(tx).__name__}")
    return tx


class Place(NamedTuple):
    """A hyperparameter where it stands: as an argument of a transformation, which has a state."""

    path: str
    owner: Transformation
    name: str
    value: Any
    state: Any

    def users(self) -> list[tuple[str, Any]]:
        """The states of the transformations that evaluate it, and its name there: compositions hand it on."""
        return [
            (name, state)
            for tx, state in within(self.owner, self.state)
            if not isinstance(tx.built, Transformation)
            for name, argument in tx.arguments.items()
            if argument is self.value
        ]

    def held(self) -> list[Any]:
        return [held(state, name) for name, state in self.users()]

    def now(self) -> Any:
        if not callable(self.value):
            return self.value
        for name, state in self.users():
            number = held(state, name)
            return plain(number if isinstance(self.value, Controlled) else value_at(self.value, plain(count_of(state))))
        # A composition made another schedule of it.
        counts = [count_of(state) for tx, state in within(self.owner, self.state) if evaluates(tx)]
        if not counts or isinstance(self.value, Controlled):
            remedy = "give the state that this transformation made; a wrapper names its part's state inner_state"
            raise Refusal(ValueError, f"the state holds no count of updates for {self.path}; {remedy}")
        return value_at(self.value, plain(counts[0]))


def evaluates(tx: Transformation) -> bool:
    """Whether a transformation has schedules that it evaluates at a count of its own."""
    own = [x for name, x in tx.arguments.items() if name in tx.recipe.ranges]
    return not isinstance(tx.built, Transformation) and any(map(callable, own))


def plain(x: Any) -> Any:
    """An array, without what a framework has put around it."""
    return jax.tree.leaves(x)[0]


def places(tx: Transformation, state: Any, prefix: str = "") -> Iterator[Place]:
    """All hyperparameters; without a state of the transformation they have none."""
    states = states_inside(tx, state)

    def inside(name: str, value: Any, path: str) -> Iterator[Place]:
        if type(value) is tuple:
            for i, part in enumerate(value):
                yield from inside(name, part, f"{path}[{i}]")
        elif name in tx.recipe.ranges:
            yield Place(prefix + path, tx, name, value, state)
        elif isinstance(value, Transformation):
            yield from places(value, states[path], f"{prefix}{path}.")

    for name, value in tx.arguments.items():
        yield from inside(name, value, name)


def within(tx: Any, state: Any) -> Iterator[tuple[Transformation, Any]]:
    """Each transformation inside of one, what a composition is built of too, with its state."""
    if isinstance(tx, Transformation) and state is not None:
        yield tx, state
        if isinstance(tx.built, Transformation):
            yield from within(tx.built, state)
        else:
            states = states_inside(tx, state)
            for path, part in inner(tx).items():
                yield from within(part, states[path])


def states_inside(tx: Transformation, state: Any) -> dict[str, Any]:
    """The states of the transformations among a value's arguments, by their paths; None where it can't be told."""
    parts = inner(tx)
    if state is None or not parts:
        return dict.fromkeys(parts)
    if isinstance(tx.built, Transformation):
        built = list(within(tx.built, state))
        found = {path: [one for other, one in built if other is part] for path, part in parts.items()}
        return {path: states[0] if len(states) == 1 else None for path, states in found.items()}
    if isinstance(state, ScheduledState):
        state = state.inner_state
    if hasattr(state, "inner_state"):
        single = parts.keys() <= tx.arguments.keys()  # not one of several
        state = (state.inner_state,) if single else state.inner_state
    if isinstance(state, dict):  # which JAX sorts
        state = tuple(state[name] for name in tx.arguments if name in state)
    states = list(state) if type(state) is tuple else []
    return dict(zip(parts, states, strict=True)) if len(states) == len(parts) else dict.fromkeys(parts)


def held(state: Any, name: str) -> Any:
    """What a state holds of a hyperparameter that is a schedule or controlled."""
    return state.hyperparams[name] if isinstance(state, ScheduledState) else getattr(state, name, None)


def count_of(state: Any) -> Any:
    return state.count if "count" in getattr(state, "_fields", ()) else None  # every tuple has a method of that name


def exchanged(state: Any, held: Any, new: Any) -> Any:
    """The state with another number in the place of this very one."""

    def other(x: Any) -> Any:
        return jax.tree.map(lambda old: jnp.full(old.shape, new, old.dtype), x) if x is held else x

    return jax.tree.map(other, state, is_leaf=lambda x: x is held)
