"""The parts of a transformation that keep a state, in the order of their application."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from gradtx.checkpoints.arrangement import Arrangement, Negated, arrangement_of, flatten_places
from gradtx.checkpoints.pieces import pieces_of
from gradtx.checkpoints.rows import ABSENT_THERE
from gradtx.core.combine import Series
from gradtx.core.count import ScheduledState
from gradtx.core.rule import Keys
from gradtx.core.walk import Node, join, parts_of, state_at
from gradtx.values.errors import Refusal
from gradtx.wrappers.sam import sam


class Member(NamedTuple):
    """A part with its state, or the place where the peer may have one without a state beside it."""

    node: Node | None
    is_left_out: bool = False  # whether Optax's function of the same name has no such part
    is_negated: bool = False  # whether its arrays have the other sign there
    in_sam: bool = False  # whether an opaque sam is around it

    @property
    def tx(self) -> Any:
        return self.node.tx if self.node else None

    @property
    def keys(self) -> Keys:
        """The way to its own state, inside of that of its schedules."""
        assert self.node
        return (*self.node.keys, "inner_state") if self.is_scheduled else self.node.keys

    @property
    def state(self) -> Any:
        state = self.node.state if self.node else None
        return state.inner_state if isinstance(state, ScheduledState) else state

    @property
    def is_scheduled(self) -> bool:
        return self.node is not None and isinstance(self.node.state, ScheduledState)

    @property
    def is_absent_there(self) -> bool:
        """Whether Optax has no such part."""
        return self.is_left_out or isinstance(self.state, ABSENT_THERE)

    @property
    def name(self) -> str:
        return getattr(self.recipe, "__name__", "a part of Optax")

    @property
    def recipe(self) -> Any:
        """None for a part of Optax's."""
        return getattr(self.tx, "recipe", None)

    def inside(self, name: str) -> list["Member"]:
        """The members of one of its parts."""
        assert self.node
        return list(members_of(part_of(self.node, name)))


MAYBE = Member(None)


def members_of(node: Node, arrangement: Arrangement | None = None, in_sam: bool = False) -> Iterator[Member]:
    """The members of a transformation, in Optax's order. Compositions and chains are gone through; what is wrapped
    stays inside.
    """
    if node.rule is None:
        yield from parts_of_foreign(node, in_sam)
        return
    arrangement = arrangement or arrangement_of(node.tx)
    if is_transparent(node):
        yield from members_of(only_part(node), arrangement, in_sam or is_opaque_sam(node))
        return
    is_series = isinstance(node.rule, Series)
    parts = parts_in_series(node).values() if is_series else []
    several = [list(members_of(x, None, in_sam)) for x in parts] if is_series else [[Member(node, in_sam=in_sam)]]
    places = range(len(several)) if arrangement is None else list(flatten_places(arrangement))
    left = dict(enumerate(several))
    for place in places:
        if place is None:
            yield MAYBE
        elif isinstance(place, Negated):
            yield from [member._replace(is_negated=True) for member in left.pop(place.place)]
        else:
            yield from left.pop(place)
    yield from [member._replace(is_left_out=True) for own in left.values() for member in own]


def parts_in_series(node: Node) -> dict[str, Node]:
    return {name: part_of(node, name) for name in parts_of(node.tx)}


def only_part(node: Node) -> Node:
    (name,) = parts_of(node.tx)
    return part_of(node, name)


def is_transparent(node: Node) -> bool:
    """Whether its state is that of its one part: a composition's, `zero_redundancy`'s, `offload`'s, `across`'s."""
    return [part.keys for part in parts_of(node.tx).values()] == [()]


def is_opaque_sam(node: Node) -> bool:
    return getattr(node.tx, "recipe", None) is sam and is_transparent(node)


def parts_of_foreign(node: Node, in_sam: bool) -> Iterator[Member]:
    """A part of Optax's in a chain of gradtx's: each state in it."""
    for piece in pieces_of(node.state, {}, node.keys):
        if piece.injected:
            remedy = "give gradtx's own optimizer, with numbers that are schedules or controlled"
            raise Refusal(ValueError, f"a part of the transformation is Optax's inject_hyperparams; {remedy}")
        own = Node(node.path, node.tx, piece.keys, piece.state)
        yield Member(own, in_sam=in_sam or piece.sam is not None)


def part_of(node: Node, name: str) -> Node:
    part = parts_of(node.tx)[name]
    return Node(join(node.path, name), part.tx, node.keys + part.keys, state_at(node.state, part.keys))
