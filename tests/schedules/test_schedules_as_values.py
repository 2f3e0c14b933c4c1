"""Schedules as values: compared, replaced, printed, and refused."""

import math
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx as gx
from gradtx.values.value import text_of
from tests.schedules.rows import halved

VALUES = [
    gx.constant(0.3),
    gx.linear(1.0, 0.1, 10),
    gx.exponential(0.1, 0.95, 3, staircase=True),
    gx.cosine(1.0, 10, floor=0.1),
    gx.warmup(0.3, 10),
    gx.piecewise_constant((10, 15), (0.3, 0.2, 0.1)),
    gx.piecewise_constant((10, 16), (0.3, 0.2, 0.1)),
    gx.piecewise_constant((), (0.3,)),
    gx.per_epoch(gx.cosine_restarts(1.0, 2, factor=2), 5, continuous=True),
    gx.warmup(0.3, 5).then(gx.cosine(0.3, 9), at=5).then(0.1, at=14),
    (2 * gx.warmup(0.3, 5) + gx.linear(1.0, 0.1, 10) * gx.constant(0.5) + 1).then(0.5, at=3),
    1 - gx.warmup(0.3, 5) - gx.cosine(0.1, 9),
]


@pytest.mark.parametrize("schedule", VALUES, ids=text_of)
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
    with pytest.raises(ValueError, match=r"cosine: steps must be a whole number in \[0, .*got -1"):
        gx.cosine(0.3, 9).replace(steps=-1)


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: gx.linear(1.0, 0.0, -1), ValueError, r"linear: steps must be a whole number in \[0, .*\], got -1$"),
        (lambda: gx.cosine(1.0, -3), ValueError, r"cosine: steps must be a whole number in \[0, .*\], got -3"),
        (lambda: gx.warmup(1.0, 2**31), ValueError, r"warmup: steps must be .* \[0, .*\], got 2147483648$"),
        (
            lambda: gx.warmup(1e-3, 0.07 * 100),
            ValueError,
            r"in \[0, .*\], got 7.000000000000001; round\(7.000000000000001\) is 7$",
        ),
        (
            lambda: gx.exponential(1.0, 0.5, every=0),
            ValueError,
            r"exponential: every must be a whole number in \[1, .*\], got 0",
        ),
        (lambda: gx.exponential(1.0, -0.5, 3), ValueError, r"exponential: factor must be in \(0, inf\), got -0.5"),
        (lambda: gx.linear(1.0, math.nan, 3), ValueError, "linear: end must be finite, got nan"),
        (lambda: gx.constant(math.inf), ValueError, "constant: value must be finite, got inf"),
        (lambda: gx.constant("x"), TypeError, "constant: value must be a number.* got str 'x'"),  # pyright: ignore[reportArgumentType]  # refused by a type checker too
        (lambda: gx.constant(jnp.ones(3)), ValueError, r"constant: value must be .*array of shape \(3,\).*jax.vmap"),
        (lambda: gx.exponential(1.0, 0.5, 2, 1), TypeError, "staircase must be True or False, got int 1"),  # pyright: ignore[reportArgumentType]  # refused by a type checker too
        (lambda: gx.constant(1.0) + "x", TypeError, "must be a number, a scalar array or a schedule, got str 'x'"),  # pyright: ignore[reportOperatorIssue]  # refused by a type checker too
        (lambda: gx.constant(1.0) * None, TypeError, "must be a number.* or a schedule, got NoneType None"),  # pyright: ignore[reportOperatorIssue]  # refused by a type checker too
        (lambda: gx.constant(1.0).then("x", at=3), TypeError, "following must be a number.* got str 'x'"),  # pyright: ignore[reportArgumentType]  # refused by a type checker too
        (lambda: gx.constant(1.0).then(0.5, at=-1), ValueError, r"at must be a whole number in \[0, .*\], got -1"),
        (
            lambda: gx.constant(1.0).then(0.5, at=4).then(0.2, at=3),
            ValueError,
            "at must not be earlier than the joint before, at=4, got 3",
        ),
        (lambda: gx.polynomial(1.0, 0.0, 3, power=0.0), ValueError, r"polynomial: power must be in \(0, inf\), got 0"),
        (lambda: gx.power(1.0, 0.0, -1.0), ValueError, r"power: scale must be in \(0, inf\), got 0"),
        (lambda: gx.inverse_time(1.0, -1), ValueError, r"inverse_time: decay_rate must be in \[0, inf\), got -1"),
        (lambda: gx.inverse_sqrt(1.0, math.inf), ValueError, "inverse_sqrt: k must be finite, got inf"),
        (lambda: gx.step(1.0, 0.5, every=0), ValueError, r"step: every must be a whole number in \[1, .*\], got 0"),
        (
            lambda: gx.piecewise_constant((3, 2), (1.0, 2.0, 3.0)),
            ValueError,
            r"piecewise_constant: boundaries\[1\] must not be earlier than boundaries\[0\]=3, got 2",
        ),
        (
            lambda: gx.piecewise_constant((-1,), (1.0, 2.0)),
            ValueError,
            r"boundaries\[0\] must be a whole number in \[0, .*\], got -1",
        ),
        (lambda: gx.piecewise_constant((3,), (1.0, math.nan)), ValueError, r"values\[1\] must be finite, got nan"),
        (lambda: gx.piecewise_constant((3,), (1.0, "x")), TypeError, r"values\[1\] must be a number.* got str 'x'"),  # pyright: ignore[reportArgumentType]  # refused by a type checker too
        (lambda: gx.piecewise_constant((3,), (1.0, halved)), TypeError, r"values\[1\] must be .* got a function"),
        (lambda: gx.piecewise_constant((3,), (1.0,)), ValueError, "values must have one .* than boundaries, 2, got 1"),
        (lambda: gx.piecewise_constant([3], (1.0, 2.0)), TypeError, r"boundaries must be a tuple .* got list \[3\]"),  # pyright: ignore[reportArgumentType]  # refused by a type checker too
        (
            lambda: gx.warmup_stable_decay(1.0, 10, 6, 5),
            ValueError,
            r"warmup_steps \+ decay_steps must be at most steps, got warmup_steps=6, decay_steps=5 and steps=10",
        ),
        (
            lambda: gx.one_cycle(1.0, 10, 0.6, 0.5),
            ValueError,
            r"one_cycle: rise \+ fall must be .* 1.* got 0.6 \+ 0.5",
        ),
        (lambda: gx.one_cycle_momentum(10, rise=0.9), ValueError, r"one_cycle_momentum: rise \+ fall .* 0.9 \+ 0.45"),
        (lambda: gx.one_cycle(1.0, 10, rise=-0.1), ValueError, r"one_cycle: rise must be in \[0, 1\], got -0.1"),
        (
            lambda: gx.one_cycle(1.0, 10, end_share=-1),
            ValueError,
            r"end_share must be in \[0, inf\), got -1",
        ),
        (lambda: gx.one_cycle_momentum(10, high=1.0), ValueError, r"high must be in \[0, 1\), got 1"),
        (lambda: gx.cyclic(0.0, 1.0, 0), ValueError, r"cyclic: half_period must be a whole number in \[1, .*\], got 0"),
        (lambda: gx.cyclic(0.0, 1.0, 3, decay=0), ValueError, r"cyclic: decay must be in \(0, inf\), got 0"),
        (
            lambda: gx.cosine_restarts(1.0, 3, factor=1.5),
            ValueError,
            r"factor must be a whole number in \[1, .*\], got 1.5",
        ),
        (
            lambda: gx.cosine_restarts(1.0, 3, factor=0),
            ValueError,
            r"factor must be a whole number in \[1, .*\], got 0",
        ),
        (
            lambda: gx.cosine_restarts(1.0, 0),
            ValueError,
            r"cosine_restarts: period must be a whole number in \[1, .*\], got 0",
        ),
        (
            lambda: gx.per_epoch(gx.constant(1.0), 0),
            ValueError,
            r"steps_per_epoch must be a whole number in \[1, .*\], got 0",
        ),
        (
            lambda: gx.per_epoch(0.1, 3),  # pyright: ignore[reportArgumentType]  # refused by a type checker too
            TypeError,
            "schedule must be a schedule or .* got float 0.1",
        ),  # pyright: ignore[reportArgumentType]  # refused by a type checker too
        (
            lambda: gx.per_epoch(lambda epoch: jnp.ones(3), 3),
            ValueError,
            r"per_epoch: the schedule .* float64\[3\]",
        ),
        (lambda: gx.sgd(lambda count: None), TypeError, "sgd: the schedule given for learning_rate must return .*None"),  # pyright: ignore[reportArgumentType]  # refused by a type checker too
        (lambda: gx.sgd(lambda count: jnp.ones(3)), ValueError, r"sgd: the schedule .* got float64\[3\]"),
    ],
)
def test_bad_arguments_are_refused(make, kind, message):
    with pytest.raises(kind, match=message):
        make()


def test_is_printed_as_it_is_written():
    schedule = 2 * gx.warmup(0.3, 5) + gx.constant(0.1).then(halved, at=3)
    assert repr(schedule) == "((warmup(value=0.3, steps=5) * 2.0) + constant(value=0.1).then(<halved>, at=3))"


def test_differences():
    rising, falling, t = gx.warmup(0.3, 5), gx.cosine(0.1, 9), np.arange(12)
    np.testing.assert_allclose((1 - rising)(t), 1 - rising(t))
    np.testing.assert_allclose((rising - 0.1)(t), rising(t) - 0.1)
    np.testing.assert_allclose((rising - falling)(t), rising(t) - falling(t))
    np.testing.assert_allclose((-rising)(t), -rising(t))


def test_the_numbers_of_a_tuple_are_leaves():
    schedule = gx.piecewise_constant((3, 7), (0.3, 0.2, 0.1))
    assert [(jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree.leaves_with_path(schedule)] == [
        (".boundaries[0]", 3),
        (".boundaries[1]", 7),
        (".values[0]", 0.3),
        (".values[1]", 0.2),
        (".values[2]", 0.1),
    ]
    assert repr(schedule) == "piecewise_constant(boundaries=(3, 7), values=(0.3, 0.2, 0.1))"
    tx = gx.sgd(schedule).replace(**{"learning_rate.values[1]": 0.25, "learning_rate.boundaries[0]": 4})
    assert tx == gx.sgd(gx.piecewise_constant((4, 7), (0.3, 0.25, 0.1)))
    with pytest.raises(ValueError, match=r"boundaries\[1\] must not be earlier than boundaries\[0\]=8, got 7"):
        schedule.replace(**{"boundaries[0]": 8})
    with pytest.raises(TypeError, match=r"it has no 'values\[3\]'; it has .*boundaries\[1\], values\[0\]"):
        schedule.replace(**{"values[3]": 0.0})


def test_a_tuple_of_arrays():
    arrays = gx.piecewise_constant((np.int32(3),), (jnp.float32(0.3), np.ones(())))
    assert arrays == pickle.loads(pickle.dumps(arrays))
    assert hash(arrays) == hash(gx.piecewise_constant((np.int32(3),), (np.float32(0.3), np.float64(1))))
    assert arrays != gx.piecewise_constant((3,), (0.3, 1.0))
    seen = []
    jax.jit(lambda x: seen.append(repr(gx.piecewise_constant((3,), (x, 0.1)))))(0.3)
    assert seen == ["piecewise_constant(boundaries=(3,), values=(float64[], 0.1))"]


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize("factor", [1e-300, 1e-50, 1e50, 1e300])
def test_a_factor_beyond_float32_is_no_error(factor):
    end = 0.0 if factor < 1.0 else np.inf
    for schedule in (gx.exponential(1.0, factor, 1), gx.step(1.0, factor, 1)):
        assert [float(schedule(t)) for t in (0, 1, 3)] == [1.0, pytest.approx(end, abs=1e-37), end]
    assert float(gx.cyclic(0.0, 1.0, 1, decay=min(factor, 1.0))(3)) == pytest.approx(min(factor, 1.0), abs=1e-37)


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (lambda: gx.linear(1.0, 0.0, 2.5), "linear: steps"),
        (lambda: gx.polynomial(1.0, 0.1, 2.5, 20), "polynomial: steps"),  # Optax's order: the power comes before
        (lambda: gx.piecewise_constant((1.5,), (1.0, 2.0)), r"piecewise_constant: boundaries\[0\]"),
        (lambda: gx.per_epoch(gx.constant(1.0), np.float32(2.5)), "per_epoch: steps_per_epoch"),
        (lambda: gx.reduce_on_plateau(patience=2.5), "reduce_on_plateau: patience"),
        (lambda: gx.early_stopping(every=2.5), "early_stopping: every"),
        (lambda: gx.reduce_on_plateau(cooldown=0.5), "reduce_on_plateau: cooldown"),
    ],
)
def test_steps_are_whole(build, name):
    with pytest.raises(ValueError, match=rf"^{name} must be a whole number in \[[01], .*\], got "):
        build()
    assert gx.linear(1.0, 0.0, 10.0) is not None  # of floats, those that are whole: jax.grad wants them so
