"""gradtx's members with the states of Optax, field by field: what programs read of a state, and what they saved."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gradtx.core import check
from gradtx.core.count import ScheduledState, increment
from gradtx.core.factories import composition
from gradtx.core.flow import Flow, is_promise, keep_promises
from gradtx.core.rule import Rule
from gradtx.core.transformation import Transformation, advance, start, takes
from gradtx.values.recipe import Controlled
from gradtx.values.value import build

NOTHING = optax.EmptyState()
NO_COUNT = np.zeros((), np.int32)
NO_NUMBER = np.zeros((), np.float32)


def restate(
    tx: Transformation, own: type[Any], kind: type[Any], renamed: dict[str, str] | None = None, **absent: Any
) -> Any:
    """The rule of a member with Optax's kind of state in the place of its own; the member as it is where it has a
    schedule of which Optax knows nothing.

    `renamed` has Optax's names of the member's fields where they differ. What the member has and Optax lacks is what
    the member can do without, and stands in `absent`. A count that only Optax has is counted here.
    """
    keeps_schedules = own is ScheduledState or isinstance(tx.recipe, composition)
    if not keeps_schedules and any(map(callable, tx.arguments.values())):
        return tx
    names = {name: (renamed or {}).get(name, name) for name in own._fields}
    kept = {name: theirs for name, theirs in names.items() if theirs in kind._fields}
    rule = build(tx)
    return Restated.of(
        tx=tx, own=own, kind=kind, kept=kept, absent=absent, takes=takes(tx), needs=rule.needs, descends=rule.descends
    )


class Restated(Rule):
    """The rule of a member with another state."""

    tx: Transformation
    own: type[Any]
    kind: type[Any]
    kept: dict[str, str]  # the member's names of the fields that both have, and Optax's
    absent: dict[str, Any]

    def init(self, params: Any) -> Any:
        counts = "count" in self.kind._fields
        return self.outside(start(self.tx, params), jnp.zeros([], jnp.int32) if counts else None)

    def advance(self, flow: Flow, state: Any, extra: dict[str, Any]) -> Any:
        if self.kind is optax.EmptyState:  # what stands in its place goes through, as in Optax
            advance(self.tx, flow, self.own(**self.absent), extra)
            return state
        check.require_state(state, self.kind)
        inside = self.own(**self.absent | {name: getattr(state, theirs) for name, theirs in self.kept.items()})
        count = increment(jnp.asarray(state.count)) if "count" in self.kind._fields else None
        after = advance(self.tx, flow, inside, extra)
        return once_known(flow, after, lambda made: self.outside(made, count))

    def outside(self, state: Any, count: Any) -> Any:
        if self.kind is optax.EmptyState:
            return NOTHING
        others = {} if count is None or "count" in self.kept.values() else dict(count=count)
        fields = {theirs: getattr(state, name) for name, theirs in self.kept.items()}
        return self.kind(**fields | others)


def once_known(flow: Flow, after: Any, outside: Callable[[Any], Any]) -> Any:
    """Optax's state of a member's next one, of which some may be promised."""
    if any(map(is_promise, jax.tree.leaves(after, is_leaf=is_promise))):
        return flow.promise(lambda: outside(keep_promises(after)))
    return outside(after)


def restate_schedule(tx: Transformation, name: str, inner_state: Any, kind: type[Any], theirs: str) -> Any:
    """The rule of a member with a schedule for its one hyperparameter: Optax keeps the count alone.

    `theirs` is Optax's name of it, under which it is read at that count.
    """
    rule = restate(tx, ScheduledState, kind, hyperparams={name: NO_NUMBER}, inner_state=inner_state)
    if not isinstance(tx.arguments[name], Controlled):  # whose number would have to be in the state
        rule.numbers, rule.counts = {theirs: ("count",)}, (("count",),)
    return rule


def stateless_member(tx: Transformation) -> Any:
    """The rule of a member without a state."""
    return restate(tx, optax.EmptyState, optax.EmptyState)
