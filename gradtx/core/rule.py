"""What a transformation is made of: how it starts, how it goes on, and which parts it has."""

from collections.abc import Callable
from typing import Any, NamedTuple, Self, TypeVar

import optax

from gradtx.core import check
from gradtx.core.flow import Flow, run_flow
from gradtx.values.errors import errors_of

Keys = tuple[str | int, ...]  # the way into a state: names of fields, indices, keys of a dict
NONE: frozenset[str] = frozenset()
NO_NUMBERS: dict[str, Keys] = {}


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


class Pair(optax.GradientTransformationExtraArgs):
    """A tuple of its two methods `init` and `update`, as Optax's transformations are of two functions."""

    def __iter__(self) -> Any:
        return iter((self.init, self.update))

    def __getitem__(self, index: Any) -> Any:
        return (self.init, self.update)[index]

    def __len__(self) -> int:
        return 2


class Rule(Pair):
    """A pair of functions that can join others in one pass, and what has to be known of it.

    `init(params) -> state` is as in Optax. `advance(flow, state, extra) -> state` adds stages to the flow, or takes its
    updates and puts others in their place; the next state may hold promises, which are kept once the flow has run.
    """

    init: Any = None  # a tuple's field would hide the instance's
    advance: Callable[[Flow, Any, dict[str, Any]], Any]
    takes: frozenset[str] | None = NONE  # own extra arguments, those of its parts aside; None for any
    needs: tuple[str, ...] = ()  # those of them that it can't do without
    parts: dict[str, Part] | None = None  # by their paths among the arguments; "" is what a composition is made of
    numbers: dict[str, Keys] = NO_NUMBERS  # hyperparameters that its state holds, beside a `count` of its own
    counts: tuple[Keys, ...] = ()  # where its state has the number of updates that it has done
    routes: Callable[[Any], list[Route]] | None = None  # which arrays of a tree go where, if it selects
    everywhere: bool = False  # whether these routes leave no array alone
    # Whether there is a selector in what it is made of, where that can't be seen from outside, or else it takes updates
    # that are not arrays like the parameters: they are not refused before it has seen them.
    selects: bool = False
    writes: bool = False  # whether its updates are what makes parameters others to the bit, in at least float32
    descends: bool | None = False  # whether it turns a direction down, as `going_down` says; None: unknown
    advance_if: Any = None  # `advance_if(flow, state, ok, extra)`: as `advance` where the flag is true; None for most

    def __new__(cls, init: Any, advance: Any, **others: Any) -> Any:
        return cls.of(init=init, advance=advance, **others)

    @classmethod
    def of(cls, **own: Any) -> Self:
        """The rule with these attributes."""
        self = tuple.__new__(cls)
        self.__dict__ = own
        return self

    def update(self, updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        """An update by the rule alone."""

        def through(flow: Flow) -> Any:
            check.require_arrays(flow.leaves)
            check.require_extra([name for name in self.needs if name not in extra])
            own = {name: x for name, x in extra.items() if self.takes is None or name in self.takes}
            return self.advance(flow, state, own)

        with errors_of("update"):
            return run_flow(through, updates, params)

    # ---- told apart as objects are, not as tuples ----

    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other

    def __hash__(self) -> int:
        return id(self)

    __repr__ = object.__repr__


R = TypeVar("R", bound=Rule)


def going_down(rule: R) -> R:
    """The rule, which says that it turns a direction down, to what is added to parameters."""
    rule.descends = True
    return rule


def transformations_in(arguments: dict[str, Any]) -> dict[str, Any]:
    """The transformations among arguments, Optax's too, by their paths."""
    found: dict[str, Any] = {}

    def look(x: Any, path: str) -> None:
        if isinstance(x, optax.GradientTransformation):
            found[path] = x
        elif type(x) is tuple:
            for i, part in enumerate(x):
                look(part, f"{path}[{i}]")

    for name, x in arguments.items():
        look(x, name)
    return found
