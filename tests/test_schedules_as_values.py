"""Schedules as values: compared, replaced, printed, and refused."""

import math
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx as gx
from tests.schedules import halved

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


def test_is_printed_as_it_is_written():
    schedule = 2 * gx.warmup(0.3, 5) + gx.constant(0.1).then(halved, at=3)
    assert repr(schedule) == "((warmup(value=0.3, steps=5) * 2.0) + constant(value=0.1).then(<halved>, at=3))"
