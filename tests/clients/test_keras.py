"""Keras 3 on JAX: in a stateless training step without any help, and in `fit` through an adapter."""

import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx as gx
from tests.clients.same_path import OURS, assert_same_path

os.environ.setdefault("KERAS_BACKEND", "jax")  # read when Keras is imported
keras = pytest.importorskip("keras")

X = np.random.default_rng(0).normal(size=(8, 3))
Y = np.sin(X[:, :2])


@pytest.fixture(autouse=True)
def keras_in_float64():
    """Keras adds biases by broadcasting, which is an error in these tests otherwise."""
    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    with jax.numpy_rank_promotion("allow"):
        yield
    keras.config.set_floatx(before)


def network():
    keras.utils.set_random_seed(0)
    hidden, normal = keras.layers.Dense(8, "relu"), keras.layers.BatchNormalization()
    return keras.Sequential([keras.Input([3]), hidden, normal, keras.layers.Dense(2, kernel_constraint="non_neg")])


def values(variables):
    return [v.value for v in variables]


def test_stateless_training_step():
    def trained(tx):
        model = network()

        def loss(trainable, rest):
            y, rest = model.stateless_call(trainable, rest, X, training=True)
            return jnp.mean((y - Y) ** 2), rest

        @jax.jit
        def train_step(state):
            trainable, rest, opt_state = state
            grads, rest = jax.grad(loss, has_aux=True)(trainable, rest)
            updates, opt_state = tx.update(grads, opt_state, trainable)
            return gx.apply_updates(trainable, updates), rest, opt_state

        trainable = values(model.trainable_variables)
        state = trainable, values(model.non_trainable_variables), tx.init(trainable)
        for _ in range(5):
            state = train_step(state)
            yield state[:2]

    assert_same_path(trained)


PAGE = (Path(__file__).parents[2] / "docs" / "migration.md").read_text()
exec(PAGE.partition("```py\n")[2].partition("```")[0])  # the adapter, as the page on moving has it
Optimizer: Any = globals()["KerasOptimizer"]


def test_fit():
    def trained(tx):
        model = network()
        model.compile(optimizer=Optimizer(tx), loss="mse")
        for _ in range(4):
            model.fit(X, Y, batch_size=4, shuffle=False, verbose=0)
            yield values(model.variables)
        assert model.layers[-1].kernel.value.min() == 0.0  # the constraint is kept

    assert_same_path(trained)


def test_metrics_are_read_from_the_variables_of_keras():
    model, optimizer = network(), Optimizer(OURS)
    model.compile(optimizer=optimizer, loss="mse")
    model.fit(X, Y, batch_size=4, verbose=0)
    log = gx.metrics(optimizer.structure.unflatten(values(optimizer.leaves)))
    assert log["learning_rate"] == pytest.approx(OURS.parts[1].learning_rate(1))
    assert log["count"] == optimizer.iterations.value == 2
