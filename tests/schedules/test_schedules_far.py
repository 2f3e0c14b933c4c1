"""Schedules after very many steps in float32, whose whole numbers end at 2²⁴."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx as gx
from tests.reference import schedules as formulas
from tests.schedules.rows import FAR, ROWS

pytestmark = [pytest.mark.usefixtures("float32"), pytest.mark.slow]  # formulas do not turn on versions
LAST = 2**31 - 1
COUNTS = [0, 1, 1000, 10**6, 2**24 - 1, 2**24 + 1, FAR // 4 - 1, FAR // 2 + 1, *range(FAR - 5, FAR + 5), LAST - 1, LAST]


@jax.jit
def traced(schedule, counts):
    return schedule(counts)


def assert_close(values, expected):
    """To 1e-6 of the value and 1e-7 of the largest one; float32 rounds to 6e-8."""
    assert values.dtype == jnp.float32
    np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-7 * np.abs(expected).max())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_no_drift(row):
    """Around 2³⁰ and on both sides of every joint, with plain numbers and with traced ones."""
    for numbers in row.far:
        near = {joint + side for joint in row.joints(*numbers) for side in (-1, 0, 1)}
        counts = sorted({count for count in near.union(COUNTS) if 0 <= count <= LAST})
        expected = np.array([row.formula(*numbers)(count) for count in counts])
        schedule, padded = row.ours(*numbers), np.resize(np.array(counts, np.int32), 128)  # one length: one compilation
        assert len(counts) <= 128
        for values in (schedule(padded), traced(schedule, padded)):
            assert_close(values[: len(counts)], expected)


@pytest.mark.parametrize(
    ("schedule", "formula"),
    [
        (lambda: gx.exponential(1.0, 1 - 4e-9, 1), formulas.exponential(1.0, 1 - 4e-9, 1)),  # which is 1 in float32
        (lambda: gx.step(1.0, 0.999, 999_983), formulas.step(1.0, 0.999, 999_983)),
        (lambda: gx.cyclic(0.0, 1.0, 7, decay=1 - 4e-9), formulas.cyclic(0.0, 1.0, 7, 1 - 4e-9)),
    ],
    ids=["exponential", "step", "cyclic"],
)
def test_a_plain_factor_near_one_does_not_drift(schedule, formula):
    assert_close(schedule()(jnp.array(COUNTS, jnp.int32)), np.array([formula(count) for count in COUNTS]))


def test_a_period_restarts_at_its_step_and_at_no_other():
    counts = jnp.arange(FAR - 1000, FAR + 1000)
    restarts = np.flatnonzero(gx.cosine_restarts(1.0, 7)(counts) == 1.0)
    np.testing.assert_array_equal(restarts, np.flatnonzero(np.asarray(counts) % 7 == 0))
    tops = np.flatnonzero(gx.cyclic(0.0, 1.0, 7)(counts) == 1.0)
    np.testing.assert_array_equal(tops, np.flatnonzero(np.asarray(counts) % 14 == 7))
    jumps = np.flatnonzero(np.diff(gx.per_epoch(lambda epoch: epoch % 2, 7)(counts)))
    np.testing.assert_array_equal(jumps, np.flatnonzero(np.asarray(counts)[1:] % 7 == 0))
