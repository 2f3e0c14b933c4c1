"""Proximal policy optimization in the way of pure JAX: all of the training within `jit(vmap(scan))`."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx
from tests.clients.same_path import assert_same_path

TrainState = pytest.importorskip("flax.training.train_state").TrainState

RATE, UPDATES, EPOCHS, MINIBATCHES, ENVS, LENGTH = 0.02, 6, 2, 2, 4, 16


class Transition(NamedTuple):
    position: Any
    action: Any
    log_prob: Any
    value: Any
    reward: Any


def policy(params, position):
    """Log probabilities of a step to the left and to the right, and the value."""
    features = jnp.stack([position, jnp.ones_like(position)], -1)
    return jax.nn.log_softmax(features @ params["actor"]), features @ params["critic"]


def rollout(params, position, key):
    """Walkers on a line that are paid for being near to zero."""

    def step(position, key):
        log_probs, value = policy(params, position)
        action = jax.random.categorical(key, log_probs)
        log_prob = jnp.take_along_axis(log_probs, action[:, None], -1)[:, 0]
        after = position + 0.4 * action - 0.2
        return after, Transition(position, action, log_prob, value, -jnp.abs(after))

    return jax.lax.scan(step, position, jax.random.split(key, LENGTH))


def advantages(transitions, last_value):
    def step(carry, t):
        advantage, value = carry
        advantage = t.reward + 0.95 * value - t.value + 0.95 * 0.9 * advantage
        return (advantage, t.value), advantage

    return jax.lax.scan(step, (jnp.zeros_like(last_value), last_value), transitions, reverse=True)[1]


def loss(params, batch):
    t, advantage = batch
    log_probs, value = policy(params, t.position)
    log_prob = jnp.take_along_axis(log_probs, t.action[:, None], -1)[:, 0]
    ratio, target = jnp.exp(log_prob - t.log_prob), t.value + advantage
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    gain = jnp.minimum(ratio * advantage, jnp.clip(ratio, 0.8, 1.2) * advantage)
    entropy = -jnp.sum(jnp.exp(log_probs) * log_probs, -1)
    return jnp.mean(-gain + 0.5 * (value - target) ** 2 - 0.01 * entropy)


def train(tx, key):
    """The parameters after each of the updates, and the reward before it."""
    params = {"actor": jnp.zeros((2, 2)), "critic": jnp.zeros(2)}
    state = TrainState.create(apply_fn=policy, params=params, tx=tx)

    def update(carry, key):
        state, position = carry
        act, *epochs = jax.random.split(key, 1 + EPOCHS)
        position, transitions = rollout(state.params, position, act)
        advantage = advantages(transitions, policy(state.params, position)[1])
        flat = jax.tree.map(jnp.ravel, (transitions, advantage))

        def minibatch(state, batch):
            return state.apply_gradients(grads=jax.grad(loss)(state.params, batch)), None

        def epoch(state, key):
            order = jax.random.permutation(key, LENGTH * ENVS).reshape(MINIBATCHES, -1)
            return jax.lax.scan(minibatch, state, jax.tree.map(lambda x: x[order], flat))

        state, _ = jax.lax.scan(epoch, state, jnp.stack(epochs))
        return (state, position), (state.params, transitions.reward.mean())

    start, keys = jax.random.split(key)
    position = jax.random.uniform(start, (ENVS,), minval=-2.0, maxval=2.0)
    return jax.lax.scan(update, (state, position), jax.random.split(keys, UPDATES))[1]


def annealed(count):
    """The rate as such programs write it, by the updates of the policy that are done."""
    return RATE * (1.0 - (count // (MINIBATCHES * EPOCHS)) / UPDATES)


def trained(tx):
    params, reward = jax.jit(jax.vmap(partial(train, tx)))(jax.random.split(jax.random.key(0), 3))
    for i in range(UPDATES):
        yield jax.tree.map(lambda x, i=i: x[:, i], (params, reward))


def test_jit_of_vmap_of_scan():
    steps = UPDATES * EPOCHS * MINIBATCHES
    ours = gx.chain(gx.clip_by_global_norm(0.5), gx.adam(gx.linear(RATE, 0.0, steps), eps=1e-5))
    line = optax.linear_schedule(RATE, 0.0, steps)
    theirs = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(line, eps=1e-5))
    assert_same_path(trained, ours, theirs, rtol=1e-6)  # Optax divides the count of its line in float32


def test_a_rate_written_as_a_function():
    ours = gx.chain(gx.clip_by_global_norm(0.5), gx.adam(annealed, eps=1e-5))
    theirs = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(annealed, eps=1e-5))
    assert_same_path(trained, ours, theirs, rtol=1e-8)


def test_a_rate_for_each_seed():
    """What one compiled program of PPO can't have with Optax but through `inject_hyperparams`."""
    rates, keys = jnp.array([0.003, 0.03]), jax.random.split(jax.random.key(0), 2)
    clip = gx.clip_by_global_norm(0.5)
    params, _ = jax.jit(jax.vmap(lambda rate, key: train(gx.chain(clip, gx.adam(rate)), key)))(rates, keys)
    for i, (rate, key) in enumerate(zip(rates, keys, strict=True)):
        theirs = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(float(rate)))
        expected, _ = jax.jit(partial(train, theirs))(key)
        jax.tree.map(lambda x, y, i=i: np.testing.assert_allclose(x[i], y, 1e-8, 1e-8), params, expected)
