"""Optax's class `MultiSteps` around a value: it prints, compares, pickles and goes into `jit`."""

import pickle

import jax
import jax.numpy as jnp

import gradtx.optax as optax

MADE = optax.MultiSteps(optax.adam(0.1), 2)
PARAMS = {"w": jnp.ones(2)}


def test_it_prints_compares_and_pickles():
    assert repr(MADE) == "MultiSteps(opt=adam(learning_rate=0.1), every_k_schedule=2)"
    assert MADE == optax.MultiSteps(optax.adam(0.1), 2) != optax.MultiSteps(optax.adam(0.2), 2)
    assert hash(MADE) == hash(optax.MultiSteps(optax.adam(0.1), 2))
    again = pickle.loads(pickle.dumps(MADE))
    assert again == MADE
    assert again.inner_opt == optax.adam(0.1)
    assert repr(optax.chain(optax.clip(1.0), MADE)).startswith("chain(clip(max_delta=1.0), multi_steps(opt=adam(")


def test_another_rate_compiles_nothing():
    @jax.jit
    def step(tx, state):
        return tx.update(PARAMS, state, PARAMS)

    moved = []
    for rate in (0.1, 0.2):
        tx = optax.MultiSteps(optax.adam(rate), 2)
        _, state = step(tx, tx.init(PARAMS))
        updates, state = step(tx, state)
        assert tx.has_updated(state)
        moved.append(float(updates["w"][0]))
    assert abs(moved[1] - 2 * moved[0]) < 1e-6
    assert step._cache_size() == 1  # pyright: ignore[reportAttributeAccessIssue]


def test_what_is_left_to_optax_is_itself():
    sums = optax.MultiSteps(optax.adam(0.1), 2, use_grad_mean=False)
    assert sums == sums != optax.MultiSteps(optax.adam(0.1), 2, use_grad_mean=False)
    assert jax.tree.leaves(sums) == []
    assert hash(sums) == hash(sums)
    state = sums.init(PARAMS)
    assert jax.jit(lambda tx: tx.update(PARAMS, state, PARAMS)[0])(sums)["w"].shape == (2,)
