"""A state of Optax as the list of its parts' states, in whatever nodes a checkpoint has put them."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import optax

from gradtx.core.rule import Keys
from gradtx.core.walk import is_namedtuple, walk

Injected = optax.schedules.InjectStatefulHyperparamsState
INJECTED = (set(Injected._fields), {"count", "hyperparams", "inner_state"})  # the second as Optax had it before


class Piece(NamedTuple):
    """The state of one part of Optax's, or what was made of it."""

    keys: Keys  # the way to it
    state: Any
    fields: dict[str, Any]
    injected: "Piece | None"  # the inject_hyperparams around it
    sam: "Piece | None" = None  # the opaque sam around it

    def is_of(self, kind: type[Any]) -> bool:
        """Whether it is a state of that kind: a dict is one that has its fields."""
        if is_namedtuple(self.state):
            return isinstance(self.state, kind)
        return isinstance(self.state, Mapping) and self.fields.keys() == set(kind._fields)

    @property
    def is_empty(self) -> bool:
        """Whether there are no arrays in it: what has no state, with a mask around it or without."""
        return not jax.tree.leaves(self.state)

    @property
    def name(self) -> str:
        name = type(self.state).__name__
        if not is_namedtuple(self.state) and (self.state is None or self.fields):
            name = f"{{{', '.join(self.fields)}}}" if self.fields else "None"
        return f"{name} in an opaque sam" if self.sam else name


Orders = dict[frozenset[str], tuple[str, ...]]


def orders_of(tx: Any) -> Orders:
    """The names of the chains with names in a transformation: a checkpoint keeps a dict in no order."""
    named = [getattr(node.rule, "named", None) for node in walk(tx)]
    return {frozenset(names): tuple(names) for names in named if names}


def pieces_of(
    state: Any, orders: Orders, keys: Keys = (), injected: Piece | None = None, sam: Piece | None = None
) -> Iterator[Piece]:
    """The parts' states in the order of their application. Chains are gone through, and so are `inject_hyperparams` and
    the opaque `sam`.
    """
    fields = fields_of(state)
    piece = Piece(keys, state, fields, injected, sam)
    if isinstance(state, tuple | list) and not is_namedtuple(state):
        for i, x in enumerate(state):
            yield from pieces_of(x, orders, (*keys, i), injected, sam)
    elif set(fields) in INJECTED:
        yield from pieces_of(fields["inner_state"], orders, (*keys, "inner_state"), piece, sam)
    elif piece.is_of(optax.contrib.SAMState) and fields["cache"] is None:  # whose way up is inside of an update
        yield from pieces_of(fields["opt_state"], orders, (*keys, "opt_state"), injected, piece)
    elif not is_namedtuple(state) and (names := names_in_order(state, orders)):
        for name in names:
            yield from pieces_of(fields[name], orders, (*keys, name), injected, sam)
    else:
        yield piece


def names_in_order(state: Any, orders: Orders) -> tuple[str, ...]:
    """The names of the parts, where it is the state of a chain with names, or a tuple that became a dict."""
    if not isinstance(state, Mapping):
        return ()
    if all(isinstance(key, str) and key.isdecimal() for key in state):
        return tuple(sorted(state, key=int))
    ordered = tuple(state) if isinstance(state, OrderedDict) else ()
    return orders.get(frozenset(state), ordered)


def fields_of(state: Any) -> dict[str, Any]:
    return dict(state) if isinstance(state, Mapping) else state._asdict() if is_namedtuple(state) else {}
