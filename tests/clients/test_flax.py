"""Flax: Linen's `TrainState`, NNX's `Optimizer`, and the masks of Hugging Face's scripts."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
import pytest

import gradtx as gx
from tests.clients.same_path import OURS, assert_same_path

nn = pytest.importorskip("flax.linen")
nnx = pytest.importorskip("flax.nnx")
traverse_util = pytest.importorskip("flax.traverse_util")
train_state = pytest.importorskip("flax.training.train_state")

X = jax.random.normal(jax.random.key(1), (8, 3))
Y = jnp.sin(X[:, :2])


class Net(nn.Module):
    @nn.compact
    def __call__(self, x, train=True):
        x = nn.Dense(8, param_dtype=x.dtype)(x)
        x = nn.BatchNorm(use_running_average=not train, param_dtype=x.dtype)(x)
        return nn.Dense(2, param_dtype=x.dtype)(nn.relu(x))


class TrainState(train_state.TrainState):
    batch_stats: Any


def test_linen_train_state_with_batch_statistics():
    def trained(tx):
        model = Net()
        state = TrainState.create(apply_fn=model.apply, tx=tx, **model.init(jax.random.key(0), X))

        @jax.jit
        def train_step(state):
            def loss(params):
                variables = {"params": params, "batch_stats": state.batch_stats}
                y, changed = state.apply_fn(variables, X, mutable=["batch_stats"])
                return jnp.mean((y - Y) ** 2), changed

            grads, changed = jax.grad(loss, has_aux=True)(state.params)
            return state.apply_gradients(grads=grads, batch_stats=changed["batch_stats"])

        for _ in range(5):
            state = train_step(state)
            yield state.params, state.batch_stats

    assert_same_path(trained)


def nnx_trainer(tx):
    model = nnx.Linear(3, 2, rngs=nnx.Rngs(0), param_dtype=jnp.float64)
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)

    @nnx.jit
    def train_step(model, optimizer):
        loss, grads = nnx.value_and_grad(lambda model: jnp.mean((model(X) - Y) ** 2))(model)
        optimizer.update(model, grads)
        return loss

    return model, optimizer, train_step


def test_nnx_optimizer():
    def trained(tx):
        model, optimizer, train_step = nnx_trainer(tx)
        for _ in range(5):
            train_step(model, optimizer)
            yield nnx.to_pure_dict(nnx.state(model))

    assert_same_path(trained)


def test_nnx_optimizers_state_is_read_for_a_log():
    model, optimizer, train_step = nnx_trainer(OURS)
    train_step(model, optimizer)
    log = gx.metrics(optimizer.opt_state)
    assert float(log["learning_rate"]) == pytest.approx(1e-2)
    assert 0 < float(log["norm"]) == float(log["clipped_norm"]) < 1
    assert float(gx.find(optimizer.opt_state, "learning_rate")) == log["learning_rate"]
    assert gx.hyperparameters(OURS, optimizer.opt_state)["parts[1].learning_rate"] < 1e-2  # that of the next step


def decay_mask_fn(params):
    """No decay for biases and for what belongs to a norm, by the flattened names, as the scripts for Flax have it."""
    flat = traverse_util.flatten_dict(params)
    mask = {path: path[-1] != "bias" and not any("norm" in name.lower() for name in path) for path in flat}
    return traverse_util.unflatten_dict(mask)


def test_hugging_face_masks_and_schedules():
    class Block(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.LayerNorm(param_dtype=x.dtype)(nn.Dense(8, param_dtype=x.dtype)(x))
            return nn.Dense(2, param_dtype=x.dtype)(nn.gelu(x))

    model = Block()
    assert sum(jax.tree.leaves(decay_mask_fn(model.init(jax.random.key(0), X)["params"]))) == 2  # the kernels

    def trained(tx):
        params = model.init(jax.random.key(0), X)["params"]
        state = train_state.TrainState.create(apply_fn=model.apply, params=params, tx=tx)

        @jax.jit
        def train_step(state):
            grads = jax.grad(lambda params: jnp.mean((state.apply_fn({"params": params}, X) - Y) ** 2))(state.params)
            return state.apply_gradients(grads=grads)

        for _ in range(8):
            state = train_step(state)
            yield state.params

    ours = gx.linear(0.0, 1e-2, 3).then(gx.linear(1e-2, 0.0, 7), at=3)
    lines = optax.linear_schedule(0.0, 1e-2, 3), optax.linear_schedule(1e-2, 0.0, 7)
    theirs = optax.join_schedules(lines, boundaries=[3])
    masked = gx.adamw(ours, weight_decay=0.5, mask=decay_mask_fn)
    # Optax divides the count of its lines in float32.
    assert_same_path(trained, masked, optax.adamw(theirs, weight_decay=0.5, mask=decay_mask_fn), rtol=1e-7)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):  # the mask makes a difference
        assert_same_path(trained, masked, optax.adamw(theirs, weight_decay=0.5), rtol=1e-4)
