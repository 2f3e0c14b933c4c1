"""States on the host: the numbers are those of the transformation, and the arrays are where they were put."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx
from gradtx import offload, state_shardings, zero_redundancy
from gradtx.devices.offload import has_host
from tests.catalogue import BLOCKS
from tests.devices.placed import (
    KINDS,
    assert_close,
    assert_laid,
    example,
    mesh_with,
    put,
    three_steps,
    three_steps_of,
    train,
)
from tests.refusals import refused

kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
on_host = pytest.mark.skipif(not has_host(), reason="there is one memory")


def memories(tree):
    return [x.sharding.memory_kind for x in jax.tree.leaves(tree)]


@pytest.mark.parametrize("member", BLOCKS)
def test_equals_the_transformation(member):
    tx = offload(member.tx)
    params = example()
    state = tx.init(params)
    fresh = jax.tree.leaves(member.tx.init(params))
    held = ["pinned_host" if has_host() and x.ndim else x.sharding.memory_kind for x in fresh]
    assert memories(state) == held
    after, state = three_steps(train(tx, member.extra), params, state)
    assert memories(state) == held
    alone, own_state = three_steps_of(member)
    assert jax.tree.structure(state) == jax.tree.structure(own_state)
    assert_close((after, state), (alone, own_state), rtol=1e-6, atol=1e-7)


@on_host
@pytest.mark.parametrize(
    "wrapper", [gx.lookahead, lambda tx: gx.schedule_free(tx, 0.1), lambda tx: gx.chain(tx, gx.average_parameters(0.9))]
)
def test_parameters_for_evaluation_may_lie_on_the_host(wrapper):
    params, tx = {"w": jnp.arange(3.0)}, wrapper(gx.sgd(0.1))
    away = offload(tx)
    _, state = away.update(params, away.init(params), params)
    _, expected = tx.update(params, tx.init(params), params)
    found = gx.evaluation_parameters(away, state, params)
    assert_close(found, gx.evaluation_parameters(tx, expected, params), rtol=1e-12, atol=0.0)
    assert memories(found) == memories(params)


@on_host
def test_moments_on_the_host_are_turned_into_new_bases():
    g = jnp.arange(6.0).reshape(2, 3) ** 2
    adam = gx.scale_by_adam()
    inside, plain = gx.in_eigenbasis(offload(adam), every=1), gx.in_eigenbasis(adam, every=1)
    state, expected = inside.init(g), plain.init(g)
    for i in range(3):
        assert set(memories(state.inner_state.mu)) == {"pinned_host"}
        updates, state = jax.jit(inside.update)(g + i, state)
        same, expected = jax.jit(plain.update)(g + i, expected)
        assert_close((updates, state), (same, expected), rtol=1e-12, atol=1e-12)


@kinds
@pytest.mark.parametrize(
    "wrap",
    [
        offload,
        lambda tx: zero_redundancy(offload(tx), "data"),
        lambda tx: offload(zero_redundancy(tx, "data")),
        lambda tx: gx.skip_nonfinite(zero_redundancy(offload(tx), "data")),
        lambda tx: gx.skip_nonfinite(offload(tx)),
        lambda tx: gx.accumulate(offload(tx), 2),
        lambda tx: offload(gx.skip_nonfinite(tx)),
        lambda tx: gx.only(offload(tx), gx.by_ndim(at_least=1)),
        lambda tx: gx.chain(gx.clip_by_value(0.5), offload(tx)),
        lambda tx: optax.chain(optax.clip(0.5), offload(tx)),
        lambda tx: offload(optax.chain(optax.clip(0.5), optax.adam(0.1))),
    ],
)
def test_on_a_mesh(wrap, kind):
    mesh = mesh_with(kind, data=8)
    params, tx = jax.tree.map(lambda x: put(x, mesh), example()), wrap(gx.adamw(0.1))
    shardings = state_shardings(tx, params)
    state = jax.jit(tx.init, out_shardings=shardings)(params)
    assert_laid(state, shardings)
    assert ("pinned_host" in memories(state)) == has_host()
    step = train(tx)
    after, state = three_steps(step, params, state)
    assert step._cache_size() == 1  # pyright: ignore[reportAttributeAccessIssue]
    assert_laid(after, jax.tree.map(lambda p: p.sharding, params))
    assert_laid(state, shardings)
    alone, own_state = three_steps(train(tx), example(), tx.init(example()))
    assert_close((after, state), (alone, own_state), rtol=1e-5, atol=1e-6)


def test_eager_and_as_written_updates_agree():
    params, tx = example(), offload(gx.adamw(0.1))
    state = tx.init(params)
    expected = jax.jit(tx.update)(example(1), state, params)
    with jax.disable_jit():
        as_written = tx.update(example(1), state, params)
    for found in (tx.update(example(1), state, params), as_written):
        assert_close(found, expected, rtol=1e-6, atol=1e-8)
        assert memories(found) == memories(expected)


@pytest.mark.parametrize("tx", [offload(gx.adam(0.1)), gx.skip_nonfinite(offload(gx.adam(0.1)))], ids=repr)
def test_in_a_loop(tx):
    params = example()
    gradients = jax.tree.map(lambda *g: jnp.stack(g), *map(example, (1, 2, 3)))
    body = lambda state, g: tx.update(g, state, params)[::-1]  # noqa: E731
    state, _ = jax.jit(lambda state: jax.lax.scan(body, state, gradients))(tx.init(params))
    expected = tx.init(params)
    for seed in (1, 2, 3):
        _, expected = tx.update(example(seed), expected, params)
    assert memories(state) == memories(expected)
    assert_close(state, expected, rtol=1e-6, atol=1e-8)


def test_vmap_goes_through_where_no_branch_is_around_it():
    g = jnp.stack([jnp.ones(3), jnp.full(3, jnp.nan)])
    tx = offload(gx.skip_nonfinite(gx.sgd(0.1, momentum=0.9)))
    updates, state = jax.vmap(lambda g: tx.update(g, tx.init(g), g))(g)
    assert_close(updates, jnp.array([[-0.1] * 3, [0.0] * 3]), rtol=1e-6)
    assert_close(state.inner_state[0].trace, jnp.array([[1.0] * 3, [0.0] * 3]))


@on_host
def test_a_choice_between_arrays_on_the_host_is_jax_s_to_refuse():
    tx = gx.skip_nonfinite(offload(gx.sgd(0.1, momentum=0.9)))
    with refused(ValueError, "memory_space of all inputs passed to `select_n` must be the same"):
        jax.vmap(lambda g: tx.update(g, tx.init(g), g))(jnp.ones((2, 3)))


@on_host
def test_a_state_on_the_device_stays_there_until_it_is_moved():
    mesh = mesh_with(KINDS[0], data=8)
    params, tx = put(jnp.ones(8), mesh), offload(gx.scale_by_momentum(0.9))
    _, state = tx.update(params, tx.tx.init(params), params)
    assert memories(state) == ["device"]
    _, state = tx.update(params, jax.device_put(state, state_shardings(tx, params)), params)
    assert memories(state) == ["pinned_host"]


@on_host
def test_random_keys_stay_on_the_device():
    tx = offload(optax.chain(optax.add_noise(0.1, 0.5, jax.random.split(jax.random.key(0), 2)[0]), optax.trace(0.9)))
    state = tx.init(example())
    _, after = jax.jit(tx.update)(example(1), state)
    assert memories(after) == memories(state)
    assert state[0].rng_key.sharding.memory_kind == "device"
    assert {x.sharding.memory_kind for x in state[1].trace.values() if x.ndim} == {"pinned_host"}
    np.testing.assert_array_equal(after[0].count, 1)
