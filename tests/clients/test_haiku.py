"""Haiku: parameters in two levels of names, and masks made of module names."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import pytest

import gradtx as gx
from tests.clients.same_path import assert_same_path

hk = pytest.importorskip("haiku")

X = jax.random.normal(jax.random.key(1), (8, 3))
Y = jnp.sin(X[:, :2])


class TrainingState(NamedTuple):
    params: Any
    net_state: Any
    opt_state: Any


def forward(x):
    x = hk.Linear(8)(x)
    x = hk.BatchNorm(create_scale=True, create_offset=True, decay_rate=0.9)(x, is_training=True)
    return hk.Linear(2)(jax.nn.relu(x))


def trained(tx):
    net = hk.without_apply_rng(hk.transform_with_state(forward))
    params, net_state = net.init(jax.random.key(0), X)
    state = TrainingState(params, net_state, tx.init(params))

    def loss(params, net_state):
        y, net_state = net.apply(params, net_state, X)
        return jnp.mean((y - Y) ** 2), net_state

    @jax.jit
    def update(state):
        grads, net_state = jax.grad(loss, has_aux=True)(state.params, state.net_state)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        return TrainingState(optax.apply_updates(state.params, updates), net_state, opt_state)

    for _ in range(5):
        state = update(state)
        yield state.params, state.net_state


def weights_only(params):
    return hk.data_structures.map(lambda module, name, value: "linear" in module and name == "w", params)


def test_training_state():
    assert_same_path(trained)


def test_mask_by_module_and_name():
    ours, theirs = (library.adamw(1e-2, weight_decay=0.5, mask=weights_only) for library in (gx, optax))
    assert_same_path(trained, ours, theirs)
    *_, (params, _) = trained(ours)
    *_, (whole, _) = trained(gx.adamw(1e-2, weight_decay=0.5))
    differ = jax.tree.map(lambda x, y: bool(jnp.any(jnp.abs(x - y) > 1e-4)), params, whole)
    assert differ["linear"]["w"]
    assert differ["batch_norm"]["scale"]
