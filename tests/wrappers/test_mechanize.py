"""`mechanize`: Optax's numbers, a scale that does not turn on that of the loss, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx as gx
from tests.printed import V, descended
from tests.refusals import refused

pytestmark = pytest.mark.slow


def test_printed():
    expected = 7.4394651169, 5.9496363029
    np.testing.assert_allclose(descended(gx.mechanize(gx.sgd(0.1), s_init=0.1)), expected, rtol=1e-10)


def went(c, steps=25):
    """The way down a loss that is c times as large, and the scale that was learned."""
    tx = gx.mechanize(gx.sign_sgd(1.0), 0.0, 1e-30, 0.01)

    @jax.jit
    def run(w):
        def step(carry, _):
            w, state = carry
            updates, state = tx.update(c * w, state, w)
            return (gx.apply_updates(w, updates), state), w

        (_, state), seen = jax.lax.scan(step, (w, tx.init(w)), None, steps)
        return seen, gx.metrics(state)["learned_scale"]

    return run(jnp.asarray(V))


def test_the_scale_of_the_loss_does_not_matter():
    (one, scale), (other, same) = went(1.0), went(1e6)
    np.testing.assert_allclose(other, one, rtol=1e-9)
    np.testing.assert_allclose(same, scale, rtol=1e-9)
    assert float(scale) > 0.2  # it has grown from 0.01
    assert np.sum(np.square(one[-1])) < 0.5 * np.sum(np.square(V))


def test_it_starts_from_where_the_first_update_finds_the_parameters():
    tx, w = gx.mechanize(gx.sgd(0.1), s_init=0.1), jnp.asarray(V)
    elsewhere, _ = tx.update(w, tx.init(w + 7.0), w)
    here, state = tx.update(w, tx.init(w), w)
    np.testing.assert_array_equal(elsewhere, here)
    np.testing.assert_array_equal(state.x0, w)


def test_zero_gradients_change_no_scale():
    tx, w = gx.mechanize(gx.sgd(0.1), s_init=0.25, num_betas=2), jnp.zeros(3)
    state = tx.init(w)
    for _ in range(3):
        updates, state = tx.update(jnp.zeros(3), state, w)
    np.testing.assert_array_equal(updates, np.zeros(3))
    np.testing.assert_allclose(state.s, 0.125)


def test_refusals():
    with refused(ValueError, "mechanize: num_betas must be a whole number, at least 1, got 0"):
        gx.mechanize(gx.sgd(0.1), num_betas=0)
    tx, w = gx.mechanize(gx.sgd(0.1)), jnp.asarray(V)
    with refused(ValueError, "mechanize: update needs the parameters: call update(updates, state, params)"):
        tx.update(w, tx.init(w))
