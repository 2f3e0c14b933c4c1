"""`schedule_free`: its author's numbers, the average that it recovers, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx
from tests.printed import CURVATURE, V, descended, loss, path, sums
from tests.reference import over_any
from tests.refusals import refused

pytestmark = pytest.mark.slow


def test_printed():
    np.testing.assert_allclose(descended(gx.schedule_free_sgd(0.1)), (6.2230950000, 5.7447840625), rtol=1e-10)
    tx = gx.schedule_free_adamw(0.1)
    params, state = path(tx, lambda t, params: jax.grad(loss)(params), 3)
    np.testing.assert_allclose(sums(params), (6.8444315186, 5.5867417479), rtol=1e-10)
    evaluated = sums(gx.evaluation_parameters(tx, state, params))
    np.testing.assert_allclose(evaluated, (6.8798311475, 5.6060619971), rtol=1e-10)


@pytest.mark.parametrize("sgd", [gx.sgd, optax.sgd])
def test_an_optimizer_has_its_own_rate(sgd):
    np.testing.assert_allclose(descended(gx.schedule_free(sgd(0.1), 0.1)), (6.2230950000, 5.7447840625), rtol=1e-10)


def test_printed_with_the_authors_warmup_and_decay():
    """Its first rate is half of the rate, for the steps and for their weights; Optax's inner rate would be 0."""
    tx = gx.schedule_free_adamw(lambda n: 0.1 * jnp.minimum((n + 1.0) / 2.0, 1.0), weight_decay=0.1)
    np.testing.assert_allclose(descended(tx), (6.7796257719, 5.5161656669), rtol=1e-10)


def walked(tx, steps, grad):
    w = jnp.asarray(V)
    state, update = tx.init(w), jax.jit(tx.update)
    for _ in range(steps):
        updates, state = update(grad(w), state, w)
        w = gx.apply_updates(w, updates)
        yield w, state.z, gx.evaluation_parameters(tx, state, w)


@pytest.mark.parametrize("b1", [0.9, 1.0])
def test_the_average_that_it_recovers_is_the_one_that_is_kept(b1):
    rates = [0.0, 0.05, 0.1, 0.3, 0.2, *[0.1] * 35]
    table = jnp.asarray(rates)

    def grad(w):
        return CURVATURE * w

    # With a schedule of the rate the state is one inside of `ScheduledState`; so the rate is looked up by hand.
    tx = gx.schedule_free(gx.identity(), 0.1, b1, 1.5, 0.5)
    w, state = jnp.asarray(V), tx.init(jnp.asarray(V))
    update = jax.jit(lambda tx, *args: tx.update(*args))
    expected = list(over_any.averaged_steps(V, grad, rates, b1, 1.5, 0.5))
    for rate, (y, z, x) in zip(table, expected, strict=True):
        updates, state = update(tx.replace(learning_rate=rate), grad(w), state, w)
        w = gx.apply_updates(w, updates)
        np.testing.assert_allclose(w, y, rtol=1e-12)
        np.testing.assert_allclose(state.z, z, rtol=1e-12)
        np.testing.assert_allclose(gx.evaluation_parameters(tx, state, w), x, rtol=1e-12)


def test_at_a_constant_rate_it_is_the_mean_of_the_steps():
    seen = list(walked(gx.schedule_free_sgd(0.1, b1=1.0), 6, lambda w: w))
    mean = np.mean([z for _, z, _ in seen], axis=0)
    np.testing.assert_allclose(seen[-1][0], mean, rtol=1e-12)
    np.testing.assert_allclose(seen[-1][2], mean, rtol=1e-12)


def test_another_share_leaves_the_average_where_it_is():
    """The state knows the share of the parameters that are there: it is that of the last update."""
    tx = gx.schedule_free_sgd(0.1, b1=0.9)
    w = jnp.asarray(V)
    state = tx.init(w)
    for b1 in (0.9, 0.9, 0.5):
        tx = tx.replace(b1=b1)
        before = gx.evaluation_parameters(tx, state, w)
        updates, state = tx.update(w, state, w)
        z, w = state.z, gx.apply_updates(w, updates)
    x = gx.evaluation_parameters(tx, state, w)
    np.testing.assert_allclose(w, 0.5 * x + 0.5 * z, rtol=1e-12)
    np.testing.assert_allclose(x, before + (z - before) / 3, rtol=1e-12)


def test_with_a_rate_of_zero_nothing_moves():
    (w, z, x), *_ = walked(gx.schedule_free_adamw(0.0, power=0.5), 1, lambda w: w)
    for found in (w, z, x):
        np.testing.assert_allclose(found, V, rtol=1e-15)


def test_complex_and_half_precision_parameters():
    tx = gx.schedule_free_sgd(0.5, b1=0.5)
    w = {"c": jnp.array([1.0 + 2.0j], jnp.complex64), "h": jnp.ones(2, jnp.bfloat16)}
    updates, state = tx.update(w, tx.init(w), w)
    w = gx.apply_updates(w, updates)
    assert [x.dtype for x in state.z.values()] == [jnp.complex64, jnp.float32]
    x = gx.evaluation_parameters(tx, state, w)
    np.testing.assert_allclose(x["c"], [0.5 + 1.0j])
    assert x["h"].dtype == jnp.bfloat16
    assert float(x["h"][0]) == 0.5


def test_refusals():
    with refused(ValueError, "schedule_free_sgd: b1 must be in (0, 1], got 0"):
        gx.schedule_free_sgd(0.1, b1=0.0)
    tx, w = gx.schedule_free(gx.identity(), 0.1), jnp.asarray(V)
    with refused(ValueError, "schedule_free: update needs the parameters: call update(updates, state, params)"):
        tx.update(w, tx.init(w))
    with refused(ValueError, "evaluation_parameters: params is float64[2], in the state's z it is float64[3]; call"):
        gx.evaluation_parameters(tx, tx.init(w), w[:2])
