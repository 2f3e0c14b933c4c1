"""The parts of a transformation beside Optax's states, in the order of both."""

from typing import NoReturn

import optax

from gradtx.checkpoints.members import MAYBE, Member
from gradtx.checkpoints.pieces import Piece, pieces_of
from gradtx.checkpoints.rows import ROWS, STATELESS_THERE, kinds_of
from gradtx.transforms.rate import ScaleByLearningRateState
from gradtx.values.errors import Refusal
from gradtx.wrappers.guard import SkipNonfiniteState
from gradtx.wrappers.select import MaskedState, only, partition


def line_up(members: list[Member], pieces: list[Piece]) -> list[tuple[Member, Piece]] | None:
    """The members, each with its piece; None where they are not the same parts in the same order."""
    if not members:
        return None if pieces else []
    head, *rest = members
    if pieces and is_for(pieces[0], head):
        behind = line_up(rest, pieces[1:])
        if behind is not None:
            return [(head, pieces[0]), *behind] if head is not MAYBE else behind
    return line_up(rest, pieces) if head is MAYBE else None


def is_for(piece: Piece, member: Member) -> bool:
    """Whether a state of Optax's may be that of a part."""
    state = member.state
    if member is MAYBE:
        return piece.is_empty
    if member.in_sam != (piece.sam is not None):
        return False
    if is_partition(member):
        return piece.is_of(optax.transforms.PartitionState)
    if isinstance(state, MaskedState):
        several = member.recipe is only and piece.is_of(optax.transforms.PartitionState)
        return several or piece.is_of(optax.MaskedState)
    if isinstance(state, SkipNonfiniteState) and piece.is_of(optax.MultiStepsState):
        return True  # which can leave out micro-batches by itself
    if isinstance(state, STATELESS_THERE):
        return piece.is_empty or (counts_by_itself(member) and set(unmasked(piece).fields) == {"count"})
    if type(state) in ROWS:
        return any(map(piece.is_of, kinds_of(member.tx, state)))
    return piece.is_of(type(state))


def counts_by_itself(member: Member) -> bool:
    """Whether it may have a schedule for its number, of which Optax keeps the count alone."""
    return member.is_scheduled or isinstance(member.state, ScaleByLearningRateState)


def unmasked(piece: Piece) -> Piece:
    """What is inside of a mask."""
    while piece.is_of(optax.MaskedState):
        (piece,) = pieces_of(piece.fields["inner_state"], {}, (*piece.keys, "inner_state"), piece.injected)
    return piece


def is_partition(member: Member) -> bool:
    return member.recipe is partition


def refuse_order(members: list[Member], pieces: list[Piece]) -> NoReturn:
    several = [x for x in members if x is not MAYBE and not x.is_absent_there]
    expected, found = ", ".join(map(title_of, several)), ", ".join(piece.name for piece in pieces)
    problem = f"the state has the parts {found or 'none'}, expected {expected or 'none'}"
    remedy = "give the transformation whose parts stand in this order"
    kept = [x for x in several if not isinstance(x.state, STATELESS_THERE)]
    if kept and line_up(kept, [x for x in pieces if not x.is_empty and set(unmasked(x).fields) != {"count"}]):
        remedy += "; where others keep nothing, take it over without them, and go on by to_flat and from_flat"
    raise Refusal(ValueError, f"{problem}; {remedy}")


def title_of(member: Member) -> str:
    """A part and what Optax has for it, in an error."""
    state = member.state
    name = f"{member.name} ({kinds_of(member.tx, state)[0].__name__})" if type(state) in ROWS else member.name
    return f"{name} in an opaque sam" if member.in_sam else name
