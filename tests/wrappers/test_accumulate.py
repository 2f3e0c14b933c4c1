"""Accumulation: windows of micro-batches against large batches, their extra arguments, and what goes wrong in them."""

import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx
from gradtx.core import transformation
from gradtx.testing.examples import FEW, in_dtype, normal
from tests.catalogue import BLOCKS

compiled_update: Any = transformation.compiled_update
G = jnp.array([[1.0, -2.0], [4.0, 2.0], [-1.0, 1.0], [2.0, 8.0]])


@jax.jit
def walked(tx, gradients, params):
    """The updates and the states over micro-batches, the parameters moving along."""

    def body(carry, g):
        params, state = carry
        u, state = tx.update(g, state, params)
        return (gx.apply_updates(params, u), state), (u, state)

    return jax.lax.scan(body, (params, tx.init(params)), gradients)[1]


# ---- k micro-batches are one large batch ----

K = 3


def averaged(x):
    """The means over windows of an array that stacks micro-batches."""
    return jnp.mean(x.reshape(-1, K, *x.shape[1:]), axis=1)


@pytest.mark.parametrize("member", BLOCKS)
def test_micro_batches_equal_one_large_batch(member):
    """With the extra arguments of each micro-batch; a function that is one of them is that of the whole window."""
    params = normal(in_dtype(FEW, jnp.float64))
    gradients = jax.tree.map(lambda *x: jnp.stack(x), *(normal(in_dtype(FEW, jnp.float64), i) for i in range(2 * K)))
    means = jax.tree.map(averaged, gradients)
    accumulating = gx.accumulate(member.tx, K)

    def numbers(g):
        """The extra arguments that are no functions: `value` is another one for each micro-batch."""
        given = {name: x for name, x in member.extra(g, g).items() if not callable(x)}
        return given | ({"value": given["value"] + g["number"]} if "value" in given else {})

    def functions(g, params):
        return {name: x for name, x in member.extra(g, params).items() if callable(x)}

    def step(tx, carry, row):
        params, state = carry
        g, window, given = row
        u, state = tx.update(g, state, params, **given, **functions(window, params))
        return (gx.apply_updates(params, u), state), u

    @jax.jit
    def both():
        given = jax.lax.map(numbers, gradients)
        windows = jax.tree.map(lambda x: jnp.repeat(x, K, axis=0), means)
        small = functools.partial(step, accumulating), (params, accumulating.init(params))
        large = functools.partial(step, member.tx), (params, member.tx.init(params))
        (_, state), parts = jax.lax.scan(*small, (gradients, windows, given))
        (_, expected), whole = jax.lax.scan(*large, (means, means, jax.tree.map(averaged, given)))
        return parts, state, whole, expected

    parts, state, whole, expected = both()
    close = functools.partial(chex.assert_trees_all_close, rtol=1e-7, atol=1e-9)
    close(jax.tree.map(lambda x: x[K - 1 :: K], parts), whole)
    close(state.inner_state, expected)
    others = jax.tree.map(lambda x: np.delete(x, [K - 1, 2 * K - 1], axis=0), parts)
    chex.assert_trees_all_equal(others, jax.tree.map(jnp.zeros_like, others))
    assert state.count == 2


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.complex64])
def test_half_precision_is_summed_in_float32(dtype):
    parts = (1.0 + 0.1 * jax.random.normal(jax.random.key(0), (64, 100), dtype)).astype(dtype)
    params = jnp.zeros(100, jnp.promote_types(dtype, jnp.float32))
    updates, _ = walked(gx.accumulate(gx.sgd(1.0), 64), parts, params)
    wide = np.asarray(parts.astype(jnp.promote_types(dtype, jnp.float64)))
    np.testing.assert_allclose(updates[-1], -wide.mean(axis=0), rtol=1e-6)
    low = gx.accumulate(gx.adam(0.1), 2).init(params.astype(dtype))
    assert low.acc_grads.dtype == params.dtype


def test_an_exact_write_is_as_wide_as_without_micro_batches():
    params, gradients = jnp.ones(2, jnp.float32), jnp.ones(2, jnp.float64)
    for tx in gx.write_stochastically(0), gx.accumulate(gx.write_stochastically(0), 2):
        updates, _ = tx.update(gradients, tx.init(params), params)
        assert updates.dtype == jnp.float64


def test_an_exact_write_needs_no_promotion_of_jaxs():
    params, gradients = jnp.ones(2, jnp.bfloat16), jnp.ones(2, jnp.bfloat16)
    tx = gx.accumulate(gx.chain(gx.sgd(0.1), gx.write_stochastically(0)), 2)
    with jax.numpy_dtype_promotion("strict"):
        updates, _ = tx.update(gradients, tx.init(params), params)
    assert updates.dtype == jnp.float32


def test_the_mean_of_large_numbers_does_not_overflow():
    parts = jnp.full((8, 2), 6e4, jnp.float16)
    updates, _ = walked(gx.accumulate(gx.scale(1.0), 8), parts, jnp.zeros(2, jnp.float16))
    np.testing.assert_array_equal(updates[-1], parts[0])


@pytest.mark.parametrize("name", ["sgd", "adamw", "lion"])
def test_equals_multi_steps(name):
    ours: Any = {"sgd": gx.sgd(0.1, momentum=0.9), "adamw": gx.adamw(0.1), "lion": gx.lion(0.1)}[name]
    theirs: Any = {"sgd": optax.sgd(0.1, momentum=0.9), "adamw": optax.adamw(0.1), "lion": optax.lion(0.1)}[name]
    gradients, w = jax.random.normal(jax.random.key(0), (12, 5)), jnp.ones(5)
    peer = optax.MultiSteps(theirs, 3, accumulator_dtype=jnp.float64)
    state, p, step, path = peer.init(w), w, jax.jit(peer.update), []
    for g in gradients:
        u, state = step(g, state, p)
        p = p + u
        path.append(u)
    for tx in (ours, theirs):
        np.testing.assert_allclose(walked(gx.accumulate(tx, 3), gradients, w)[0], np.stack(path), rtol=1e-12)


# ---- windows ----


def test_windows_follow_a_schedule_of_the_windows_before():
    tx = gx.accumulate(gx.sgd(gx.linear(1.0, 0.0, 10)), gx.piecewise_constant((1, 3), (2, 1, 3)))
    updates, states = walked(tx, jnp.ones((10, 1)), jnp.zeros(1))
    np.testing.assert_allclose(updates[:, 0], [0, -1, -0.9, -0.8, 0, 0, -0.7, 0, 0, -0.6])  # the rate counts windows
    assert states.count.tolist() == [0, 1, 2, 3, 3, 3, 4, 4, 4, 5]
    assert states.mini_step.tolist() == [1, 0, 0, 0, 1, 2, 0, 1, 2, 0]
    assert states.steps.tolist() == [2, 2, 1, 1, 3, 3, 3, 3, 3, 3]


def test_a_fraction_of_a_micro_batch_is_a_whole_one():
    _, states = walked(gx.accumulate(gx.identity(), lambda window: 1.5 - window), jnp.ones((4, 1)), jnp.zeros(1))
    assert states.count.tolist() == [0, 1, 2, 3]


def test_a_window_that_has_become_too_long_ends():
    tx = gx.accumulate(gx.scale(1.0), 5)
    state = tx.init(G[0])
    for g in G[:3]:
        _, state = tx.update(g, state)
    updates, state = tx.replace(steps=2).update(G[3], state)
    np.testing.assert_allclose(updates, G.mean(axis=0))
    assert (state.mini_step, state.count) == (0, 1)


def test_the_length_in_force():
    tx = gx.accumulate(gx.sgd(0.1), gx.linear(1.0, 4.0, 3))
    _, state = tx.update(G[0], tx.init(G[0]))
    assert gx.hyperparameters(tx, state)["steps"] == 2.0
    held = gx.accumulate(gx.sgd(0.1), gx.controlled(2))
    state = gx.set_hyperparameters(held, held.init(G[0]), steps=1)
    updates, state = held.update(G[0], state)
    np.testing.assert_allclose(updates, -0.1 * G[0])
    numbers = {name: float(x) for name, x in gx.metrics(state).items()}
    assert numbers == {"mini_step": 0, "gradient_step": 1, "window_steps": 1, "count": 1, "learning_rate": 0.1}


def test_frozen_leaves_and_integers_have_no_place():
    params = {"w": jnp.ones(2), "frozen": jnp.ones(1), "step": jnp.array(3)}
    tx = gx.accumulate(gx.only(gx.adam(0.1), ~gx.by_path("step")), 2)
    state = tx.init(params)
    assert state.acc_grads["step"] is None
    for _ in range(2):
        updates, state = tx.update({"w": jnp.ones(2), "frozen": None, "step": None}, state, params)
    np.testing.assert_allclose(updates["w"], -0.1, rtol=1e-6)
    assert updates["step"] is None
    assert updates["frozen"] is None


def test_in_a_group_its_window_is_its_own():
    rules = (gx.by_path("w"), gx.accumulate(gx.chain(gx.clip_by_group_norm(1.0), gx.sgd(1.0)), 2))
    tx = gx.partition(rules, default=gx.sgd(0.1))
    params = {"w": jnp.zeros(2), "b": jnp.zeros(2)}
    updates, _ = walked(tx, {"w": G, "b": G}, params)
    np.testing.assert_allclose(updates["b"], -0.1 * G)
    means = np.stack([0 * G[0], (G[0] + G[1]) / 2, 0 * G[0], (G[2] + G[3]) / 2])
    np.testing.assert_allclose(updates["w"], -means / np.maximum(1.0, np.linalg.norm(means, axis=1, keepdims=True)))


def test_eager_it_is_one_compiled_call():
    compiled_update.clear_cache()  # JAX keeps so many programs in all, and lets go of the oldest
    tx = gx.accumulate(gx.adamw(0.1), 2)
    state = tx.init(G[0])
    before = compiled_update._cache_size()
    for other in (tx, tx.replace(steps=3), tx.replace(learning_rate=0.2)):
        _, state = other.update(G[0], state, G[0])
    assert compiled_update._cache_size() == before + 1


# ---- one bad micro-batch ----

BAD = G.at[1, 0].set(jnp.nan)


def test_a_bad_micro_batch_does_not_reach_the_next_window():
    updates, states = walked(gx.accumulate(gx.sgd(1.0), 2), BAD, jnp.zeros(2))
    assert np.isnan(updates[1, 0])
    np.testing.assert_allclose(updates[3], -(G[2] + G[3]) / 2)
    np.testing.assert_array_equal(states.acc_grads[1], 0.0)


def test_a_bad_micro_batch_is_left_out_of_its_window():
    updates, states = walked(gx.skip_nonfinite(gx.accumulate(gx.adam(0.1), 3)), BAD, jnp.zeros(2))
    expected, without = walked(gx.accumulate(gx.adam(0.1), 3), G[jnp.array([0, 2, 3])], jnp.zeros(2))
    np.testing.assert_array_equal(updates[jnp.array([0, 2, 3])], expected)
    chex.assert_trees_all_equal(*(jax.tree.map(lambda x: x[-1], one) for one in (states.inner_state, without)))
    assert states.total[-1] == 1


def test_a_window_with_a_bad_micro_batch_is_thrown_away():
    updates, states = walked(gx.accumulate(gx.skip_nonfinite(gx.adam(0.1)), 2), BAD, jnp.zeros(2))
    np.testing.assert_array_equal(updates[:3], 0.0)
    expected, _ = walked(gx.adam(0.1), (G[2:3] + G[3:]) / 2, jnp.zeros(2))
    np.testing.assert_allclose(updates[3], expected[0], rtol=1e-12)
    assert states.inner_state.total.tolist() == [0, 1, 1, 1]
