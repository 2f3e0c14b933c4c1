"""Hyperparameters in the state: whatever is given to the inner factory, and at no cost for another number."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax as real
import pytest

import gradtx as gx
import gradtx.optax as optax

MODULES: list[Any] = [optax, real]
W = jnp.array([3.0, 1.0], jnp.float32)
PARAMS = {"w": W, "b": W}
calls: list[None] = []


def counted_sgd(learning_rate):
    calls.append(None)
    return optax.sgd(learning_rate)


def one_update(tx, params=PARAMS):
    return tx.update(params, tx.init(params), params)[0]


def test_another_number_traces_nothing():
    make = optax.inject_hyperparams(counted_sgd)
    updates, traces = [], []
    for rate in (0.1, 0.2, jnp.float32(0.3), np.float32(0.4)):
        tx = make(rate)
        state = tx.init(W)
        calls.clear()
        updates.append(tx.update(W, state, W)[0][1])
        traces.append(len(calls))
    np.testing.assert_allclose(updates, [-0.1, -0.2, -0.3, -0.4], rtol=1e-6)
    assert traces[0] >= 1
    assert traces[1] == 0
    assert jax.tree.leaves(make(0.1)) == [0.1]


@pytest.mark.parametrize(
    "make",
    [
        lambda m: m.inject_hyperparams(m.adamw, static_args="mask")(0.1, mask={"w": True, "b": False}),
        lambda m: m.inject_hyperparams(m.adamw)(0.1, mask={"w": True, "b": False}),
        lambda m: m.inject_hyperparams(lambda rate, axes: m.sgd(rate * sum(axes)))(0.1, axes=[1, 2]),
        lambda m: m.inject_hyperparams(
            lambda rate, labels: m.partition({"a": m.sgd(rate), "b": m.set_to_zero()}, labels)
        )(0.1, {"w": "a", "b": "b"}),
    ],
    ids=["static mask", "mask", "list", "labels"],
)
def test_arguments_that_have_no_hash(make):
    tx, theirs = map(make, MODULES)
    assert isinstance(tx, gx.Transformation)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), one_update(tx), one_update(theirs))
    assert hash(tx) == hash(tx.replace())


def test_they_are_printed_as_they_were_given():
    tx = optax.inject_hyperparams(optax.adamw, static_args="mask")(0.1, mask={"w": True, "b": False})
    assert repr(tx) == (
        "inject_hyperparams(adamw, static_args=('mask',))(learning_rate=0.1, mask={'w': True, 'b': False})"
    )


def test_parameters_that_no_update_moves():
    params = {"w": W, "f": jax.nn.relu, "n": jnp.arange(2)}
    tx = optax.inject_hyperparams(optax.sgd)(0.1)
    state = tx.init(params)
    assert state.hyperparams["learning_rate"].dtype == jnp.float32
    updates, state = tx.update({"w": W, "f": None, "n": None}, state, params)
    np.testing.assert_allclose(updates["w"], -0.1 * W, rtol=1e-6)
    assert state.hyperparams["learning_rate"].dtype == jnp.float32


def test_the_numbers_in_force_are_the_states():
    tx = optax.inject_hyperparams(optax.sgd)(0.1)
    assert jax.tree.leaves(gx.hyperparameters(tx)) == [0.1]
    state = tx.init(W)
    state.hyperparams["learning_rate"] = jnp.float32(0.5)
    assert {float(x) for x in gx.hyperparameters(tx, state).values()} == {0.5}
