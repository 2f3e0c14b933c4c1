"""Schedules: their numbers, in float64."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx as gx
from tests.schedules import ROWS

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
        (lambda x: gx.constant(1.0).then(gx.exponential(x, 0.5, 1), at=3)(4), 3.0, 0.5),
        (lambda x: (gx.constant(x) * gx.constant(x) + x)(0), 3.0, 7.0),
    ],
)
def test_gradient_with_respect_to_a_number(make, number, slope):
    assert math.isclose(jax.grad(make)(number), slope, rel_tol=1e-14)
