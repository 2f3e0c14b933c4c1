"""Schedules: their numbers, in float64."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx as gx
from tests.schedules.rows import ROWS

COUNTS = range(50)  # both sides of every joint in the rows
rows = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


def assert_close(values, expected):
    # Up to the rounding of cos and pow; where a value falls to zero, that of the terms which cancel there.
    np.testing.assert_allclose(values, expected, rtol=1e-14, atol=1e-16)


@rows
def test_equals_its_formula(row):
    for numbers in row.cases:
        schedule, expected = row.ours(*numbers), [row.formula(*numbers)(t) for t in COUNTS]
        assert_close(schedule(np.arange(50, dtype=np.int32)), expected)  # a vector
        assert_close(schedule(np.arange(50).reshape(10, 5)), np.reshape(expected, (10, 5)))
        for t in (0, 10):
            for count in (t, jnp.int32(t), np.int64(t)):
                value = schedule(count)
                assert (value.shape, value.dtype) == ((), jnp.float64)
                assert_close(value, expected[t])


@rows
def test_takes_a_count_between_two_steps(row):
    counts = np.arange(0, 50, 0.125)
    for numbers in row.cases:
        assert_close(row.ours(*numbers)(counts), [row.formula(*numbers)(t) for t in counts])


@rows
def test_is_traced_and_vmapped_over_its_numbers(row):
    counts = jnp.arange(50, dtype=jnp.int32)  # as in an optimizer's state
    expected = [[row.formula(*numbers)(t) for t in COUNTS] for numbers in row.cases]
    traced = jax.jit(lambda numbers: row.ours(*numbers)(counts))
    as_argument = jax.jit(lambda schedule: schedule(counts))
    for numbers, wanted in zip(row.cases, expected, strict=True):
        assert_close(traced(numbers), wanted)
        assert_close(as_argument(row.ours(*numbers)), wanted)
    both = jax.tree.map(lambda *x: np.array(x), *row.cases)
    assert_close(jax.vmap(lambda *numbers: row.ours(*numbers)(counts))(*both), expected)


@pytest.mark.parametrize(
    ("schedule", "numbers"),
    [
        (gx.linear(1.0, 0.5, 4), {0: 1.0, 2: 0.75, 4: 0.5, 5: 0.5, 2**31 - 1: 0.5}),
        (gx.cosine(1.0, 4), {0: 1.0, 4: 0.0, 5: 0.0, 2**31 - 1: 0.0}),
        (gx.cosine(1.0, 4, floor=0.1), {0: 1.0, 4: 0.1, 5: 0.1}),
        (gx.warmup(1.0, 4), {0: 0.25, 2: 0.75, 3: 1.0, 4: 1.0, 2**31 - 1: 1.0}),
        (gx.exponential(1.0, 0.5, 3), {0: 1.0, 3: 0.5, 6: 0.25, 30: 2.0**-10}),
        (gx.exponential(1.0, 0.5, 3, staircase=True), {0: 1.0, 2: 1.0, 3: 0.5, 5: 0.5, 6: 0.25}),
        (gx.warmup(1.0, 4).then(gx.cosine(1.0, 6), at=4), {3: 1.0, 4: 1.0, 10: 0.0, 11: 0.0}),
        (gx.linear(1.0, 0.5, 4).then(gx.constant(3.0), at=4), {2: 0.75, 3: 0.625, 4: 3.0}),
        (gx.constant(1.0).then(0.5, at=4).then(0.25, at=5), {3: 1.0, 4: 0.5, 5: 0.25}),
        (gx.polynomial(0.3, 0.1, 4, power=0.5), {0: 0.3, 4: 0.1, 5: 0.1, 2**31 - 1: 0.1}),
        (gx.power(1.0, 4.0, -1.0), {0: 1.0, 4: 0.5, 12: 0.25}),
        (gx.inverse_time(1.0, 0.25), {0: 1.0, 4: 0.5, 12: 0.25}),
        (gx.inverse_sqrt(1.0), {0: 1.0, 1: 1.0, 4: 0.5, 16: 0.25}),
        (gx.step(1.0, 0.5, 30), {29: 1.0, 30: 0.5, 31: 0.5, 59: 0.5, 60: 0.25}),
        (gx.piecewise_constant((3, 5), (0.3, 0.2, 0.1)), {2: 0.3, 3: 0.2, 4: 0.2, 5: 0.1, 2**31 - 1: 0.1}),
        (gx.piecewise_constant((), (0.3,)), {0: 0.3, 2**31 - 1: 0.3}),
        (gx.warmup_stable_decay(0.3, 20, 4, 8, floor=0.1), {3: 0.3, 4: 0.3, 12: 0.3, 16: 0.2, 20: 0.1, 21: 0.1}),
        (gx.warmup_stable_decay(1.0, 8, 4, 4), {0: 0.25, 3: 1.0, 4: 1.0, 5: 0.75, 7: 0.25, 8: 0.0}),
        (gx.one_cycle(1.0, 16, 0.5, 0.25, 0.5, 0.125), {0: 0.5, 7: 0.9375, 8: 1.0, 9: 0.875, 12: 0.5, 16: 0.125}),
        (gx.one_cycle(1.0, 16, 0.5, 0.5, 0.5, 0.125), {8: 1.0, 15: 0.5625, 16: 0.125, 17: 0.125}),  # nothing is left
        (gx.one_cycle(1.0, 16, 0.0, 0.0, 0.5, 0.0), {0: 0.5, 8: 0.25, 16: 0.0}),
        (gx.one_cycle_momentum(20, cosine=True), {0: 0.95, 9: 0.85, 18: 0.95, 2**31 - 1: 0.95}),
        (gx.cyclic(0.1, 0.3, 4), {0: 0.1, 4: 0.3, 8: 0.1, 12: 0.3, 2**30: 0.1, 2**30 + 4: 0.3}),
        (gx.cyclic(0.0, 1.0, 4, decay=0.5), {3: 0.75, 4: 1.0, 5: 0.75, 7: 0.25, 8: 0.0, 9: 0.125, 12: 0.5}),
        (gx.cosine_restarts(0.3, 3, floor=0.1), {0: 0.3, 3: 0.3, 6: 0.3, 3 * 2**28: 0.3}),
        (gx.cosine_restarts(1.0, 3, factor=2, decay=0.5), {0: 1.0, 3: 0.5, 9: 0.25, 21: 0.125}),
        (gx.cosine_restarts(1.0, 1, factor=2), {0: 1.0, 1: 1.0, 3: 1.0, 2**31 - 1: 1.0}),
        (gx.per_epoch(gx.linear(1.0, 0.0, 4), 10), {0: 1.0, 9: 1.0, 10: 0.75, 39: 0.25, 40: 0.0, 99: 0.0}),
        (gx.per_epoch(gx.linear(1.0, 0.0, 4), 10, continuous=True), {0: 1.0, 5: 0.875, 10: 0.75, 40: 0.0}),
    ],
    ids=repr,
)
def test_exact_numbers_at_the_joints(schedule, numbers):
    assert {t: float(schedule(t)) for t in numbers} == numbers


@rows
def test_gradients_are_finite(row):
    for numbers in row.cases:
        floats = jax.tree.map(float, numbers)
        slopes = jax.jacobian(lambda x: row.ours(*x)(jnp.arange(50)))(floats)
        assert all(np.isfinite(slope).all() for slope in jax.tree.leaves(slopes))
        assert any(slope.any() for slope in jax.tree.leaves(slopes))


@pytest.mark.parametrize(
    ("make", "number", "slope"),
    [
        (lambda x: gx.linear(x, 0.0, 4)(1), 3.0, 0.75),
        (lambda x: gx.linear(x, 0.0, 4)(9), 3.0, 0.0),
        (lambda x: gx.linear(0.0, x, 4)(9), 3.0, 1.0),
        (lambda x: gx.exponential(1.0, x, 2)(6), 2.0, 12.0),  # of x³
        (lambda x: gx.cosine(1.0, 4, floor=x)(2), 3.0, 0.5),
        (lambda x: gx.warmup(x, 4)(0), 3.0, 0.25),
        (lambda x: gx.warmup(1.0, x)(0), 4.0, -1 / 16),
        (lambda x: gx.polynomial(1.0, 0.0, 4, x)(2), 2.0, math.log(0.5) / 4),
        (lambda x: gx.polynomial(1.0, 0.0, x, 0.5)(9), 4.0, 0.0),
        (lambda x: gx.power(1.0, 4.0, x)(4), -1.0, math.log(2) / 2),
        (lambda x: gx.inverse_time(1.0, x)(4), 0.25, -1.0),
        (lambda x: gx.inverse_sqrt(1.0, x)(4), 3.0, 0.5),
        (lambda x: gx.step(1.0, x, 2)(7), 2.0, 12.0),
        (lambda x: gx.piecewise_constant((3,), (1.0, x))(3), 3.0, 1.0),
        (lambda x: gx.piecewise_constant((3,), (x, 1.0))(3), 3.0, 0.0),
        (lambda x: gx.warmup_stable_decay(1.0, 20, 4, x)(16), 8.0, -4 / 64),
        (lambda x: gx.one_cycle(1.0, 16, x, 0.25, 0.5)(4), 0.5, -0.5),  # 1/2 + 1/2 · 4/16r
        (lambda x: gx.one_cycle_momentum(16, 0.9, x, 0.5, 0.25)(4), 0.8, 0.5),
        (lambda x: gx.cyclic(0.0, 1.0, 4, x)(18), 0.5, 0.5),  # of x²/2
        (lambda x: gx.cosine_restarts(1.0, 2, 2, x)(10), 0.5, 0.5),  # of x²/2
        (lambda x: gx.cosine_restarts(1.0, x, 2)(4), 2.0, math.pi / 4),  # of sin²(π/2 · (3x - 4) / 2x)
        (lambda x: gx.per_epoch(gx.linear(x, 0.0, 4), 10)(19), 3.0, 0.75),
        (lambda x: gx.constant(1.0).then(gx.exponential(x, 0.5, 1), at=3)(4), 3.0, 0.5),
        (lambda x: (gx.constant(x) * gx.constant(x) + x)(0), 3.0, 7.0),
    ],
)
def test_gradient_with_respect_to_a_number(make, number, slope):
    assert math.isclose(jax.grad(make)(number), slope, rel_tol=1e-14)
