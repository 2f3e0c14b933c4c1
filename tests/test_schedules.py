"""Schedules: their numbers, and what makes them values."""

import math
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx as gx
from tests.reference import schedules as formulas


def halved(count):
    """A plain function in place of a schedule."""
    return 0.5 * count


# A factory of ours, the formula, and the numbers of two schedules: every row is also traced and vmapped over them.
ROWS = [
    ("constant", gx.constant, formulas.constant, [(0.3,), (0.7,)]),
    ("linear", gx.linear, formulas.linear, [(1.0, 0.1, 10), (0.0, 0.5, 7)]),
    ("exponential", gx.exponential, formulas.exponential, [(0.1, 0.95, 3), (2.0, 1.1, 7)]),
    (
        "staircase",
        lambda *numbers: gx.exponential(*numbers, staircase=True),
        lambda *numbers: formulas.exponential(*numbers, staircase=True),
        [(0.1, 0.95, 3), (2.0, 1.1, 7)],
    ),
    ("cosine", gx.cosine, formulas.cosine, [(1.0, 10, 0.0), (0.3, 17, 0.1)]),
    ("warmup", gx.warmup, formulas.warmup, [(0.3, 10), (0.7, 1)]),
    (
        "then",
        lambda a, b, n: gx.warmup(a, n).then(gx.cosine(a, 9, b), at=n).then(gx.constant(b), at=2 * n),
        lambda a, b, n: formulas.then(
            formulas.then(formulas.warmup(a, n), formulas.cosine(a, 9, b), n), formulas.constant(b), 2 * n
        ),
        [(0.3, 0.1, 5), (0.7, 0.0, 12)],
    ),
    (
        "then inside then",
        lambda a, n: gx.constant(a).then(gx.linear(a, 0.0, n).then(gx.warmup(a, n), at=n), at=n),
        lambda a, n: formulas.then(
            formulas.constant(a), formulas.then(formulas.linear(a, 0.0, n), formulas.warmup(a, n), n), n
        ),
        [(0.3, 5), (0.7, 12)],
    ),
    (
        "times",
        lambda a, n: gx.warmup(a, n) * gx.exponential(1.0, 0.9, n),
        lambda a, n: formulas.times(formulas.warmup(a, n), formulas.exponential(1.0, 0.9, n)),
        [(0.3, 5), (0.7, 12)],
    ),
    (
        "plus",
        lambda a, n: gx.constant(a) + gx.cosine(1.0, n),
        lambda a, n: formulas.plus(formulas.constant(a), formulas.cosine(1.0, n)),
        [(0.3, 5), (0.7, 12)],
    ),
    (
        "numbers on the left",
        lambda a, n: 2.0 * (a + gx.linear(1.0, 0.0, n)),
        lambda a, n: formulas.plus(formulas.constant(2 * a), formulas.linear(2.0, 0.0, n)),
        [(0.3, 5), (0.7, 12)],
    ),
    (
        "numbers on the right",
        lambda a, n: (gx.linear(1.0, 0.0, n) + a) * 2.0,
        lambda a, n: formulas.plus(formulas.linear(2.0, 0.0, n), formulas.constant(2 * a)),
        [(0.3, 5), (0.7, 12)],
    ),
    (
        "plain functions",
        lambda a, n: halved + gx.constant(a).then(halved, at=n) * halved,
        lambda a, n: formulas.plus(halved, formulas.times(formulas.then(formulas.constant(a), halved, n), halved)),
        [(0.3, 5), (0.7, 12)],
    ),
]

COUNTS = range(50)  # both sides of every boundary in the rows
rows = pytest.mark.parametrize(("ours", "formula", "cases"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])


def assert_close(values, expected):
    # Up to the rounding of cos and pow; where a value falls to zero, that of the terms which cancel there.
    np.testing.assert_allclose(values, expected, rtol=1e-14, atol=1e-16)


@rows
def test_equals_its_formula(ours, formula, cases):
    for numbers in cases:
        schedule, expected = ours(*numbers), [formula(*numbers)(t) for t in COUNTS]
        assert_close(schedule(np.arange(50, dtype=np.int32)), expected)  # a vector
        assert_close(schedule(np.arange(50).reshape(10, 5)), np.reshape(expected, (10, 5)))
        for t in (0, 10):
            for count in (t, jnp.int32(t), np.int64(t)):
                value = schedule(count)
                assert (value.shape, value.dtype) == ((), jnp.float64)
                assert_close(value, expected[t])


@rows
def test_is_traced_and_vmapped_over_its_numbers(ours, formula, cases):
    counts = jnp.arange(50, dtype=jnp.int32)  # as in an optimizer's state
    expected = [[formula(*numbers)(t) for t in COUNTS] for numbers in cases]
    traced = jax.jit(lambda numbers: ours(*numbers)(counts))
    as_argument = jax.jit(lambda schedule: schedule(counts))
    for numbers, wanted in zip(cases, expected, strict=True):
        assert_close(traced(numbers), wanted)
        assert_close(as_argument(ours(*numbers)), wanted)
    both = tuple(map(np.array, zip(*cases, strict=True)))
    assert_close(jax.vmap(lambda *numbers: ours(*numbers)(counts))(*both), expected)


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


# ---- float32 ----

FAR = 2**30
PER_STEP = 1 - 4e-9  # which is 1 in float32


@pytest.fixture
def float32():
    jax.config.update("jax_enable_x64", False)
    yield
    jax.config.update("jax_enable_x64", True)


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize(
    ("ours", "formula"),
    [
        (lambda: gx.linear(1.0, 0.1, FAR), formulas.linear(1.0, 0.1, FAR)),
        (lambda: gx.cosine(1.0, FAR, floor=0.1), formulas.cosine(1.0, FAR, floor=0.1)),
        (lambda: gx.warmup(1.0, FAR), formulas.warmup(1.0, FAR)),
        (lambda: gx.exponential(1.0, 0.5, FAR // 4), formulas.exponential(1.0, 0.5, FAR // 4)),
        (lambda: gx.exponential(1.0, PER_STEP, 1), formulas.exponential(1.0, PER_STEP, 1)),
        (
            lambda: gx.exponential(1.0, 0.5, FAR // 4 - 1, staircase=True),
            formulas.exponential(1.0, 0.5, FAR // 4 - 1, staircase=True),
        ),
        # A joint and a decay of seven steps where float32 counts by 64.
        (
            lambda: gx.constant(1.0).then(gx.linear(1.0, 0.1, 7), at=FAR - 3),
            formulas.then(formulas.constant(1.0), formulas.linear(1.0, 0.1, 7), FAR - 3),
        ),
    ],
    ids=["linear", "cosine", "warmup", "exponential", "factor per step", "staircase", "then"],
)
def test_no_drift_in_float32(ours, formula):
    counts = [0, 1, 1000, 10**6, 2**24 - 1, 2**24 + 1, FAR // 4 - 2, FAR // 4 - 1, FAR // 4, FAR // 2 + 1]
    counts += [*range(FAR - 5, FAR + 5)]
    values = ours()(jnp.array(counts, jnp.int32))
    assert values.dtype == jnp.float32
    np.testing.assert_allclose(values, [formula(t) for t in counts], rtol=1e-6)  # float32 rounds to 6e-8


# ---- values ----

VALUES = [
    gx.constant(0.3),
    gx.linear(1.0, 0.1, 10),
    gx.exponential(0.1, 0.95, 3, staircase=True),
    gx.cosine(1.0, 10, floor=0.1),
    gx.warmup(0.3, 10),
    gx.warmup(0.3, 5).then(gx.cosine(0.3, 9), at=5).then(0.1, at=14),
    (2 * gx.warmup(0.3, 5) + gx.linear(1.0, 0.1, 10) * gx.constant(0.5) + 1).then(0.5, at=3),
]


@pytest.mark.parametrize("schedule", VALUES, ids=repr)
def test_is_a_value(schedule):
    again = [
        eval(repr(schedule), dict(vars(gx))),
        pickle.loads(pickle.dumps(schedule)),
        jax.tree.unflatten(*reversed(jax.tree.flatten(schedule))),
    ]
    for other in again:
        assert (other, hash(other), repr(other)) == (schedule, hash(schedule), repr(schedule))
        np.testing.assert_array_equal(other(np.arange(20)), schedule(np.arange(20)))
    assert jax.tree.map(lambda x: 2 * x, schedule) != schedule
    assert all(schedule != other for other in VALUES if other is not schedule)


def test_replace():
    schedule = gx.warmup(0.3, 5).then(gx.cosine(0.3, 9), at=5)
    assert gx.cosine(0.3, 9).replace(floor=0.1) == gx.cosine(0.3, 9, floor=0.1)
    assert schedule.replace(start=0.2) == gx.warmup(0.3, 5).then(gx.cosine(0.2, 9), at=5)
    assert schedule.replace(**{"first.steps": 4, "at": 4}) == gx.warmup(0.3, 4).then(gx.cosine(0.3, 9), at=4)
    with pytest.raises(TypeError, match=r"it has several 'steps': first.steps, following.steps"):
        schedule.replace(steps=3)
    with pytest.raises(ValueError, match=r"cosine: steps must be in \[1, .*got 0"):
        gx.cosine(0.3, 9).replace(steps=0)


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: gx.linear(1.0, 0.0, 0), ValueError, r"linear: steps must be in \[1, .*\], got 0"),
        (lambda: gx.cosine(1.0, -3), ValueError, r"cosine: steps must be in \[1, .*\], got -3"),
        (lambda: gx.warmup(1.0, 2**31), ValueError, r"warmup: steps must be in \[1, .*\], got"),
        (lambda: gx.exponential(1.0, 0.5, every=0), ValueError, r"exponential: every must be in \[1, .*\], got 0"),
        (lambda: gx.exponential(1.0, -0.5, 3), ValueError, r"exponential: factor must be in \(0, inf\), got -0.5"),
        (lambda: gx.linear(1.0, math.nan, 3), ValueError, "linear: end must be finite, got nan"),
        (lambda: gx.constant(math.inf), ValueError, "constant: value must be finite, got inf"),
        (lambda: gx.constant("x"), TypeError, "constant: value must be a number.* got str 'x'"),
        (lambda: gx.constant(jnp.ones(3)), ValueError, r"constant: value must be .*array of shape \(3,\).*jax.vmap"),
        (lambda: gx.exponential(1.0, 0.5, 2, 1), TypeError, "staircase must be True or False, got int 1"),  # pyright: ignore[reportArgumentType]
        (lambda: gx.constant(1.0) + "x", TypeError, "must be a number, a scalar array or a schedule, got str 'x'"),
        (lambda: gx.constant(1.0) * None, TypeError, "must be a number.* or a schedule, got NoneType None"),
        (lambda: gx.constant(1.0).then("x", at=3), TypeError, "following must be a number.* got str 'x'"),
        (lambda: gx.constant(1.0).then(0.5, at=0), ValueError, r"at must be in \[1, .*\], got 0"),
        (
            lambda: gx.constant(1.0).then(0.5, at=4).then(0.2, at=4),
            ValueError,
            "at must be later than the joint before, at=4, got 4",
        ),
        (lambda: gx.sgd(lambda count: None), TypeError, "sgd: the schedule given for learning_rate must return .*None"),
        (lambda: gx.sgd(lambda count: jnp.ones(3)), ValueError, r"sgd: the schedule .* got float64\[3\]"),
    ],
)
def test_bad_arguments_are_refused(make, kind, message):
    with pytest.raises(kind, match=message):
        make()


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


def test_is_printed_as_it_is_written():
    schedule = 2 * gx.warmup(0.3, 5) + gx.constant(0.1).then(halved, at=3)
    assert repr(schedule) == "((warmup(value=0.3, steps=5) * 2.0) + constant(value=0.1).then(<halved>, at=3))"
