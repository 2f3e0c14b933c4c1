"""What Optax has for a state of gradtx's."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from gradtx.checkpoints.conversions import NamedFields
from gradtx.core.pair import state_kind


class OptaxRow(NamedTuple):
    """The counterpart of a state of gradtx's."""

    kinds: Callable[[Any], tuple[type[Any], ...]]  # of Optax's states, for the transformation; the first is made
    renamed: Mapping[str, str] = MappingProxyType({})  # Optax's names of fields
    own: tuple[str, ...] = ()  # what is not copied, though both have it
    read: Callable[[Any, NamedFields, Any], NamedFields] | None = None  # as in `conversions`
    write: Callable[[Any, Any], NamedFields] | None = None
    scheduled: tuple[str, ...] = ()  # hyperparameters that may be schedules there, too: its own count is theirs
    inside: str | None = None  # of a wrapper: Optax's name of the state in it, which is `inner_state` here

    def names(self, state: Any, theirs: tuple[str, ...]) -> dict[str, str]:
        """The fields that both have, with Optax's names. `state` may be the class of one."""
        own = {*self.own, *(["inner_state"] if self.inside else [])}
        pairs = {name: self.renamed.get(name, name) for name in state._fields if name not in own}
        return {name: other for name, other in pairs.items() if other in theirs and getattr(state, name) is not None}

    def fields_there(self, tx: Any, state: Any, theirs: tuple[str, ...]) -> NamedFields:
        """The fields of Optax's state, but for a count that it alone has and for what is inside of a wrapper."""
        fields = {other: getattr(state, name) for name, other in self.names(state, theirs).items()}
        return fields | (self.write(tx, state) if self.write else {})


def always(*kinds: type[Any]) -> Callable[[Any], tuple[type[Any], ...]]:
    return lambda tx: kinds


def made_by(factory: Callable[[], Any]) -> Callable[[Any], tuple[type[Any], ...]]:
    """A class that is not public; found when it is asked for."""
    return lambda tx: (state_kind(factory),)
