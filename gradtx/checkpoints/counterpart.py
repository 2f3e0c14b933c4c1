"""The state of Optax's counterpart of a transformation, put together as Optax would."""

from collections import OrderedDict
from typing import Any

import jax
import jax.numpy as jnp
import optax

from gradtx.checkpoints.members import Member, extras, is_transparent, part_of
from gradtx.checkpoints.rows import ABSENT_THERE, ROWS, is_theirs, kinds_of
from gradtx.core.check import is_none
from gradtx.core.combine import Series
from gradtx.core.walk import Node, parts_of, walk
from gradtx.transforms.decay import add_decayed_weights
from gradtx.transforms.rate import ScaleByLearningRateState, scale
from gradtx.values.errors import Refusal
from gradtx.values.recipe import Controlled
from gradtx.wrappers.accumulate import AccumulateState
from gradtx.wrappers.guard import SkipNonfiniteState
from gradtx.wrappers.mechanize import MechanizeState
from gradtx.wrappers.select import MaskedState, freeze, only, partition

EMPTY = optax.EmptyState()
PartitionState: Any = optax.transforms.PartitionState


def counterpart_of(node: Node) -> Any:
    """A state of Optax's with a place for each field, in which the own arrays stand for those to come."""
    parts = parts_of(node.tx)
    if node.rule is None:  # a part of Optax's own
        return node.state
    if isinstance(node.rule, Series):
        rows = {name: part_of(node, name) for name in parts}
        kept = {name: counterpart_of(x) for name, x in rows.items() if not isinstance(x.state, ABSENT_THERE)}
        return OrderedDict(kept) if node.rule.named else tuple(kept.values())
    if is_transparent(node):
        (before, behind), inside = extras(node.tx), counterpart_of(part_of(node, next(iter(parts))))
        if not before + behind:
            return inside
        several = inside if type(inside) is tuple else (inside,)
        return (EMPTY,) * before + several + (EMPTY,) * behind
    return of_member(Member(node))


def of_member(member: Member) -> Any:
    node, state = member.node, member.state
    assert node
    recipe, parts = member.recipe, parts_of(node.tx)
    if member.is_scheduled and not isinstance(state, optax.EmptyState):
        refuse_numbers(member, next(iter(node.state.hyperparams)))
    if recipe is partition:
        return PartitionState({label_of(name): masked_state(node, name) for name in parts})
    if recipe is only:
        return PartitionState({"train": masked_state(node, "tx"), "freeze": optax.MaskedState(EMPTY)})
    if isinstance(state, MaskedState):
        return masked_state(node, "tx")
    if type(state) not in ROWS:
        return of_measured(member)
    kind: Any = kinds_of(member.tx, state)[0]
    inside: dict[str, Any] = {}
    if isinstance(state, AccumulateState):
        inside = dict(inner_opt_state=counterpart_of(part_of(node, "tx")), skip_state=())
    elif isinstance(state, MechanizeState):
        inside = dict(base_optimizer_state=counterpart_of(part_of(node, "tx")))
    elif isinstance(state, SkipNonfiniteState):
        inside = dict(inner_state=counterpart_of(part_of(node, "tx")))
    return kind(**fields_in(state, kind), **inside)


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
    if recipe is freeze:
        return optax.MaskedState(EMPTY)
    if recipe is scale and member.is_scheduled:
        return optax.ScaleByScheduleState(whole.count)
    if member.is_scheduled:
        refuse_numbers(member, next(iter(whole.hyperparams)))
    return state if is_theirs(state) else EMPTY


def decay_state(count: Any) -> Any:
    """Optax's state of a decay under a schedule, whose class is not public."""
    kind: Any = type(optax.add_decayed_weights(optax.constant_schedule(0.0)).init(()))
    return kind(count)


def refuse_numbers(member: Member, name: str) -> Any:
    problem = f"{member.name} has its {name} in the state, which Optax has in that of an inject_hyperparams"
    remedy = "hand in a state of the counterpart, like=inject_hyperparams(…)(…).init(params)"
    raise Refusal(ValueError, f"{problem}; {remedy}")


def fields_in(state: Any, kind: type[Any]) -> dict[str, Any]:
    """The fields of Optax's state that have a counterpart here; a count of its own."""
    names = ROWS[type(state)].names(state, kind._fields)
    fields = {theirs: getattr(state, name) for name, theirs in names.items()}
    return (dict(count=jnp.zeros([], jnp.int32)) if "count" in kind._fields else {}) | fields


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
