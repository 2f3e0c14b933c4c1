"""Every public transformation and schedule, once or once per form, with what the laws have to know of it."""

from typing import Any

import pytest

import gradtx as gx
from tests.catalogue.blocks import BLOCKS as OWN_BLOCKS
from tests.catalogue.distance_free import DISTANCE_FREE
from tests.catalogue.front import FRONT
from tests.catalogue.frontier import FRONTIER
from tests.catalogue.kin import KIN
from tests.catalogue.matrices import MATRICES
from tests.catalogue.member import Member
from tests.catalogue.optimizers import OPTIMIZERS
from tests.catalogue.over_any import OVER_ANY
from tests.catalogue.precision import PRECISION
from tests.catalogue.schedules import SCHEDULES as SCHEDULES
from tests.catalogue.weights import WEIGHTS
from tests.catalogue.wrappers import WRAPPERS

TRANSFORMATIONS = [
    *OWN_BLOCKS,
    *FRONT,
    *WEIGHTS,
    *OPTIMIZERS,
    *KIN,
    *FRONTIER,
    *DISTANCE_FREE,
    *WRAPPERS,
    *OVER_ANY,
    *MATRICES,
    *PRECISION,
]

FIRST = {member.value.recipe: member for member in reversed(TRANSFORMATIONS)}.values()  # of each factory


def marks(member: Member) -> list[Any]:
    """What compiles for long, and further members of one factory, need not run on every version of JAX."""
    return [pytest.mark.slow] * (member.slow or member.once or member not in FIRST)


MEMBERS = [pytest.param(member, id=repr(member.tx), marks=marks(member)) for member in TRANSFORMATIONS]


def is_optimizer(member: Member) -> bool:
    """Whether it is a chain of other members."""
    recipe = member.value.recipe
    return isinstance(recipe, gx.composition) and recipe.__module__.startswith(("gradtx.optimizers", "gradtx.matrices"))


# For what a wrapper does to every rule, whatever its options: to a chain it does it part by part.
BLOCKS = [
    param
    for param, member in zip(MEMBERS, TRANSFORMATIONS, strict=True)
    if (member in FIRST or (member.value.recipe is gx.masked and member.factored))
    and not member.once
    and not is_optimizer(member)
]
