"""A soak: many steps of a wrapped chain with NaN, spikes, restarts, other schedules and other meshes among them.
GRADTX_TESTS_SOAK=20000 makes it that long.
"""

import os

import pytest

from tests.hard_days.plan import FORMS, PHASES
from tests.hard_days.soak import CODES, soak

STEPS = int(os.environ.get("GRADTX_TESTS_SOAK", 2000))

pytestmark = pytest.mark.slow


def test_nothing_is_lost_and_nothing_grows():
    restarts = 2 * len(PHASES) if STEPS < 20_000 else 10 * len(PHASES)
    found = soak(STEPS, restarts)
    print(found)
    assert (found.steps, found.restarts) == (STEPS, restarts)
    assert found.left_out > 0.02 * STEPS
    assert found.programs == FORMS  # one for each mesh and kind of schedule, however often it comes back
    assert found.late == 0
    assert found.arrays[0] == found.arrays[1]
    assert found.memory[1] - found.memory[0] < 8  # MiB
    assert max(found.worst["float64"], found.worst["float64" + CODES]) < 1e-12
    assert found.worst["float32"] < 1e-4
    # Where float32 and float64 lie on two sides of a tie, they are rounded to neighbours, which are 1/128 apart.
    assert found.worst["float32" + CODES] < 1 / 64
