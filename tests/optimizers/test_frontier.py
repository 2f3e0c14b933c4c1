"""Further optimizers: against formulas in NumPy, what peers printed, and what tells each from its kin."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx
from gradtx.values.value import text_of
from tests.printed import fed
from tests.reference import frontier
from tests.refusals import refused

pytestmark = pytest.mark.slow  # formulas do not turn on versions

STEPS = 40
RANDOM = np.random.default_rng(1)
GRADS = RANDOM.normal(size=(STEPS, 3, 4)) * (RANDOM.uniform(size=(STEPS, 3, 4)) > 0.1)
GRADS[::7] = 0.0  # the first of all, too
WEIGHTS = RANDOM.normal(size=(3, 4))


def outputs(tx, grads=GRADS, params=WEIGHTS):
    """The updates of each step at parameters that stay."""
    params = jnp.asarray(params)
    return jax.lax.scan(lambda state, g: tx.update(g, state, params)[::-1], tx.init(params), jnp.asarray(grads))[1]


def weights(tx, grads=GRADS, params=WEIGHTS):
    """The parameters and those for evaluation after each step."""

    def step(carry, g):
        w, state = carry
        updates, state = tx.update(g, state, w)
        w = gx.apply_updates(w, updates)
        return (w, state), (w, gx.evaluation_parameters(tx, state, w))

    params = jnp.asarray(params)
    return jax.lax.scan(step, (params, tx.init(params)), jnp.asarray(grads))[1]


def assert_equal(found, expected):
    expected = np.stack(list(expected))
    assert np.ptp(expected) > 0.01, "nothing happens here"
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-14 * np.abs(expected).max())


GROWING = dict(b3=gx.warmup_memory(0.99, 20), alpha=gx.warmup(5.0, 20))
GROWN: dict[str, Any] = dict(
    b3=np.array([*frontier.memory(0.99, 20), *[0.99] * 20]), alpha=5.0 * np.minimum(np.arange(1, STEPS + 1) / 20, 1.0)
)
DIRECTIONS = [
    (gx.scale_by_ademamix(), frontier.ademamix(GRADS)),
    (
        gx.scale_by_ademamix(0.8, 0.9, 0.95, 2.0, 0.1, eps_root=0.1),
        frontier.ademamix(GRADS, 0.8, 0.9, 0.95, 2, 0.1, 0.1),
    ),
    (gx.scale_by_ademamix(**GROWING), frontier.ademamix(GRADS, **GROWN)),
    (gx.scale_by_simplified_ademamix(alpha=3.0), frontier.simplified_ademamix(GRADS, alpha=3.0)),
    (
        gx.scale_by_simplified_ademamix(0.8, 0.9, 1.0, 0.1, eps_root=0.1),
        frontier.simplified_ademamix(GRADS, 0.8, 0.9, 1, 0.1, 0.1),
    ),
    (gx.scale_by_adopt(), frontier.adopt(GRADS)),
    (gx.scale_by_adopt(0.8, 0.9, 0.1, nesterov=True), frontier.adopt(GRADS, 0.8, 0.9, 0.1, nesterov=True)),
    (gx.scale_by_adopt(0.8, 0.9, 0.1, clip=False), frontier.adopt(GRADS, 0.8, 0.9, 0.1, clip=False)),
    (gx.scale_by_ano(), frontier.ano(GRADS)),
    (gx.scale_by_ano(0.8, 0.3, 0.1), frontier.ano(GRADS, 0.8, 0.3, 0.1)),
    (gx.scale_by_spam(), frontier.spam(GRADS)),
    (
        gx.scale_by_spam(0.8, 0.9, 0.1, threshold=1.5, every=3, warmup_steps=2, grace=1),
        frontier.spam(GRADS, 0.8, 0.9, 0.1, 1.5, 3, 2, 1),
    ),
    (
        gx.scale_by_spam(0.8, 0.9, threshold=math.inf, every=2, warmup_steps=0),
        frontier.spam(GRADS, 0.8, 0.9, threshold=math.inf, every=2, warmup=0),
    ),
    (gx.scale_by_rprop(0.1), frontier.rprop(GRADS, 0.1)),
    (gx.scale_by_rprop(0.1, 0.7, 1.5, min_step=0.05, max_step=0.2), frontier.rprop(GRADS, 0.1, 0.7, 1.5, 0.05, 0.2)),
    (gx.scale_by_sm3(), frontier.sm3(GRADS)),
    (gx.scale_by_sm3(0.5, 0.1), frontier.sm3(GRADS, 0.5, 0.1)),
]


@pytest.mark.parametrize(("tx", "expected"), DIRECTIONS, ids=[text_of(tx) for tx, _ in DIRECTIONS])
def test_a_direction(tx, expected):
    assert_equal(outputs(tx), expected)


@pytest.mark.parametrize("shape", [(), (5,), (2, 3, 2)], ids=str)
def test_sm3_of_other_ranks(shape):
    grads = np.random.default_rng(2).normal(size=(STEPS, *shape))
    assert_equal(outputs(gx.scale_by_sm3(), grads, grads[0]), frontier.sm3(grads))


@pytest.mark.parametrize("shape", [(), (5,), (3, 4), (2, 3, 2)], ids=str)
def test_sm3_takes_the_parts_of_a_complex_array_for_two_arrays(shape):
    real, imaginary = np.random.default_rng(2).normal(size=(2, STEPS, *shape))
    grads = real + 1j * imaginary
    expected = [x + 1j * y for x, y in zip(frontier.sm3(real), frontier.sm3(imaginary), strict=True)]
    assert_equal(outputs(gx.scale_by_sm3(), grads, grads[0]), expected)
    maxima = gx.scale_by_sm3().init(jnp.asarray(grads[0])).maxima
    assert maxima.shape == (shape if len(shape) < 2 else (2, sum(shape)))


PATHS = [
    (gx.madgrad(0.1), frontier.madgrad(WEIGHTS, GRADS, 0.1)),
    (gx.madgrad(0.3, 0.5, 0.01), frontier.madgrad(WEIGHTS, GRADS, 0.3, 0.5, 0.01)),
    (gx.ftrl(0.1), frontier.ftrl(WEIGHTS, GRADS, 0.1)),
    (
        gx.ftrl(0.5, power=0.7, initial=1.0, l1=1.0, l2=0.1, shrinkage=0.05, beta=0.5),
        frontier.ftrl(WEIGHTS, GRADS, 0.5, 0.7, 1.0, 1.0, 0.1, 0.05, 0.5),
    ),
]


@pytest.mark.parametrize(("tx", "expected"), PATHS, ids=[text_of(tx) for tx, _ in PATHS])
def test_a_path(tx, expected):
    assert_equal(weights(tx)[0], expected)


@pytest.mark.parametrize("options", [(0.1,), (0.1, 0.5, 0.6, 4)], ids=str)
def test_asgd_and_the_mean_that_it_is_evaluated_with(options):
    found, means = weights(gx.asgd(*options))
    expected = list(frontier.asgd(WEIGHTS, GRADS, *options))
    assert_equal(found, [w for w, _ in expected])
    assert_equal(means, [mean for _, mean in expected])
    if len(options) > 3:  # the mean of all behind the start and the one at it
        np.testing.assert_allclose(means[-1], np.mean(found[5:], axis=0), rtol=1e-12)


def test_asgd_takes_schedules():
    found = weights(gx.asgd(gx.constant(0.1), gx.constant(0.5), gx.constant(0.6)))[0]
    np.testing.assert_allclose(found, weights(gx.asgd(0.1, 0.5, 0.6))[0], rtol=1e-6)


# Printed by Optax 0.2.8, torch 2.13 (rprop, asgd), pytorch_optimizer (ano) and the authors of AdEMAMix, to ten digits.
PRINTED = [
    (gx.ademamix(0.1), (5.3919477086, 5.4473512820)),
    (
        gx.ademamix(0.1, b3=gx.warmup_memory(0.9999, 10), alpha=gx.warmup(5.0, 10)),
        (5.3905800410, 5.4470050765),
    ),
    (gx.simplified_ademamix(0.1), (2.7847354296, 4.8537968219)),
    (gx.simplified_ademamix(0.1, alpha=5.0), (-9.2020564892, 1.1018056613)),
    (gx.adopt(0.1), (7.4962141736, 5.9662078105)),
    (gx.adopt(0.1, clip=False), (7.0048535972, 5.8829900777)),
    (gx.adopt(0.1, nesterov=True), (7.3578069298, 5.9357948400)),
    (gx.ano(0.1), (4.6669705357, 4.9458520184)),
    (gx.rprop(0.1), (5.78, 5.43)),
    (gx.rprop(100.0), (-917.25, -269.0)),
    (gx.sm3(0.1), (7.4467232089, 5.9115385666)),
    (gx.madgrad(0.1), (7.1777891065, 5.8603440079)),
    (gx.asgd(0.1, 0.1, start=1), (6.8580833347, 5.6164903769)),
]


@pytest.mark.parametrize(("tx", "expected"), PRINTED, ids=[text_of(tx) for tx, _ in PRINTED])
def test_printed(tx, expected):
    np.testing.assert_allclose(fed(tx), expected, rtol=5e-11)


PAIRS = [
    (gx.scale_by_ademamix(eps_root=1e-3), optax.contrib.scale_by_ademamix(alpha=5.0, eps_root=1e-3)),
    (gx.simplified_ademamix(0.1, alpha=3.0), optax.contrib.simplified_ademamix(0.1, alpha=3.0)),
    (gx.adopt(0.1, 0.8, 0.9, nesterov=True), optax.contrib.adopt(0.1, 0.8, 0.9, nesterov=True)),
    (gx.sm3(0.1, 0.8), optax.sm3(0.1, 0.8)),
]


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=[text_of(ours) for ours, _ in PAIRS])
def test_same_as_optax(ours, theirs):
    np.testing.assert_allclose(outputs(ours), outputs(theirs), rtol=1e-12, atol=1e-14)


# ---- what tells each from its kin ----


def test_ademamix_without_the_slow_average_is_adam():
    found = outputs(gx.scale_by_ademamix(alpha=0.0))
    np.testing.assert_allclose(found, outputs(gx.scale_by_adam()), rtol=1e-14)


def test_a_memory_that_grows_starts_near_the_start_and_ends_at_the_decay():
    decays = np.asarray(gx.warmup_memory(0.9999, 1000)(np.arange(1001)))
    assert np.all(np.diff(decays) >= 0.0)
    half_lives = np.log(0.5) / np.log(decays)
    np.testing.assert_allclose(
        np.diff(half_lives[:999]), (half_lives[999] - np.log(0.5) / np.log(0.9)) / 1000, rtol=1e-3
    )
    assert decays[999] == decays[1000] == 0.9999
    assert gx.warmup_memory(0.9999, 0)(0) == 0.9999
    assert gx.warmup_memory(0.5, 10, start=0.0)(0) > 0.0


def test_the_first_step_of_rprop_is_its_rate_and_a_change_of_sign_makes_half_a_step_later():
    grads = np.array([[2.0], [-1.0], [-1.0], [0.0], [-1.0]])
    np.testing.assert_allclose(np.ravel(outputs(gx.rprop(0.1), grads, np.zeros(1))), [-0.1, 0.0, 0.05, 0.0, 0.05])


def test_rprop_compares_signs_of_gradients_whose_product_is_no_number():
    tiny = np.full((3, 1), 1e-200)
    np.testing.assert_allclose(np.ravel(outputs(gx.rprop(0.1), tiny, np.zeros(1))), [-0.1, -0.12, -0.144])


def test_sm3_keeps_a_number_for_each_row_and_column_that_bounds_the_sums_of_squares():
    tx, params = gx.scale_by_sm3(), jnp.zeros((30, 20))
    state, total = tx.init(params), 0.0
    for g in np.random.default_rng(3).normal(size=(5, 30, 20)):
        _, state = tx.update(jnp.asarray(g), state)
        total = total + g**2
        rows, columns = state.maxima[:30], state.maxima[30:]
        assert np.all(np.minimum(rows[:, None], columns[None, :]) >= total * (1 - 1e-12))
    assert state.maxima.shape == (50,)


def test_sm3_refuses_parts_of_a_matrix():
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec("data")
    tx = gx.across(gx.scale_by_sm3(), "data")
    step = jax.shard_map(lambda g: tx.update(g, tx.init(g))[0], mesh=mesh, in_specs=spec, out_specs=spec)
    with refused(ValueError, "an array is in parts along data; its maxima along each axis need it whole: use jit"):
        step(jnp.ones((4, 3)))


def test_madgrad_has_all_of_its_start_in_each_step():
    """Without momentum the parameters are where dual averaging puts them, wherever they were."""
    tx, w, g = gx.madgrad(0.1, momentum=0.0), jnp.asarray(WEIGHTS), jnp.asarray(GRADS[1])
    state = tx.init(w)
    ends = [gx.apply_updates(p, tx.update(g, state, p)[0]) for p in (w, w + 1.0)]
    np.testing.assert_allclose(*ends, rtol=1e-12, atol=1e-14)


def test_ftrl_is_adagrad_from_zero_without_penalties_and_exactly_zero_where_l1_holds():
    zero = np.zeros_like(WEIGHTS)
    found = weights(gx.ftrl(0.1), params=zero)[0]
    adagrad = gx.adagrad(0.1, eps=0.0, initial=0.1)
    np.testing.assert_allclose(found, weights(adagrad, params=zero)[0], rtol=1e-10, atol=1e-14)
    held = np.asarray(weights(gx.ftrl(0.1, l1=4.0))[0][-1])
    assert 0 < np.sum(held == 0.0) < held.size


def test_rprop_says_which_of_its_bounds_is_wrong():
    with refused(ValueError, "scale_by_rprop: min_step must be at most max_step, 0.1, got 1"):
        gx.rprop(0.1, min_step=1.0, max_step=0.1).init(jnp.zeros(1))
