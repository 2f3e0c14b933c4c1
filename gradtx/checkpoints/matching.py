"""Which part of gradtx's goes on from which state of Optax's."""

from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

import jax
import optax

from gradtx.checkpoints.conversions import require_no_memory_uphill
from gradtx.checkpoints.fit import source_of
from gradtx.checkpoints.injected import require_same_numbers
from gradtx.checkpoints.labels import Ambiguity, Choices, assign, matches_of, rival_of
from gradtx.checkpoints.members import MAYBE, Member
from gradtx.checkpoints.order import is_partition, line_up, refuse_order
from gradtx.checkpoints.pieces import Orders, Piece, fields_of, pieces_of
from gradtx.checkpoints.rows import COUNTERS, ROWS, STATELESS_THERE, is_theirs, kinds_of, require_same_squares
from gradtx.core.rule import Keys
from gradtx.core.walk import parts_of
from gradtx.transforms.plateau import ReduceOnPlateauState
from gradtx.transforms.rate import turns_down
from gradtx.transforms.stopping import EarlyStoppingState
from gradtx.values.errors import Refusal
from gradtx.values.printing import excerpt
from gradtx.wrappers.accumulate import AccumulateState
from gradtx.wrappers.guard import SkipNonfiniteState
from gradtx.wrappers.sam import SamState
from gradtx.wrappers.schedule_free import ScheduleFreeState
from gradtx.wrappers.select import MaskedState


class Match(NamedTuple):
    """A part, and the state that it has in Optax."""

    member: Member
    piece: Piece
    steps: Any  # the updates done so far, as Optax's state or one beside it counts them; None where none does
    own_steps: Any  # as gradtx's do


class Level(NamedTuple):
    """Where one looks: states of Optax's, the way to them, and the updates that are counted around."""

    state: Any
    keys: Keys = ()
    steps: Any = None
    own_steps: Any = None


class Guide(NamedTuple):
    """What holds everywhere in a state."""

    orders: Orders
    labels: tuple[Any, ...] | None  # of Optax's groups, in the order of those here
    apply: Callable[[list[Match]], Any]  # what comes of a part of the matches


def match_parts(members: list[Member], level: Level, guide: Guide) -> list[Match]:
    """The parts beside their states, those inside of wrappers too."""
    pieces = list(pieces_of(level.state, guide.orders, level.keys))
    for member in members:
        require_counterpart(member)
    rows = line_up([x for x in members if not x.is_absent_there], pieces)
    if rows is None:
        refuse_order(members, pieces)
    steps, own_steps = steps_of(pieces), steps_of_members(members)
    level = level._replace(
        steps=level.steps if steps is None else steps, own_steps=level.own_steps if own_steps is None else own_steps
    )
    matches: list[Match] = []
    for member, piece in rows:
        if piece.sam:
            require_no_memory_uphill(piece.sam.fields)
        matches.append(Match(member, piece, level.steps, level.own_steps))
        matches += match_inside(member, piece, level, guide)
    alone = [x for x in members if x.is_absent_there]
    return matches + [Match(x, NOWHERE, level.steps, level.own_steps) for x in alone]


NO_STEPS = (AccumulateState, EarlyStoppingState, ReduceOnPlateauState)  # whose `count` is of something else
NOWHERE = Piece((), None, {}, None)


def require_counterpart(member: Member) -> None:
    state = member.state
    known = member is MAYBE or member.is_absent_there or isinstance(state, (*ROWS, *STATELESS_THERE, MaskedState))
    if not known and not is_partition(member) and not is_theirs(state):
        raise Refusal(
            ValueError,
            f"{member.name} has no known counterpart in Optax; leave it out, and start it anew with init",
        )
    if type(state) in ROWS:
        kinds_of(member.tx, state)  # which is an error where its fields mean something else there
        require_same_squares(member.name, state)


# ---- counts ----


def steps_of(pieces: list[Piece]) -> Any:
    """The number of updates that one of these states has counted."""
    for piece in pieces:
        if piece.injected:
            return piece.injected.fields["count"]
        if (count := count_in(piece)) is not None:
            return count
        inside = None
        if piece.is_of(optax.MaskedState):
            inside = steps_of(list(pieces_of(piece.fields["inner_state"], {})))
        elif piece.is_of(optax.transforms.PartitionState):
            groups = [x for group in piece.fields["inner_states"].values() for x in pieces_of(group, {})]
            inside = steps_of(groups)
        if inside is not None:
            return inside
    return None


def count_in(piece: Piece) -> Any:
    """The number of updates that a state has counted by itself."""
    if piece.is_of(optax.contrib.ReduceLROnPlateauState):  # whose count is of values
        return None
    name, first = next((x for kind, x in COUNTERS.items() if piece.is_of(kind)), ("count", 0))
    return piece.fields[name] - first if name in piece.fields else None


def steps_of_members(members: list[Member]) -> Any:
    for member in members:
        if member.is_scheduled and member.node:
            return member.node.state.count
        state = member.state
        if isinstance(state, MaskedState) or is_partition(member):
            inside = [x for name in parts_of(member.tx) for x in member.inside(name)]
            count = steps_of_members(inside)
        else:
            count = None if isinstance(state, NO_STEPS) else getattr(state, "count", None)
        if count is not None and not callable(count):  # a tuple has a method of this name
            return count
    return None


# ---- inside of wrappers ----


def match_inside(member: Member, piece: Piece, level: Level, guide: Guide) -> list[Match]:
    state = member.state

    def at(*names: str, **others: Any) -> Level:
        inside = piece.state
        for name in names:
            inside = fields_of(inside)[name]
        return level._replace(state=inside, keys=(*piece.keys, *names), **others)

    if piece.is_of(optax.transforms.PartitionState) and (is_partition(member) or isinstance(state, MaskedState)):
        groups = {label: at("inner_states", label, "inner_state") for label in piece.fields["inner_states"]}
        return match_groups(member, groups, guide)
    if isinstance(state, MaskedState):
        return match_parts(member.inside("tx"), at("inner_state"), guide)
    row = ROWS.get(type(state))
    if row is None or row.inside is None:
        return []
    if isinstance(state, SamState):  # which does most updates without it
        return match_parts(member.inside("tx"), at(row.inside, steps=None, own_steps=None), guide)
    if isinstance(state, SkipNonfiniteState):
        names = () if piece.is_of(optax.MultiStepsState) else (row.inside,)
        return match_parts(member.inside("tx"), at(*names, steps=None, own_steps=None), guide)
    if isinstance(state, AccumulateState):
        counts = dict(steps=piece.fields["gradient_step"], own_steps=state.count)
        return match_parts(member.inside("tx"), at(row.inside, **counts), guide)
    has_rate = isinstance(state, ScheduleFreeState) and not turns_down(member.tx.tx)
    behind = [MAYBE, MAYBE] if has_rate else []  # Optax's `sgd` in the place of the rate
    return match_parts([*member.inside("tx"), *behind], at(row.inside), guide)


def match_groups(member: Member, groups: dict[Any, Level], guide: Guide) -> list[Match]:
    names = list(parts_of(member.tx))
    for one in [one for name in names for one in member.inside(name)]:
        require_counterpart(one)
    given = labels_given(member, groups, guide)
    choices = {
        name: choices_of(member, name, groups, guide)
        if given is None
        else {given[name]: match_parts(member.inside(name), groups[given[name]], guide)}
        for name in names
    }
    needed = frozenset(label for label, level in groups.items() if jax.tree.leaves(level.state))
    assigned = assign(choices, needed)
    if assigned is None:
        refuse_groups(member, choices, groups, needed)
    if rival_of(choices, needed, assigned):
        agreeing = {
            name: {x: m for x, m in several.items() if has_same_numbers(m)} for name, several in choices.items()
        }
        if found := assign(agreeing, needed):
            choices, assigned = agreeing, found
        if other := rival_of(choices, needed, assigned, guide.apply):
            name = next(name for name in names if other[name] != assigned[name])
            problem = f"{name} of {member.name} may have the label {assigned[name]!r} or {other[name]!r} in Optax"
            remedy = f"give the labels in the order of its groups, labels={tuple(assigned.values())}, say"
            raise Ambiguity(ValueError, f"{problem}, and neither arrays nor numbers tell which; {remedy}")
    return matches_of(choices, assigned)


def labels_given(member: Member, groups: dict[Any, Level], guide: Guide) -> dict[str, Any] | None:
    """The labels of the groups as the user has them, where these are meant."""
    names = list(parts_of(member.tx))
    if guide.labels is None:
        return None
    own = [label for label in guide.labels if label in groups]
    if len(own) == len(names):
        return dict(zip(names, own, strict=True))
    if not is_partition(member):
        return None
    problem = f"labels has {', '.join(map(repr, own)) or 'none'} of the state's groups {', '.join(map(repr, groups))}"
    remedy = f"give one for each of the {len(names)} groups of {member.name}, the default's last"
    raise Refusal(ValueError, f"{problem}; {remedy}")


def choices_of(member: Member, name: str, groups: dict[Any, Level], guide: Guide) -> dict[Any, list[Match]]:
    """The labels whose states are of the parts of a group and of its arrays."""
    found: dict[Any, list[Match]] = {}
    for label, level in groups.items():
        try:
            matches = match_parts(member.inside(name), level, guide)
        except Ambiguity:
            raise
        except Refusal:
            continue
        if all(map(is_of_same_arrays, matches)):
            found[label] = matches
    return found


def has_same_numbers(matches: list[Match]) -> bool:
    try:
        for member, piece, *_ in matches:
            if piece.injected:
                require_same_numbers(member, piece.injected)
    except Refusal:
        return False
    return True


def refuse_groups(member: Member, choices: Choices, groups: dict[Any, Level], needed: frozenset[Any]) -> NoReturn:
    """Say which group has none in Optax, or which of Optax's is left."""
    names, used = list(choices), dict[str, Any]()
    for i, name in enumerate(names, 1):
        found = assign({x: choices[x] for x in names[:i]})
        if found is None:
            left = ", ".join(repr(label) for label in groups if label not in used.values()) or "left"
            problem = f"none of the groups {left} has the parts and the arrays of {name}"
            raise Refusal(ValueError, f"{problem}, {excerpt(parts_of(member.tx)[name].tx)}")
        used = found
    more = ", ".join(repr(label) for label in groups if label in needed and label not in used.values())
    problem = f"the state has the groups {more} beside those of {member.name}"
    raise Refusal(ValueError, f"{problem}; give a transformation with as many")


def is_of_same_arrays(match: Match) -> bool:
    state, fields = match.member.state, match.piece.fields
    if type(state) not in ROWS:
        return True
    for name, theirs in ROWS[type(state)].names(state, tuple(fields)).items():
        own, other = (source_of(x, name).arrays.keys() for x in (getattr(state, name), fields[theirs]))
        if own != other:
            return False
    return True
