"""Averages of the parameters: against a reference, Optax, and in the precision that they are for."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx
from tests.reference import measured
from tests.refusals import refused

STEPS = 60
GRADS = np.random.default_rng(1).normal(size=(STEPS, 3))
START = np.array([1.0, -2.0, 0.5])


def walked(average, grads=GRADS, start=START):
    """The parameters and the evaluation parameters after each step."""
    tx = gx.chain(gx.adam(0.1), average)

    def body(carry, g):
        params, state = carry
        updates, state = tx.update(g, state, params)
        params = gx.apply_updates(params, updates)
        return (params, state), (params, gx.evaluation_parameters(state, params))

    start = jnp.asarray(start)
    return jax.jit(lambda grads: jax.lax.scan(body, (start, tx.init(start)), grads)[1])(jnp.asarray(grads))


@pytest.mark.parametrize("decay", [None, 0.0, 0.9, 0.999])
def test_reference(decay):
    weights, got = walked(gx.average_parameters(decay))
    expected = np.stack(list(measured.averages(START, np.asarray(weights), decay)))
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", [np.float32, jnp.float64, gx.constant], ids=lambda kind: kind.__name__)
def test_the_decay_may_be_an_array_or_a_schedule(kind):
    expected = walked(gx.average_parameters(0.9))[1]
    np.testing.assert_allclose(walked(gx.average_parameters(kind(0.9)))[1], expected, rtol=2e-5)


def test_a_schedule_of_the_decay_averages_the_tail():
    n = 20
    weights, got = walked(gx.average_parameters(lambda t: jnp.where(t < n, 0.0, 1.0 - 1.0 / (t - n + 1.0))))
    np.testing.assert_allclose(got[:n], weights[:n], rtol=1e-12)
    np.testing.assert_allclose(got[-1], np.mean(weights[n:], axis=0), rtol=1e-12)


def test_same_average_as_optax():
    weights, got = walked(gx.average_parameters(0.9))
    average: Any = START
    for w, a in zip(weights, got, strict=True):
        average = optax.incremental_update(w, average, 0.1)
        np.testing.assert_allclose(a, average, rtol=1e-12)


def test_the_updates_pass_as_they_are():
    tx = gx.average_parameters(0.9)
    updates, _ = tx.update(GRADS[0], tx.init(START), START)
    np.testing.assert_array_equal(updates, GRADS[0])


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_an_average_of_half_precision_parameters_moves_in_float32(dtype):
    tx = gx.average_parameters(0.999)
    w = jnp.full(4, 1.0, dtype)
    state = tx.init(w)
    step = jax.jit(lambda state: tx.update(w, state, w)[1])  # the parameter is 2 from the first step on
    for _ in range(1000):
        state = step(state)
    assert state.average.dtype == jnp.float32
    np.testing.assert_allclose(state.average, 2.0 - 0.999**1000, rtol=1e-4)  # 0.001 of 2 is lost on a bfloat16
    weights = gx.evaluation_parameters(state, w)
    assert weights.dtype == dtype
    np.testing.assert_array_equal(weights, state.average.astype(dtype))


def test_before_the_first_update_it_is_the_parameters_and_always_a_copy():
    w = {"w": jnp.ones(2), "b": None}
    state = gx.average_parameters().init(w)
    weights = gx.evaluation_parameters(state, w)
    jax.jit(lambda s: s, donate_argnums=0)(state)
    np.testing.assert_array_equal(weights["w"], w["w"])
    assert weights["b"] is None


def test_a_whole_model_keeps_what_is_no_array():
    model = {"w": jnp.ones(2), "activation": jnp.tanh, "size": 3}
    state = gx.average_parameters().init({"w": jnp.ones(2), "activation": None, "size": None})
    weights = gx.evaluation_parameters(state, model)
    assert weights["activation"] is jnp.tanh
    assert weights["size"] == 3


def test_it_is_found_wherever_it_stands():
    w, g = jnp.ones(2, jnp.complex64), jnp.full(2, 2.0j, jnp.complex64)
    inside = gx.chain(gx.sgd(1.0), gx.average_parameters(gx.constant(0.5)))
    for tx in (inside, optax.chain(optax.scale(1.0), inside), optax.apply_if_finite(inside, 3)):
        _, state = tx.update(g, tx.init(w), w)
        np.testing.assert_allclose(gx.evaluation_parameters(state, w), 1.0 - 1.0j)


def test_of_the_transformation_too_it_is_an_average_or_the_parameters():
    w = {"w": jnp.ones(2), "activation": jnp.tanh}
    averaging = gx.chain(gx.sgd(1.0), gx.average_parameters(0.5))
    for tx, expected in ((gx.sgd(1.0), 1.0), (averaging, 0.5)):
        state = tx.init({"w": w["w"], "activation": None})
        _, state = tx.update({"w": w["w"], "activation": None}, state, w)
        weights = gx.evaluation_parameters(tx, state, w)
        np.testing.assert_allclose(weights["w"], expected)
        assert weights["w"] is not w["w"]
        assert weights["activation"] is jnp.tanh


def test_of_groups_of_arrays_it_is_each_ones_own():
    tx = gx.partition((gx.by_path("w"), gx.schedule_free_sgd(0.1)), (gx.by_path("b"), gx.schedule_free_sgd(0.5)))
    params = {"w": jnp.ones(2), "b": jnp.ones(2)}
    updates, state = tx.update(params, tx.init(params), params)
    weights = gx.evaluation_parameters(tx, state, gx.apply_updates(params, updates))
    np.testing.assert_allclose(weights["w"], 0.9)
    np.testing.assert_allclose(weights["b"], 0.5)


@pytest.mark.parametrize("codec", [gx.bfloat16(stochastic=False), gx.blocks(8, min_size=0)])
def test_an_average_in_codes_is_decoded(codec):
    w = {"w": jnp.linspace(0.0, 1.0, 64)}
    tx = gx.chain(gx.sgd(0.1), gx.hold(gx.average_parameters(), average=codec))
    _, state = tx.update(w, tx.init(w), w)
    np.testing.assert_allclose(gx.evaluation_parameters(tx, state, w)["w"], 0.9 * w["w"], atol=0.02)


def test_what_does_not_fit_is_refused():
    tx, w = gx.average_parameters(), jnp.ones(2)
    with refused(ValueError, "average_parameters: update needs the parameters: call update(updates, state, params)"):
        tx.update(w, tx.init(w))
    with refused(ValueError, "evaluation_parameters: the state keeps no parameters for evaluation; "):
        gx.evaluation_parameters(gx.adam(0.1).init(w), w)
    both = gx.chain(gx.average_parameters(0.9), gx.average_parameters()).init(w)
    with refused(
        ValueError,
        "must hold one that keeps an average, got 2 ['AverageParametersState']; hand in the one that is meant",
    ):
        gx.evaluation_parameters(both, w)
    with refused(
        ValueError, "evaluation_parameters: params is float64[3], in the state's average it is float64[2]; call"
    ):
        gx.evaluation_parameters(tx.init(w), jnp.ones(3))


def test_equals_torchs_averaged_model():
    """torch 2.13, AveragedModel over w = 5, 3, 0, 4 of a model that starts at 10; with a decay, also updated once
    before the first step, for its first update copies.
    """
    recorded = {None: [5.0, 4.0, 2.6666666666666665, 3.0], 0.9: [9.5, 8.85, 7.965, 7.5685]}
    for decay, expected in recorded.items():
        tx, w, averages = gx.average_parameters(decay), jnp.array(10.0), []
        state = tx.init(w)
        for following in (5.0, 3.0, 0.0, 4.0):
            updates, state = tx.update(following - w, state, w)
            w = gx.apply_updates(w, updates)
            averages.append(float(gx.evaluation_parameters(state, w)))
        np.testing.assert_allclose(averages, expected, rtol=1e-14)
