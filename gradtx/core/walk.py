"""The visitor of a transformation: every part of it, with its path and its state."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from gradtx.core.pair import places_of_parts
from gradtx.core.rule import Keys, Part, Rule, transformations_in
from gradtx.core.transformation import Transformation
from gradtx.values.errors import Refusal
from gradtx.values.value import build

PARTS = "_parts"  # where an instance keeps them
WRITES = "_writes"  # where it keeps whether its updates may not be narrowed


class Node(NamedTuple):
    """A transformation where it stands."""

    path: str  # as `replace` writes it; a composition and what it is made of have the same
    tx: Any  # gradtx's or a plain pair
    keys: Keys  # the way to its state in the state of the whole
    state: Any  # None without one

    @property
    def rule(self) -> Rule | None:
        return build(self.tx) if isinstance(self.tx, Transformation) else None


def walk(tx: Any, state: Any = None, path: str = "", keys: Keys = ()) -> Iterator[Node]:
    """A transformation and all that it is made of, from the outside in and in the order of their application.

    Nothing is computed. With a state, `init`'s or a later one, each node has its own.
    """
    yield Node(path, tx, keys, state)
    for name, part in parts_of(tx).items():
        inside = None if state is None else state_at(state, part.keys)
        yield from walk(part.tx, inside, join(path, name), keys + part.keys)


def parts_of(tx: Any) -> dict[str, Part]:
    """The parts of a transformation by their paths among its arguments; under "" what a composition is made of."""
    if not isinstance(tx, Transformation):
        return {}
    if PARTS not in tx.__dict__:
        parts = build(tx).parts
        inside = {} if parts is not None else transformations_in(tx.arguments)
        tx.__dict__[PARTS] = places_of_parts(tx, inside) if inside else parts or {}
    return tx.__dict__[PARTS]


def join(path: str, name: str) -> str:
    return f"{path}.{name}" if path and name else path or name


# ---- which updates may not be narrowed ----


def writes(tx: Any) -> bool:
    """Whether there is a part in it that decides how parameters are written. Its updates leave in at least float32,
    and what holds them has to keep them so. In a chain of Optax's it is not seen.
    """
    if not isinstance(tx, Transformation):
        return isinstance(tx, Rule) and writes_by_rule(tx)
    if WRITES not in tx.__dict__:
        inside = transformations_in(tx.arguments) if tx.recipe.holds_parts else {}
        tx.__dict__[WRITES] = writes_by_rule(build(tx)) or any(map(writes, inside.values()))
    return tx.__dict__[WRITES]


def writes_by_rule(rule: Rule) -> bool:
    return rule.writes or any(writes(part.tx) for part in (rule.parts or {}).values())


def require_no_writing(tx: Any, call: str, name: str = "tx") -> None:
    if writes(tx):
        problem = f"{name} has a part that writes parameters, whose updates can't be changed any more"
        raise Refusal(ValueError, f"{problem}; write behind it, as in chain({call}(…), write_…(…))")


# ---- states ----


def state_at(state: Any, keys: Keys) -> Any:
    """What stands in a state at the end of a way."""
    for key in keys:
        try:
            state = getattr(state, key) if isinstance(key, str) and not isinstance(state, dict) else state[key]
        except (AttributeError, LookupError, TypeError):
            remedy = "it was made by another optimizer"
            raise Refusal(ValueError, f"the state has no {key!r} in its {type(state).__name__}; {remedy}") from None
    return state


def with_state_at(state: Any, keys: Keys, new: Any) -> Any:
    """The state with something else there."""
    if not keys:
        return new
    key, *rest = keys
    inside = with_state_at(state_at(state, (key,)), tuple(rest), new)
    if isinstance(state, dict):
        return state | {key: inside}
    if isinstance(key, str):
        return state._replace(**{key: inside})
    return type(state)([*state[:key], inside, *state[key + 1 :]])


def is_namedtuple(x: Any) -> bool:
    return isinstance(x, tuple) and hasattr(x, "_fields")
