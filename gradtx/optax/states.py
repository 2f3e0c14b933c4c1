"""gradtx's members with the states of Optax, field by field: what programs read of a state, and what they saved."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gradtx.checkpoints.optax_row import OptaxRow, always
from gradtx.checkpoints.rows import ROWS, STATELESS_THERE
from gradtx.core import check
from gradtx.core.collectives import manual_axes
from gradtx.core.count import ScheduledState, increment
from gradtx.core.factories import composition
from gradtx.core.flow import Flow, is_promise, keep_promises
from gradtx.core.rule import Rule
from gradtx.core.transformation import Transformation, advance, start, takes
from gradtx.optax.borrow import held_in
from gradtx.values.recipe import Controlled
from gradtx.values.value import build

NOTHING = optax.EmptyState()
NO_COUNT = np.zeros((), np.int32)
NO_NUMBER = np.zeros((), np.float32)
STATELESS = OptaxRow(always(optax.EmptyState))


def restate(
    tx: Transformation,
    own: type[Any],
    row: OptaxRow | None = None,
    *,
    absent: dict[str, Any] | None = None,
    first: Callable[[Any, Any], Any] = lambda state, params: state,
    dtypes: dict[str, Any] | None = None,
    clock: str | None = None,
) -> Any:
    """The rule of a member with Optax's state in the place of its own, by the row that `from_optax` has of it; the
    member as it is where it has a schedule of which Optax knows nothing, or a number that has to be in the state.

    What the member has and Optax lacks is what the member can do without, and stands in `absent`. A count that only
    Optax has is counted here. `first(state, params)` is what Optax's state starts with. `dtypes` are those in which
    Optax holds quantities. `clock` is Optax's name of the count at which it reads schedules, where that is none of the
    member's.
    """
    row = row or (STATELESS if own in STATELESS_THERE else ROWS[own])
    kind = row.kinds(tx)[0]
    tx = held_in(tx, **dtypes or {})
    keeps_schedules = isinstance(tx.recipe, composition)
    schedules = () if keeps_schedules else tuple([name for name, x in tx.arguments.items() if callable(x)])
    if any(name not in row.scheduled or isinstance(tx.arguments[name], Controlled) for name in schedules):
        return tx
    rule = build(tx)
    return Restated.of(
        tx=tx,
        own=own,
        kind=kind,
        row=row,
        schedules=schedules,
        absent=absent or {},
        first=first,
        clock=clock,
        takes=takes(tx),
        needs=rule.needs,
        descends=rule.descends,
    )


class Restated(Rule):
    """The rule of a member with another state."""

    tx: Transformation
    own: type[Any]
    kind: type[Any]
    row: OptaxRow
    schedules: tuple[str, ...]  # of the member, which are read at Optax's count
    clock: str | None  # Optax's name of that count, where it is none of the member's
    absent: dict[str, Any]
    first: Callable[[Any, Any], Any]

    def init(self, params: Any) -> Any:
        state = self.outside(start(self.tx, params), {name: jnp.zeros([], jnp.int32) for name in self.counters})
        return state if manual_axes() else self.first(state, params)  # parts of arrays don't know the whole's size

    def advance(self, flow: Flow, state: Any, extra: dict[str, Any]) -> Any:
        if self.kind is optax.EmptyState:  # what stands in its place goes through, as in Optax
            advance(self.tx, flow, self.inside(state), extra)
            return state
        check.require_state(state, self.kind)
        counts = {name: increment(jnp.asarray(getattr(state, name))) for name in self.counters}
        after = advance(self.tx, flow, self.inside(state), extra)
        return once_known(flow, after, lambda made: self.outside(made, counts))

    @property
    def counters(self) -> list[str]:
        """The fields of Optax's state that count updates, and that the member may lack."""
        fields: tuple[str, ...] = self.kind._fields
        return [name for name in fields if name in ("count", self.clock)]

    def inside(self, state: Any) -> Any:
        """The member's state from Optax's."""
        inside = dict(inner_state=self.row.inside) if self.row.inside else {}
        both = self.row.names(self.own, self.kind._fields) | inside
        fields = {name: getattr(state, theirs) for name, theirs in both.items()}
        made = self.row.read(self.tx, state._asdict(), None) if self.row.read else {}
        own = self.own(**self.absent | fields | made)
        if not self.schedules:
            return own
        numbers: Any = dict.fromkeys(self.schedules, NO_NUMBER)
        return ScheduledState(getattr(state, self.clock or both.get("count", "count")), numbers, own)

    def outside(self, state: Any, counts: dict[str, Any]) -> Any:
        """Optax's state from the member's."""
        if self.kind is optax.EmptyState:
            return NOTHING
        state = state.inner_state if self.schedules else state
        inside = {self.row.inside: state.inner_state} if self.row.inside else {}
        fields = self.row.fields_there(self.tx, state, self.kind._fields)
        absent = dict.fromkeys(self.kind._fields[: -len(self.kind._field_defaults) or None])  # of parameters None
        return self.kind(**absent | counts | fields | inside)


def once_known(flow: Flow, after: Any, outside: Callable[[Any], Any]) -> Any:
    """Optax's state of a member's next one, of which some may be promised."""
    if any(map(is_promise, jax.tree.leaves(after, is_leaf=is_promise))):
        return flow.promise(lambda: outside(keep_promises(after)))
    return outside(after)


def restate_schedule(tx: Transformation, name: str, kind: type[Any], theirs: str) -> Any:
    """The rule of a member with a schedule for its one hyperparameter: Optax keeps the count alone.

    `theirs` is Optax's name of it, under which it is read at that count.
    """
    rule = restate(tx, optax.EmptyState, OptaxRow(always(kind), scheduled=(name,)))
    if rule is not tx:
        rule.numbers, rule.counts = {theirs: ("count",)}, (("count",),)
    return rule


def stateless_member(tx: Transformation) -> Any:
    """The rule of a member without a state."""
    return restate(tx, optax.EmptyState)
