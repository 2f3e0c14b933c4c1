"""NumPyro: stochastic variational inference, also where a step is left out."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx
from tests.clients.same_path import assert_same_path

numpyro = pytest.importorskip("numpyro")
dist = pytest.importorskip("numpyro.distributions")
infer = pytest.importorskip("numpyro.infer")
autoguide = pytest.importorskip("numpyro.infer.autoguide")
optax_to_numpyro = pytest.importorskip("numpyro.optim").optax_to_numpyro

X = jax.random.normal(jax.random.key(1), (32, 2))
Y = X @ jnp.array([1.0, -2.0])
BAD = Y.at[3].set(jnp.nan)


def model(x, y):
    w = numpyro.sample("w", dist.Normal(jnp.zeros(2), 1.0).to_event(1))
    with numpyro.plate("data", len(x)):
        numpyro.sample("y", dist.Normal(x @ w, 0.5), obs=y)


def inference(tx):
    return infer.SVI(model, autoguide.AutoNormal(model), tx, infer.Trace_ELBO())


def test_optax_to_numpyro():
    def trained(tx):
        svi = inference(optax_to_numpyro(tx))
        state, update = svi.init(jax.random.key(0), X, Y), jax.jit(svi.update)
        for _ in range(5):
            state, loss = update(state, X, Y)
            yield svi.get_params(state), loss

    assert_same_path(trained)


def test_stable_update_leaves_a_bad_batch_out():
    def trained(tx):
        svi = inference(optax_to_numpyro(tx))
        state, update = svi.init(jax.random.key(0), X, Y), jax.jit(svi.stable_update)
        for y in (Y, BAD, Y, Y):
            before = state
            state, loss = update(state, X, y)
            if y is BAD:
                assert jnp.isnan(loss)
                jax.tree.map(np.testing.assert_array_equal, state.optim_state, before.optim_state)
            yield svi.get_params(state)

    assert_same_path(trained)


def test_run_hands_the_loss_to_a_plateau():
    """SVI takes an Optax transformation as it is, and gives it the loss as `value`."""

    def trained(tx):
        result = inference(tx).run(jax.random.key(0), 30, X, Y, progress_bar=False, stable_update=True)
        scale = optax.tree.get(result.state.optim_state, "scale")
        assert scale < 1.0  # a plateau was found
        return result.params, result.losses, scale

    ours = gx.chain(gx.adam(0.5), gx.reduce_on_plateau(0.5, patience=2, rtol=1e-4))
    theirs = optax.chain(optax.adam(0.5), optax.contrib.reduce_on_plateau(0.5, patience=2, rtol=1e-4))
    for x, y in zip(jax.tree.leaves(trained(ours)), jax.tree.leaves(trained(theirs)), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-8)
