"""The parts of a transformation that keep a state, in the order of their application."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from gradtx.checkpoints.pieces import pieces_of
from gradtx.core.combine import Series
from gradtx.core.count import ScheduledState
from gradtx.core.rule import Keys
from gradtx.core.walk import Node, join, parts_of, state_at
from gradtx.optimizers.adadelta import adadelta
from gradtx.optimizers.rmsprop import rmsprop
from gradtx.optimizers.sgd import sgd
from gradtx.values.errors import Refusal


class Member(NamedTuple):
    """A part with its state, or the place where the peer may have one without a state beside it."""

    node: Node | None

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


def members_of(node: Node) -> Iterator[Member]:
    """The members of a transformation. Compositions and chains are gone through; what is wrapped stays inside."""
    parts = parts_of(node.tx)
    if node.rule is None:
        yield from parts_of_foreign(node)
        return
    if not is_transparent(node) and not isinstance(node.rule, Series):
        yield Member(node)
        return
    before, behind = extras(node.tx)
    yield from [MAYBE] * before
    for name in parts:
        yield from members_of(part_of(node, name))
    yield from [MAYBE] * behind


def is_transparent(node: Node) -> bool:
    """Whether its state is that of its one part: a composition's, `zero_redundancy`'s, `offload`'s, `across`'s."""
    return [part.keys for part in parts_of(node.tx).values()] == [()] and not isinstance(node.state, ScheduledState)


def parts_of_foreign(node: Node) -> Iterator[Member]:
    """A part of Optax's in a chain of gradtx's: each state in it."""
    for piece in pieces_of(node.state, {}, node.keys):
        if piece.injected:
            remedy = "give gradtx's own optimizer, with numbers that are schedules or controlled"
            raise Refusal(ValueError, f"a part of the transformation is Optax's inject_hyperparams; {remedy}")
        yield Member(Node(node.path, node.tx, piece.keys, piece.state))


def part_of(node: Node, name: str) -> Node:
    part = parts_of(node.tx)[name]
    return Node(join(node.path, name), part.tx, node.keys + part.keys, state_at(node.state, part.keys))


def extras(tx: Any) -> tuple[int, int]:
    """How many parts without a state an optimizer of Optax's has before and behind those of the one of its name."""
    recipe = tx.recipe
    if recipe is rmsprop:
        return 0, int(tx.arguments["momentum"] is None)
    return int(recipe is adadelta or (recipe is sgd and tx.arguments["momentum"] is None)), 0
