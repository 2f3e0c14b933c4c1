"""Equinox: whole models with functions in them, filtered ones, and ensembles by `vmap`."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx
from tests.clients.same_path import OURS, THEIRS, assert_same_path

eqx = pytest.importorskip("equinox")

X = jax.random.normal(jax.random.key(1), (8, 3))
Y = jnp.sin(X[:, :2])


def mlp(key):
    return eqx.nn.MLP(3, 2, 8, 1, key=key, dtype=jnp.float64)  # a callable, with functions for leaves


def loss(model):
    return jnp.mean((jax.vmap(model)(X) - Y) ** 2)


def arrays(model):
    return eqx.filter(model, eqx.is_inexact_array)


def trained(tx, seen=arrays):
    """The loop of Equinox's examples; `seen` is what the optimizer gets of the model."""
    model = mlp(jax.random.key(0))
    state = tx.init(seen(model))

    @eqx.filter_jit
    def make_step(model, state):
        grads = eqx.filter_grad(loss)(model)
        updates, state = tx.update(grads, state, seen(model))
        return eqx.apply_updates(model, updates), state

    for _ in range(5):
        model, state = make_step(model, state)
        assert model.activation is mlp(jax.random.key(0)).activation
        yield arrays(model)


def test_filtered_model():
    assert_same_path(trained)


def test_whole_model_needs_no_filter():
    whole = list(trained(OURS, seen=lambda model: model))
    for ours, theirs in zip(whole, trained(THEIRS), strict=True):
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, 1e-10, 1e-10), ours, theirs)


def test_the_optimizer_is_an_argument_and_a_new_rate_compiles_nothing():
    compiled = []

    @eqx.filter_jit
    def make_step(model, state, tx):
        compiled.append(1)
        updates, state = tx.update(eqx.filter_grad(loss)(model), state, model)
        return gx.apply_updates(model, updates), state

    start = mlp(jax.random.key(0))
    optimizers = [gx.sgd(jnp.array(rate)) for rate in (0.1, 0.2)]  # to filter_jit, arrays alone are not static
    after = [make_step(start, tx.init(start), tx)[0] for tx in optimizers]
    assert len(compiled) == 1
    one, two = (model.layers[0].weight - start.layers[0].weight for model in after)
    np.testing.assert_allclose(two, 2 * one, rtol=1e-9)


def test_ensemble_by_vmap():
    keys = jax.random.split(jax.random.key(0), 3)

    def members(tx):
        models = eqx.filter_vmap(mlp)(keys)
        states = eqx.filter_vmap(lambda model: tx.init(arrays(model)))(models)

        @eqx.filter_jit
        @eqx.filter_vmap
        def make_step(model, state):
            updates, state = tx.update(eqx.filter_grad(loss)(model), state, arrays(model))
            return eqx.apply_updates(model, updates), state

        for _ in range(5):
            models, states = make_step(models, states)
            yield arrays(models)

    assert_same_path(members)


def test_ensemble_with_a_rate_for_each_member():
    rates = jnp.array([1e-3, 1e-2, 1e-1])
    model = mlp(jax.random.key(0))

    @eqx.filter_jit
    @eqx.filter_vmap(in_axes=(None, eqx.if_array(0)))
    def ours(model, tx):
        state = tx.init(model)
        for _ in range(3):
            updates, state = tx.update(eqx.filter_grad(loss)(model), state, model)
            model = gx.apply_updates(model, updates)
        return arrays(model)

    together = ours(model, jax.vmap(gx.adam)(rates))
    for i, rate in enumerate(rates):
        *_, alone = (point for point, _ in zip(trained(optax.adam(float(rate))), range(3), strict=False))
        jax.tree.map(lambda x, y, i=i: np.testing.assert_allclose(x[i], y, 1e-10, 1e-10), together, alone)


def test_apply_updates_leaves_a_whole_model_in_place():
    model = eqx.nn.Linear(3, 2, key=jax.random.key(0))
    gradients = eqx.filter_grad(lambda m: jnp.sum(m.weight**2))(model)
    updates, _ = gx.sgd(0.5).update(gradients, gx.sgd(0.5).init(model))
    moved = gx.apply_updates(model, updates)
    np.testing.assert_allclose(moved.weight, jnp.zeros_like(model.weight), atol=1e-7)
