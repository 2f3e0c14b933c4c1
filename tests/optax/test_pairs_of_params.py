"""Optax's `lookahead` on gradtx: fast and slow parameters in a pair."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax as real
import pytest

import gradtx as gx
import gradtx.optax as optax

W = {"a": jnp.array([1.0, -2.0]), "b": jnp.array(3.0)}
G = {"a": jnp.array([0.5, 0.25]), "b": jnp.array(-1.0)}
PAIR = optax.LookaheadParams.init_synced(W)


def steps(tx: Any, g: Any, n: int) -> Any:
    params, state = PAIR, tx.init(PAIR)
    for _ in range(n):
        updates, state = tx.update(g, state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def test_slow_weights_follow_at_the_end_of_a_period():
    tx = optax.lookahead(optax.sgd(1.0), 2, 0.5)
    one, _ = steps(tx, G, 1)
    np.testing.assert_allclose(one.fast["a"], [0.5, -2.25])
    np.testing.assert_allclose(one.slow["a"], W["a"])
    two, state = steps(tx, G, 2)
    for weights in two:  # half of the way from 1 to 0
        np.testing.assert_allclose(weights["a"], [0.5, -2.25])
    assert int(state.steps_since_sync) == 0


def test_it_runs_in_a_scan_and_starts_anew_where_it_is_to():
    tx, theirs = (m.lookahead(m.adam(0.1), 3, 0.5, reset_state=True) for m in (optax, real))

    def run(tx: Any) -> Any:
        def step(carry: Any, _: Any) -> Any:
            params, state = carry
            updates, state = tx.update(G, state, params)
            return (real.apply_updates(params, updates), state), params.slow

        return jax.lax.scan(step, (PAIR, tx.init(PAIR)), length=7)

    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), run(tx), run(theirs))


def test_none_and_frozen_arrays_stay_in_both():
    tx = gx.chain(gx.freeze(lambda path, x: x.ndim == 0), optax.lookahead(optax.sgd(1.0), 1, 0.5))
    params, _ = steps(tx, G, 2)
    assert params.fast["b"] == params.slow["b"] == 3.0
    assert params.fast["a"][0] < 1.0
    updates, _ = optax.lookahead(optax.sgd(1.0), 1, 0.5).update(G | {"b": None}, tx.init(PAIR)[1], PAIR)
    assert updates.fast["b"] is updates.slow["b"] is None


def test_what_is_refused():
    tx = optax.lookahead(optax.sgd(0.1), 2, 0.5)
    state = tx.init(W)  # those of the fast weights are enough, as in Optax
    with pytest.raises(TypeError, match=r"fast and slow ones, got dict; call update\(updates, state, LookaheadParams"):
        tx.update(G, state, W)
    with pytest.raises(TypeError, match="got NoneType; call update"):
        tx.update(G, state)
    with pytest.raises(ValueError, match=r"params.slow\['b'\] has shape \(1,\), params.fast\['b'\] \(\); make both"):
        tx.update(G, state, optax.LookaheadParams(fast=W, slow=W | {"b": jnp.ones(1)}))
    masked = optax.masked(tx, {"a": True, "b": False})
    with pytest.raises(TypeError, match="got some of the arrays; put what selects arrays inside of lookahead"):
        masked.update(G, masked.init(W), PAIR)
    inside = optax.lookahead(optax.masked(optax.sgd(1.0), {"a": True, "b": False}), 2, 0.5)
    assert inside.update(G, inside.init(PAIR), PAIR)[0].fast["b"] == G["b"]
    with pytest.raises(ValueError, match="Synchronization period must be >= 1"):
        optax.lookahead(optax.sgd(0.1), 0, 0.5)
    with pytest.raises(TypeError, match="the state is a ScaleByAdamState, expected LookaheadState"):
        tx.update(G, optax.scale_by_adam().init(W), PAIR)
