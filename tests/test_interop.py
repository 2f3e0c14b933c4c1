"""Optax's own wrappers and parts, each used as its users use it; frameworks are in `clients`."""

import pickle
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx

CLIPPED = gx.chain(gx.clip_by_global_norm(1.0), gx.adamw(gx.cosine(1e-2, 20), weight_decay=0.1))
PARAMS = {"w": jnp.arange(6.0).reshape(2, 3), "b": jnp.ones(3)}
G = {"w": jnp.ones((2, 3)), "b": -jnp.ones(3)}


def steps(tx: Any, n: int = 3, params: Any = PARAMS) -> tuple[Any, Any]:
    state = tx.init(params)
    for _ in range(n):
        updates, state = jax.jit(tx.update)(G, state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def assert_close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-12), a, b)


def test_is_an_optax_transformation_and_unpacks():
    assert isinstance(CLIPPED, optax.GradientTransformationExtraArgs)
    init, update = CLIPPED
    assert_close(update(G, init(PARAMS), PARAMS), CLIPPED.update(G, CLIPPED.init(PARAMS), PARAMS))


def test_optax_masked():
    tx = optax.masked(gx.adam(0.1), {"w": True, "b": False})
    params, _ = steps(tx)
    alone, _ = steps(gx.adam(0.1))
    assert_close(params["w"], alone["w"])
    assert_close(params["b"], PARAMS["b"] + 3 * G["b"])  # masked leaves updates as they are


def test_optax_partition():
    rules: Any = {"fast": gx.sgd(0.1), "slow": optax.sgd(0.01)}
    params, _ = steps(optax.partition(rules, {"w": "fast", "b": "slow"}))
    assert_close(params, {"w": PARAMS["w"] - 0.3 * G["w"], "b": PARAMS["b"] - 0.03 * G["b"]})


def test_optax_multi_steps():
    tx = optax.MultiSteps(gx.adam(0.1), every_k_schedule=2)
    params, _ = steps(tx, 4)
    expected, _ = steps(gx.adam(0.1), 2)
    assert_close(params, expected)


def test_optax_apply_if_finite():
    tx = optax.apply_if_finite(gx.adam(0.1), max_consecutive_errors=2)
    bad = jax.tree.map(lambda x: x * jnp.nan, G)
    updates, state = tx.update(bad, tx.init(PARAMS), PARAMS)
    assert_close(updates, jax.tree.map(jnp.zeros_like, G))
    updates, _ = tx.update(G, state, PARAMS)
    expected, _ = gx.adam(0.1).update(G, gx.adam(0.1).init(PARAMS), PARAMS)
    assert_close(updates, expected)


def test_optax_parts_in_a_chain_stay_beside_dynamic_ones():
    tx = gx.chain(optax.clip_by_global_norm(1.0), gx.adam(0.1), optax.add_decayed_weights(0.1))
    params, _ = steps(tx)
    expected, _ = steps(gx.chain(gx.clip_by_global_norm(1.0), gx.adam(0.1), gx.add_decayed_weights(0.1)))
    assert_close(params, expected)
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(tx)]
    assert paths[0] == ".parts[1].learning_rate"
    assert repr(tx).startswith("chain(<optax.clip_by_global_norm>, adam(learning_rate=0.1), <optax.")
    assert hash(tx) == hash(tx.replace())
    assert tx == tx.replace(learning_rate=0.1)


def test_optax_line_search_gets_its_functions():
    def loss(w):
        return jnp.sum((w - 1.0) ** 4)

    def searched(tx):
        w, state = jnp.zeros(3), tx.init(jnp.zeros(3))
        for _ in range(3):
            value, g = jax.value_and_grad(loss)(w)
            updates, state = tx.update(g, state, w, value=value, grad=g, value_fn=loss)
            w = gx.apply_updates(w, updates)
        return w

    line_search = optax.scale_by_backtracking_linesearch(max_backtracking_steps=15)
    w = searched(gx.chain(gx.sgd(1.0), line_search))
    assert_close(w, searched(optax.chain(optax.sgd(1.0), line_search)))
    assert loss(w) < loss(jnp.zeros(3))


def test_an_optax_schedule_is_a_schedule():
    ours, _ = steps(gx.sgd(optax.exponential_decay(0.1, 2, 0.5)))
    theirs, _ = steps(optax.sgd(optax.exponential_decay(0.1, 2, 0.5)))
    assert_close(ours, theirs)


def test_what_the_readme_says_of_optax():
    theirs: Any = optax.adam(0.1)
    with pytest.raises((AttributeError, pickle.PicklingError), match="local object"):
        pickle.dumps(theirs)
    with pytest.raises(TypeError, match=r"non-array|not a valid JAX type"):
        jax.jit(lambda tx: 0)(theirs)
    with pytest.raises((TypeError, ValueError), match="function"):
        jax.vmap(optax.adam)(jnp.ones(3))
    assert theirs != optax.adam(0.1)
