"""The backtracking line search where tries fail; its path against the formula is in `test_distance_free`."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx
from tests.refusals import refused

pytestmark = pytest.mark.slow

W = jnp.array([1.0, -2.0])


def loss(w):
    return jnp.sum(w**2)


def step(tx, state, w, function=loss):
    value, grad = jax.value_and_grad(loss)(w)
    updates, state = tx.update(grad, state, w, value=value, grad=grad, value_fn=function)
    return gx.apply_updates(w, updates), state


def descent(*steps, **options):
    return gx.chain(gx.sgd(1.0), gx.scale_by_backtracking_linesearch(*steps, **options))


def rate_of(state):
    return gx.find(state[1], "learning_rate")


def test_it_goes_back_by_the_factor_until_the_loss_is_low_enough():
    # w - 2ηw: with c = 0.3 the loss falls enough from η ≤ 0.7 on.
    tx = descent(slope_rtol=0.3, decrease_factor=0.5)
    w, state = step(tx, tx.init(W), W)
    np.testing.assert_allclose(w, 0.0 * W, atol=1e-15)
    assert float(rate_of(state)) == 0.5
    metrics = {name: float(x) for name, x in gx.metrics(state).items() if name.startswith("linesearch")}
    assert metrics == {"linesearch_steps": 2, "linesearch_succeeded": 1, "linesearch_error": 0}


def test_it_starts_from_a_bit_more_than_the_last_step():
    tx = descent(slope_rtol=0.3, decrease_factor=0.5, increase_factor=1.2)
    _, state = step(tx, tx.init(W), W)
    _, state = step(tx, state, W)
    np.testing.assert_allclose(rate_of(state), 0.6)
    again = descent(slope_rtol=0.3, decrease_factor=0.5, increase_factor=jnp.inf)
    np.testing.assert_allclose(rate_of(step(again, state, W)[1]), 0.5)  # from 1 on


def test_a_loss_that_is_not_finite_is_not_low_enough():
    def broken(w):  # as of a model that overflows
        return jnp.where(jnp.sum(jnp.abs(w - W)) > 1.0, jnp.nan, loss(w))

    tx = descent(decrease_factor=0.5)
    w, state = step(tx, tx.init(W), W, broken)
    assert float(rate_of(state)) == 0.125
    assert loss(w) < loss(W)


def test_where_all_tries_fail_it_stays_and_then_starts_anew():
    tx = descent(2)
    w, state = step(tx, tx.init(W), W, lambda w: jnp.inf * loss(w))
    np.testing.assert_array_equal(w, W)
    assert not gx.metrics(state)["linesearch_succeeded"]
    _, state = step(tx, state, W)
    assert float(rate_of(state)) == 0.8


def test_what_is_tolerated_is_no_failure():
    tx = descent(atol=1e3)
    w, state = step(tx, tx.init(W), W)
    np.testing.assert_array_equal(w, -W)  # the first try, though the loss is what it was
    assert gx.metrics(state)["linesearch_succeeded"]
    assert float(gx.metrics(state)["linesearch_error"]) == 0.0
    without = descent(1)
    _, state = step(without, without.init(W), W)
    assert gx.metrics(state)["linesearch_succeeded"]


def test_the_gradient_at_the_end_of_the_step_saves_an_evaluation():
    tx, known = descent(store_grad=True), optax.value_and_grad_from_state(loss)
    w, state = step(tx, tx.init(W), W)
    value, grad = known(w, state=state)
    assert isinstance(grad, jax.Array)
    np.testing.assert_allclose(value, loss(w))
    np.testing.assert_allclose(grad, jax.grad(loss)(w), atol=1e-15)
    assert gx.find(descent().init(W), "grad") is None


def test_half_precision_searches_in_float32():
    w = W.astype(jnp.bfloat16)
    tx = descent(slope_rtol=0.3)
    state = tx.init(w)
    value, grad = jax.value_and_grad(loss)(w)
    updates, state = tx.update(grad, state, w, value=value, grad=grad, value_fn=loss)
    assert updates.dtype == jnp.bfloat16
    assert rate_of(state).dtype == jnp.float32
    assert round(float(rate_of(state)), 4) == 0.64


def test_what_is_missing_is_named():
    tx = gx.scale_by_backtracking_linesearch()
    with refused(TypeError, "update needs value, grad, value_fn: call update(updates, state, params, value=…"):
        tx.update(W, tx.init(W), W)
    with refused(ValueError, "update needs the parameters"):
        tx.update(W, tx.init(W), value=1.0, grad=W, value_fn=loss)
    with refused(ValueError, "max_backtracking_steps must be"):
        gx.scale_by_backtracking_linesearch(0)
