"""The state of Optax's counterpart of a transformation, put together as Optax would."""

from collections import OrderedDict
from typing import Any

import jax
import jax.numpy as jnp
import optax

from gradtx.checkpoints.arrangement import Arrangement, Negated, UnderMask, arrangement_of
from gradtx.checkpoints.counts import is_schedule
from gradtx.checkpoints.members import Member, is_opaque_sam, is_transparent, only_part, part_of, parts_in_series
from gradtx.checkpoints.rows import ABSENT_THERE, ROWS, is_theirs, kinds_of, kinds_of_scheduled_decay
from gradtx.core.check import is_none
from gradtx.core.combine import Series
from gradtx.core.walk import Node, parts_of, walk
from gradtx.optimizers.layerwise_rates import renormalize
from gradtx.transforms.decay import add_decayed_weights
from gradtx.transforms.rate import ScaleByLearningRateState, scale, turns_down
from gradtx.values.errors import Refusal
from gradtx.values.recipe import Controlled
from gradtx.wrappers.accumulate import AccumulateState
from gradtx.wrappers.sam import SamState
from gradtx.wrappers.schedule_free import ScheduleFreeState
from gradtx.wrappers.select import MaskedState, freeze, only, partition

EMPTY = optax.EmptyState()
STEP_UP = (EMPTY, (EMPTY, EMPTY))  # of Optax's sam, chain(contrib.normalize(), sgd(radius))
PartitionState: Any = optax.transforms.PartitionState


def counterpart_of(node: Node, arrangement: Arrangement | None = None) -> Any:
    """A state of Optax's with a place for each field, in which the own arrays stand for those to come."""
    if node.rule is None:  # a part of Optax's own
        return node.state
    arrangement = arrangement_of(node.tx) if arrangement is None else arrangement
    if is_transparent(node):
        own = counterpart_of(only_part(node), arrangement)
        return optax.contrib.SAMState(jnp.zeros([], jnp.int32), own, STEP_UP, None) if is_opaque_sam(node) else own
    if isinstance(node.rule, Series):
        rows = parts_in_series(node)
        if arrangement:
            return arrange_states(arrangement, [counterpart_of(x) for x in rows.values()])
        kept = {name: counterpart_of(x) for name, x in rows.items() if not isinstance(x.state, ABSENT_THERE)}
        return OrderedDict(kept) if node.rule.named else tuple(kept.values())
    own = of_member(Member(node))
    return arrange_states(arrangement, [own]) if arrangement else own


def arrange_states(arrangement: Arrangement, states: list[Any]) -> tuple[Any, ...]:
    """The states of Optax's parts, those without one among them."""

    def put(place: Any) -> Any:
        if place is None:
            return EMPTY
        if isinstance(place, UnderMask):
            state = put(place.place)
            return state if isinstance(state, optax.MaskedState) else optax.MaskedState(state)
        if isinstance(place, Negated):
            return put(place.place)
        return arrange_states(place, states) if isinstance(place, tuple) else states[place]

    return tuple([put(place) for place in arrangement])


def of_member(member: Member) -> Any:
    node, state = member.node, member.state
    assert node
    recipe, parts = member.recipe, parts_of(node.tx)
    if member.is_scheduled and not isinstance(state, optax.EmptyState):
        known = ROWS[type(state)].scheduled if type(state) in ROWS else ()
        if lacking := [x for x in node.state.hyperparams if x not in known or not is_schedule(member.tx.arguments[x])]:
            refuse_numbers(member, lacking[0])
    if recipe is partition:
        return PartitionState({label_of(name): masked_state(node, name) for name in parts})
    if recipe is only:
        return PartitionState({"train": masked_state(node, "tx"), "freeze": optax.MaskedState(EMPTY)})
    if isinstance(state, MaskedState):
        return masked_state(node, "tx")
    if type(state) not in ROWS:
        return of_measured(member)
    kind: Any = kinds_of(member.tx, state)[0]
    inside = wrapped_states(member)
    nothing = {name: None for name in kind._fields if getattr(state, name, 0) is None}  # a gradient that is not kept
    count = dict(count=jnp.zeros([], jnp.int32)) if "count" in kind._fields else {}  # of its own, or another's below
    return kind(**nothing | count | ROWS[type(state)].fields_there(member.tx, state, kind._fields), **inside)


def wrapped_states(member: Member) -> dict[str, Any]:
    """The states inside of a wrapper, by Optax's names of them."""
    node, state = member.node, member.state
    assert node
    name = ROWS[type(state)].inside
    if name is None:
        return {}
    own = counterpart_of(part_of(node, "tx"))
    if isinstance(state, ScheduleFreeState) and not turns_down(member.tx.tx):  # Optax has the rate behind it
        own = (*own, EMPTY) if type(own) is tuple else (own, EMPTY)
    beside = dict(skip_state=()) if isinstance(state, AccumulateState) else {}
    beside |= dict(adv_state=STEP_UP) if isinstance(state, SamState) else {}
    return {name: own} | beside


def of_measured(member: Member) -> Any:
    """What is in Optax without a state, but for the count of a schedule."""
    assert member.node
    state, whole = member.state, member.node.state
    if isinstance(state, ScaleByLearningRateState):
        rate = member.tx.learning_rate
        if isinstance(rate, Controlled):
            refuse_numbers(member, "learning_rate")
        return optax.ScaleByScheduleState(state.count) if callable(rate) else EMPTY
    recipe = member.recipe
    if recipe is add_decayed_weights:
        own = decay_state(whole.count) if member.is_scheduled else EMPTY
        return own if member.tx.mask is None else optax.MaskedState(own)
    if recipe is renormalize and member.is_scheduled:  # a decay there
        return decay_state(whole.count)
    if recipe is freeze:
        return optax.MaskedState(EMPTY)
    if recipe is scale and member.is_scheduled:
        return optax.ScaleByScheduleState(whole.count)
    if member.is_scheduled:
        refuse_numbers(member, next(iter(whole.hyperparams)))
    return state if is_theirs(state) else EMPTY


def decay_state(count: Any) -> Any:
    """Optax's state of a decay under a schedule, whose class is not public."""
    (kind,) = kinds_of_scheduled_decay(None)
    return kind(count)


def refuse_numbers(member: Member, name: str) -> Any:
    problem = f"{member.name} has its {name} in the state, which Optax has in that of an inject_hyperparams"
    remedy = "hand in a state of the counterpart, like=inject_hyperparams(…)(…).init(params)"
    raise Refusal(ValueError, f"{problem}; {remedy}")


def masked_state(node: Node, name: str) -> Any:
    """With Optax's mark in the places that are not meant."""
    inside = counterpart_of(part_of(node, name))
    return optax.MaskedState(jax.tree.map(lambda x: optax.MaskedNode() if x is None else x, inside, is_leaf=is_none))


def label_of(name: str) -> str:
    """Of a group of a partition: the number of its rule, or `default`."""
    return name.removeprefix("rules[").removesuffix("][1]")


def own_labels(tx: Any) -> tuple[str, ...]:
    """Those that are given to the groups of all partitions in a transformation, in their order."""
    names = [name for node in walk(tx) if getattr(node.tx, "recipe", None) is partition for name in parts_of(node.tx)]
    labels = dict.fromkeys(label_of(name) for name in names)
    return (*sorted(labels.keys() - {"default"}, key=int), "default")
