"""Reduction on plateau: against a reference on lists, Optax and recorded numbers of torch; where those go wrong."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx
from gradtx.core.transformation import takes
from tests.reference import measured
from tests.refusals import refused

anything: Any = gx  # for calls that a type checker refuses too


def scales(tx, values):
    """What an update of 1 becomes at each value, in one scan."""
    values = jnp.asarray(values)
    return scanned(tx, values) if isinstance(tx, gx.Transformation) else jax.jit(lambda v: scan(tx, v))(values)


def scan(tx, values):
    def body(state, value):
        return tx.update(jnp.ones(()), state, value=value)[::-1]

    return jax.lax.scan(body, tx.init(jnp.ones(())), values)[1]


scanned = jax.jit(scan)  # with the transformation as an argument: compiled once


def walk(seed, n=400):
    """Losses that fall, then wander around one half: positive."""
    random = np.random.default_rng(seed)
    return 3.0 * np.exp(-np.arange(n) / 60) + 0.5 + 0.2 * np.abs(random.normal(size=n))


SETTINGS: list[dict[str, Any]] = [
    dict(),
    dict(factor=0.7, patience=3),
    dict(factor=0.7, patience=3, cooldown=4),
    dict(factor=0.5, patience=2, cooldown=1, min_scale=0.1),
    dict(factor=0.7, patience=2, rtol=0.05),
    dict(factor=0.7, patience=2, rtol=0.0, atol=0.1),
    dict(factor=0.8, patience=3, cooldown=2, min_scale=0.01, rtol=0.02, atol=0.01, every=5),
]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_reference_for_values_of_both_signs(setting, seed):
    for values in (walk(seed), walk(seed) - 1.0, -walk(seed), walk(seed)[::-1] - 2.0):
        for maximize in (False, True):
            expected = list(measured.plateau(values, **setting, maximize=maximize))
            got = scales(gx.reduce_on_plateau(**setting, maximize=maximize), values)
            np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_maximizing_is_minimizing_the_negative():
    values = walk(3) - 1.0
    for setting in SETTINGS:
        down, up = (gx.reduce_on_plateau(**setting, maximize=maximize) for maximize in (False, True))
        np.testing.assert_array_equal(scales(down, values), scales(up, -values))


# ---- Optax and torch, on positive measurements ----


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_same_scales_as_optax(setting, seed):
    theirs = {("accumulation_size" if name == "every" else name): x for name, x in setting.items()}
    expected = scales(optax.contrib.reduce_on_plateau(**theirs), walk(seed))
    assert expected[-1] < 0.5, "nothing happens here"
    np.testing.assert_allclose(scales(gx.reduce_on_plateau(**setting), walk(seed)), expected, rtol=1e-12)


LOSSES = [3.4, 3.01, 2.48, 2.0, 1.83, 1.46, 1.52, 1.67, 1.07, 0.91, 1.09, 0.97]
LOSSES += [0.83, 0.51, 0.68, 0.82, 0.27, 0.46, 0.07, 0.2, 0.05, 0.43, 0.16, 0.53]


# Recorded with torch 2.13: the rate of SGD(lr=1.0) after each ReduceLROnPlateau(optimizer, …, eps=0.0).step(loss).
# A torch patience of n is one of n + 1 here.
@pytest.mark.parametrize(
    ("tx", "values", "expected"),
    [
        (  # factor=0.5, patience=1
            gx.reduce_on_plateau(0.5, 2),
            LOSSES,
            [1.0] * 7 + [0.5] * 4 + [0.25] * 4 + [0.125] * 7 + [0.0625] * 2,
        ),
        (  # factor=0.5, patience=2, threshold=0.1, cooldown=2
            gx.reduce_on_plateau(0.5, 3, rtol=0.1, cooldown=2),
            LOSSES,
            [1.0] * 12 + [0.5] * 11 + [0.25],
        ),
        (  # factor=0.25, patience=0, threshold=0.05, threshold_mode="abs", cooldown=1, min_lr=0.01
            gx.reduce_on_plateau(0.25, 1, rtol=0.0, atol=0.05, cooldown=1, min_scale=0.01),
            LOSSES,
            [1.0] * 6 + [0.25] * 4 + [0.0625] * 4 + [0.015625] * 3 + [0.01] * 7,
        ),
        (  # mode="max", factor=0.5, patience=1, threshold=0.1, cooldown=1, of 4 minus the losses
            gx.reduce_on_plateau(0.5, 2, rtol=0.1, cooldown=1, maximize=True),
            [round(4 - loss, 2) for loss in LOSSES],
            [1.0] * 7 + [0.5] * 3 + [0.25] * 5 + [0.125] * 5 + [0.0625] * 3 + [0.03125],
        ),
    ],
)
def test_same_rates_as_torch(tx, values, expected):
    np.testing.assert_allclose(scales(tx, values), expected, rtol=1e-12)


def test_a_worse_negative_loss_is_no_improvement_unlike_in_optax():
    rising = -1.0 + 0.05 * np.arange(6)  # each is within ten percent of the one before
    assert scales(gx.reduce_on_plateau(0.5, 5, rtol=0.1), rising)[-1] == 0.5
    assert scales(optax.contrib.reduce_on_plateau(0.5, 5, rtol=0.1), rising)[-1] == 1.0


# ---- measurements ----


def state_after(tx, values):
    state = tx.init(None)
    for value in values:
        _, state = tx.update(None, state, value=value)
    return state


def test_it_can_be_driven_alone():
    state = state_after(gx.reduce_on_plateau(0.5, patience=2), [3.0, 2.0, 2.5, 2.0])
    assert (state.scale, state.best_value) == (0.5, 2.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("maximize", [False, True])
def test_a_value_that_is_not_finite_is_no_improvement(bad, maximize):
    tx = gx.reduce_on_plateau(0.5, patience=2, maximize=maximize)
    assert abs(state_after(tx, [bad]).best_value) == np.inf
    for values in ([bad, bad], [1.0, bad, bad], [bad, 1.0, bad, bad]):
        state = state_after(tx, values)
        assert state.scale == 0.5
        assert abs(state.best_value) == (1.0 if 1.0 in values else np.inf)
    for window in ([bad, 1.0, 1.0], [1.0, bad, 1.0], [1.0, 1.0, bad]):  # nor is the mean of a window that holds one
        state = state_after(tx.replace(every=3), [2.0, 2.0, 2.0, *window, *window])
        assert (state.scale, state.best_value, state.avg_value) == (0.5, 2.0, 0.0)


@pytest.mark.usefixtures("float32")
def test_a_mean_of_many_values_keeps_its_digits_in_float32():
    values = 0.1 + 0.01 * np.random.default_rng(0).normal(size=100_000).astype(np.float32)
    tx = gx.reduce_on_plateau(every=len(values))
    state, _ = jax.lax.scan(lambda s, v: (tx.update(None, s, value=v)[1], None), tx.init(None), jnp.asarray(values))
    assert state.best_value.dtype == jnp.float32
    np.testing.assert_allclose(state.best_value, np.mean(values, dtype=np.float64), rtol=1e-5)  # of 1e-4


@pytest.mark.parametrize("value", [2, np.float16(2.0), np.int64(2), np.array(2.0), jnp.bfloat16(2.0), jnp.int32(2)])
def test_any_real_scalar_is_a_value(value):
    state = state_after(gx.reduce_on_plateau(), [value])
    assert state.best_value == 2.0
    assert state.best_value.dtype == jnp.float64


@pytest.mark.parametrize("tx", [gx.reduce_on_plateau(), gx.early_stopping()], ids=lambda tx: tx.recipe.__name__)
@pytest.mark.parametrize(
    ("value", "error", "got"),
    [
        (np.ones(3, np.float32), ValueError, "float32[3]; give one number, such as the mean"),
        (jnp.ones((1, 2), int), ValueError, "int64[1, 2]; give one number, such as the mean"),
        (np.complex64(1), TypeError, "complex64[]"),
        (1j, TypeError, "complex"),
        ("0.1", TypeError, "str"),
        (None, TypeError, "NoneType"),
        (True, TypeError, "bool"),
        (jnp.array(True), TypeError, "bool[]"),
        ([1.0], TypeError, "list"),
    ],
)
def test_what_is_no_real_scalar_is_refused(tx, value, error, got):
    w = jnp.ones(2)
    whole = gx.chain(gx.sgd(0.1), tx)
    for one in (tx, whole):
        with refused(error, f"{tx.recipe.__name__}: value must be a real scalar, got {got}"):
            one.update(w, one.init(w), w, value=value)
    if isinstance(value, np.ndarray | jax.Array):
        with refused(error, f"{tx.recipe.__name__}: value must be a real scalar, got {got}"):
            jax.jit(tx.update)(w, tx.init(w), w, value=value)


@pytest.mark.parametrize(
    "tx", [gx.reduce_on_plateau(), gx.reduce_on_plateau(gx.constant(0.5)), gx.early_stopping()], ids=repr
)
def test_a_missing_value_is_named_with_the_call(tx):
    w = jnp.ones(2)
    for one in (tx, gx.chain(gx.sgd(0.1), tx)):
        name = tx.recipe.__name__
        with refused(TypeError, f"{name}: update needs value: call update(updates, state, params, value=…)"):
            one.update(w, one.init(w), w)


# ---- in use ----


def test_a_schedule_of_its_factor():
    tx = gx.reduce_on_plateau(gx.linear(0.5, 0.25, 1), 1)
    assert np.array_equal(scales(tx, [1.0, 1.0, 1.0]), [1.0, 0.25, 0.0625])


def test_one_scan_for_many_factors_and_patiences():
    def run(factor, patience):
        return scales(gx.reduce_on_plateau(factor, patience), walk(0))

    together = jax.vmap(run)(jnp.array([0.5, 0.2]), jnp.array([1, 3]))
    for got, factor, patience in zip(together, (0.5, 0.2), (1, 3), strict=True):
        np.testing.assert_allclose(got, scales(gx.reduce_on_plateau(factor, patience), walk(0)), rtol=1e-12)


def test_a_number_replaced_by_hand_goes_on_in_the_same_compiled_step():
    traces = []

    @jax.jit
    def step(tx, params, state, value):
        traces.append(tx)
        updates, state = tx.update(jnp.ones(2), state, params, value=value)
        return gx.apply_updates(params, updates), state

    tx = gx.chain(gx.sgd(1.0, momentum=0.5), gx.reduce_on_plateau(0.5, 1))
    params, state = jnp.zeros(2), tx.init(jnp.zeros(2))
    for one in (tx, tx.replace(learning_rate=0.1), tx.replace(learning_rate=0.01, patience=7)):
        params, state = step(one, params, state, 1.0)
    assert len(traces) == 1
    # Velocities 1, 1.5, 1.75; the scale is halved at the second, and a patience of 7 keeps it there.
    np.testing.assert_allclose(params, -(1.0 + 0.1 * 1.5 * 0.5 + 0.01 * 1.75 * 0.5), rtol=1e-6)
    assert state[1].scale == 0.5


def test_a_factor_with_extra_arguments_of_an_author():
    @gx.transformation
    def scale_by_share(power: gx.Scalar = 1.0):
        return gx.scaling(lambda params: (), lambda state, *, part, whole=1.0: ((part / whole) ** power, state))

    tx = gx.chain(gx.scale(2.0), scale_by_share(gx.constant(2.0)))
    assert takes(tx) == {"part", "whole"}
    assert tx.update(jnp.ones(()), tx.init(None), part=3.0)[0] == 18.0
    assert tx.update(jnp.ones(()), tx.init(None), part=3.0, whole=6.0)[0] == 0.5
    with refused(TypeError, "scale_by_share: update needs part: call update(updates, state, params, part=…)"):
        tx.update(jnp.ones(()), tx.init(None), whole=1.0)
