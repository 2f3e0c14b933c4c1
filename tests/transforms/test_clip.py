"""Clipping with a bound of infinity: programs turn it off by this number, and still want to see the norms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx as gx

FACTORIES = [gx.clip_by_value, gx.clip_by_norm, gx.clip_by_global_norm, gx.clip_by_group_norm]
GRADS = {"w": jnp.array([3.0, -4.0]), "b": jnp.array([[1e30, 0.0]], jnp.float32)}


@pytest.mark.parametrize("clip", FACTORIES, ids=lambda clip: clip.__name__)
def test_no_bound_clips_nothing_and_measures(clip):
    tx = clip(np.inf)
    bounded = clip(1.0)
    for g in (GRADS, {"w": jnp.array([3.0, -4.0])}, {"w": jnp.zeros(2)}):
        for update in (tx.update, jax.jit(tx.update), lambda *args: jax.jit(lambda tx: tx.update(*args))(tx)):
            out, state = update(g, tx.init(g))
            jax.tree.map(np.testing.assert_array_equal, out, g)
            assert not state.clipped
            measured = bounded.update(g, bounded.init(g))[1].norm
            np.testing.assert_array_equal(state.norm, measured)
            if np.isfinite(measured):  # that of 1e30 is not, in float32
                np.testing.assert_array_equal(state.clipped_norm, measured)


@pytest.mark.parametrize("clip", FACTORIES, ids=lambda clip: clip.__name__)
def test_its_gradient_is_that_of_the_identity(clip):
    for g in (jnp.array([3.0, -4.0]), jnp.zeros(2)):
        slope = jax.grad(lambda g, tx: jnp.sum(tx.update(g, tx.init(g))[0] * jnp.arange(1.0, 3.0)))(g, clip(np.inf))
        np.testing.assert_array_equal(slope, [1.0, 2.0])


def test_a_bound_that_is_set_on_the_way():
    """`inf` first, a bound later: nothing is compiled for it."""
    tx = gx.clip_by_global_norm(np.inf)
    g = jnp.array([3.0, 4.0])
    np.testing.assert_array_equal(tx.update(g, tx.init(g))[0], g)
    np.testing.assert_allclose(tx.replace(max_norm=1.0).update(g, tx.init(g))[0], [0.6, 0.8])


def test_nan_reaches_all_arrays_where_there_is_a_bound():
    tx = gx.clip_by_global_norm(1.0)
    out, state = tx.update({"a": jnp.array([jnp.nan]), "b": jnp.ones(1)}, tx.init(None))
    assert np.isnan(out["b"]).all()
    assert np.isnan(state.norm)


def test_units_and_spikes_without_a_bound():
    w, u = jnp.full((3, 2), 5.0), jnp.ones((3, 2))
    tx = gx.constrain_norm(np.inf)
    np.testing.assert_array_equal(tx.update(u, tx.init(w), w)[0], u)
    guard = gx.skip_spikes(gx.identity(), np.inf, warmup_steps=0)
    state = guard.init(u)
    for g in (u, u, 1e6 * u):
        out, state = guard.update(g, state)
        np.testing.assert_array_equal(out, g)
    np.testing.assert_array_equal(guard.update(u * np.nan, state)[0], jnp.zeros_like(u))
