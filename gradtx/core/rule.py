"""What a transformation is made of: how it starts, how it goes on, and which parts it has."""

from collections.abc import Callable
from typing import Any, NamedTuple

from gradtx.core.flow import Flow

Keys = tuple[str | int, ...]  # the way into a state: names of fields, indices, keys of a dict


class Part(NamedTuple):
    """A transformation inside of another one."""

    tx: Any
    keys: Keys  # where its state stands in the state of the other
    role: str = ""  # what it is there, for errors: "part 0 of a chain"


class Route(NamedTuple):
    """Some arrays, and what becomes of them."""

    where: list[bool]
    words: str
    part: str = ""  # the name of the part that they go through, if they do


class Rule(NamedTuple):
    """A pair of functions that can join others in one pass, and what has to be known of it.

    `init(params) -> state` is as in Optax. `advance(flow, state, extra) -> state` adds stages to the flow, or takes its
    updates and puts others in their place; the next state may hold promises, which are kept once the flow has run.
    """

    init: Callable[[Any], Any]
    advance: Callable[[Flow, Any, dict[str, Any]], Any]
    takes: frozenset[str] | None = frozenset()  # own extra arguments, those of its parts aside; None for any
    needs: frozenset[str] = frozenset()  # those of them that it can't do without
    parts: dict[str, Part] | None = None  # by their paths among the arguments; "" is what a composition is made of
    numbers: dict[str, Keys] | None = None  # hyperparameters that its state holds, beside a `count` of its own
    routes: Callable[[Any], list[Route]] | None = None  # which arrays of a tree go where, if it selects
    advance_if: Callable[[Flow, Any, Any, dict[str, Any]], Any] | None = None  # as `advance`, where a flag is true
