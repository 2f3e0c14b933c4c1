"""The laws over every member that has something to hold, in bfloat16 and in blocks of 8 bits: an eleventh of all pairs,
so that each law has some of the members and each member some of the laws, each member in one of the two, and no chains
of other members; with GRADTX_TESTS_ALL_LAWS=1 all of them.
"""

import os

import pytest

from gradtx.testing import LAWS, every_hyperparameter_matters, hyperparameter_kinds_agree
from tests.catalogue import FIRST, TRANSFORMATIONS, is_optimizer
from tests.catalogue.held import held_members

pytestmark = pytest.mark.slow
ALL = os.environ.get("GRADTX_TESTS_ALL_LAWS") == "1"
TOGETHER, EVERY = 3, 1 if ALL else 11  # neighbours among the laws share traces and programs
MEANT = [member for member in TRANSFORMATIONS if ALL or (member in FIRST and not is_optimizer(member))]
PAIRS = list(zip(*[iter(held_members(MEANT))] * 2, strict=True))  # of each the two codecs
HELD = [one for k, pair in enumerate(PAIRS) for one in (pair if ALL else pair[k % 2 : k % 2 + 1])]
# What numbers do, a member alone shows: codes hide little changes, and turn the last digit into another code.
OWN = [law for law in LAWS if law not in (every_hyperparameter_matters, hyperparameter_kinds_agree)]
DUE = [
    pytest.param(law, member, id=f"{law.name}-{member.tx!r}")
    for j, member in enumerate(HELD)
    for i, law in enumerate(OWN)
    if (i // TOGETHER + j) % EVERY == 0 and not law.excuse(member)
]


@pytest.mark.parametrize(("law", "member"), DUE)
def test_law(law, member):
    law(member)


def test_each_law_has_members_and_each_member_laws():
    pairs = [param.values for param in DUE]
    excused = {law for law in OWN if all(map(law.excuse, HELD))}
    assert {law for law, _ in pairs} == set(OWN) - excused
    assert {law.name for law in excused} == {"state_is_at_least_float32", "parts_make_the_whole"}
    assert {member for _, member in pairs} == set(HELD)
    assert len(HELD) > 40
