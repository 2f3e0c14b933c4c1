"""The numbers that Optax keeps in the state of an `inject_hyperparams`."""

from gradtx.checkpoints.counts import require_same_number
from gradtx.checkpoints.members import Member
from gradtx.checkpoints.pieces import Piece

OTHER_NAMES = {("scale_by_momentum", "decay"): "momentum", ("scale_by_adadelta", "decay"): "rho"}
ONE_MEANING = ("learning_rate", "b1", "b2", "weight_decay")


def name_in_optax(member: Member, name: str) -> str:
    return OTHER_NAMES.get((member.name, name), name)


def shared_numbers(member: Member, injected: Piece) -> dict[str, str]:
    """The hyperparameters of a part that an optimizer of Optax's has in its state, with their names there."""
    pairs = {name: name_in_optax(member, name) for name in member.tx.recipe.ranges}
    known = injected.fields["hyperparams"]
    return {
        k: x
        for k, x in pairs.items()
        if x in known and (x != k or x in ONE_MEANING or callable(member.tx.arguments[k]))
    }


def require_same_numbers(member: Member, injected: Piece) -> None:
    """Refuse a state with other numbers than those of the transformation."""
    for name, other in shared_numbers(member, injected).items():
        require_same_number(member, name, injected.fields["hyperparams"][other], other)
