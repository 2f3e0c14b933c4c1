"""Orbax: training is saved in the middle of everything and goes on as if nothing had been."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx
from tests.clients.same_path import assert_same_path

ocp = pytest.importorskip("orbax.checkpoint")

PARAMS = {"w": jnp.ones((2, 3)), "b": jnp.zeros(3)}
X = jax.random.normal(jax.random.key(1), (9, 4, 2))

RATE = gx.linear(0.0, 1e-2, 2).then(gx.cosine(1e-2, 8), at=2)
MOMENTUM = gx.linear(0.8, 0.95, 4)
OURS = gx.accumulate(gx.chain(gx.clip_by_global_norm(1.0), gx.adamw(RATE, b1=MOMENTUM, weight_decay=0.1)), 2)


def theirs():
    rate = optax.join_schedules([optax.linear_schedule(0.0, 1e-2, 2), optax.cosine_decay_schedule(1e-2, 8)], [2])
    adamw = optax.adamw(rate, b1=0.9, weight_decay=0.1)
    return optax.MultiSteps(optax.chain(optax.clip_by_global_norm(1.0), adamw), 2)


def loss(params, x):
    return jnp.sum((jnp.tanh(x @ params["w"]) - params["b"][None]) ** 2)


def trained(tx, params=PARAMS, state=None, batches=X):
    state = tx.init(params) if state is None else state

    @jax.jit
    def train_step(params, state, x):
        updates, state = tx.update(jax.grad(loss)(params, x), state, params)
        return optax.apply_updates(params, updates), state

    for x in batches:
        params, state = train_step(params, state, x)
        yield params, state


def assert_equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_goes_on_bit_for_bit_from_the_middle_of_a_window(tmp_path):
    path = list(trained(OURS))
    params, state = path[4]
    assert gx.find(state, "mini_step") == 1  # a window is open
    with ocp.CheckpointManager(tmp_path) as manager:
        trees = dict(params=params, state=state)
        manager.save(5, args=ocp.args.Composite(**{name: ocp.args.StandardSave(x) for name, x in trees.items()}))
        manager.wait_until_finished()
    with ocp.CheckpointManager(tmp_path) as manager:
        shapes = dict(params=jax.eval_shape(lambda: PARAMS), state=jax.eval_shape(OURS.init, PARAMS))
        wanted = ocp.args.Composite(**{name: ocp.args.StandardRestore(x) for name, x in shapes.items()})
        restored = manager.restore(manager.latest_step(), args=wanted)
    assert_equal((restored.params, restored.state), (params, state))
    for going_on, expected in zip(trained(OURS, restored.params, restored.state, X[5:]), path[5:], strict=True):
        assert_equal(going_on, expected)


def test_the_path_is_optaxs():
    # Optax divides the count of its lines in float32.
    assert_same_path(lambda tx: (params for params, _ in trained(tx)), OURS.replace(b1=0.9), theirs(), rtol=1e-7)
