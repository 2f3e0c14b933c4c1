"""Noise: how much there is of it, and what it hangs on. The bounds are four standard deviations, the keys are fixed."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import gradtx as gx
from gradtx.core.collectives import vary
from tests.devices.placed import mesh_with
from tests.refusals import refused

pytestmark = pytest.mark.slow

ZEROS: Any = jnp.zeros((200, 200))
compiled = jax.jit(lambda tx, g, state: tx.update(g, state))


def drawn(tx, g: Any = ZEROS, steps=1):
    """The updates of the last of these steps."""
    state = tx.init(g)
    for _ in range(steps):
        u, state = compiled(tx, g, state)
    return u


def is_normal(x, variance):
    """Mean, variance, fourth moment and the share within one deviation, each to four standard deviations."""
    z = np.ravel(x).astype(float) / np.sqrt(variance)
    n = z.size
    assert abs(z.mean()) < 4 / np.sqrt(n)
    assert abs((z**2).mean() - 1) < 4 * np.sqrt(2 / n)
    assert abs((z**4).mean() - 3) < 4 * np.sqrt(96 / n)
    share = 0.6826894921
    assert abs((abs(z) < 1).mean() - share) < 4 * np.sqrt(share * (1 - share) / n)


def uncorrelated(x, y):
    x, y = np.ravel(x), np.ravel(y)
    assert abs(np.corrcoef(x, y)[0, 1]) < 4 / np.sqrt(x.size)


@pytest.mark.parametrize(("eta", "gamma", "steps"), [(0.01, 0.55, 1), (0.01, 0.55, 7), (4.0, 0.0, 3)])
def test_noise_is_normal_of_the_variance_of_its_step(eta, gamma, steps):
    is_normal(drawn(gx.add_noise(eta, gamma, key=3), steps=steps), eta / steps**gamma)


def test_steps_arrays_and_keys_have_noise_of_their_own_and_the_same_again():
    tx = gx.add_noise(1.0, 0.0, key=0)
    tree = {"a": ZEROS, "b": ZEROS, "none": None}
    u = drawn(tx, tree)
    other = drawn(tx, tree, steps=2)
    uncorrelated(u["a"], u["b"])
    uncorrelated(u["a"], other["a"])
    uncorrelated(u["a"], drawn(tx.replace(key=1), tree)["a"])
    uncorrelated(u["a"][1:], u["a"][:-1])
    np.testing.assert_array_equal(u["a"], drawn(tx, tree)["a"])
    np.testing.assert_array_equal(u["a"], drawn(gx.add_noise(1.0, 0.0, key=jax.random.key(0)), tree)["a"])
    np.testing.assert_array_equal(u["a"], drawn(gx.add_noise(1.0, 0.0, key=jax.random.PRNGKey(0)), tree)["a"])


def test_a_key_of_another_kind_is_used_as_one():
    is_normal(drawn(gx.add_noise(1.0, 0.0, key=jax.random.key(0, impl="rbg"))), 1.0)


def test_what_is_added_is_the_same_in_all_precisions_and_both_parts_of_a_complex_number_have_it():
    tx = gx.add_noise(1.0, 0.0, key=0)
    wide = np.asarray(drawn(tx), np.float32)
    np.testing.assert_array_equal(drawn(tx, ZEROS.astype(jnp.float32)), wide)
    np.testing.assert_array_equal(drawn(tx, ZEROS.astype(jnp.bfloat16)), wide.astype(jnp.bfloat16))
    both = drawn(tx, ZEROS.astype(jnp.complex64))
    is_normal(both.real, 1.0)
    is_normal(both.imag, 1.0)
    uncorrelated(both.real, both.imag)


def test_it_is_the_gradient_that_gets_it_and_nothing_without_a_variance():
    g = jnp.asarray(np.random.default_rng(0).normal(size=(200, 200)))
    np.testing.assert_allclose(drawn(gx.add_noise(0.25, key=0), g) - g, drawn(gx.add_noise(0.25, key=0)), atol=1e-12)
    np.testing.assert_array_equal(drawn(gx.add_noise(0.0, key=0), g), g)
    slope = jax.grad(lambda tx: jnp.sum(tx.update(ZEROS, tx.init(ZEROS))[0]))(gx.add_noise(0.0, key=0))
    assert np.isfinite(slope.eta)


def test_noisy_descent_is_noise_in_front_of_descent():
    behind = gx.chain(gx.add_noise(0.25, 0.5, key=1), gx.scale_by_learning_rate(0.1))
    np.testing.assert_array_equal(drawn(gx.noisy_sgd(0.1, 0.25, 0.5, key=1), steps=2), drawn(behind, steps=2))


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_it_is_the_same_however_the_array_lies(kind):
    mesh = mesh_with(kind, data=8)
    tx = gx.add_noise(1.0, 0.0, key=0)
    whole = drawn(tx)
    with jax.set_mesh(mesh) if kind is AxisType.Explicit else jax.default_device(None):
        parts = jax.device_put(ZEROS, NamedSharding(mesh, PartitionSpec("data")))
        u = compiled(tx, parts, tx.init(parts))[0]
    assert u.sharding.spec[0] == "data"
    np.testing.assert_array_equal(u, whole)


def test_inside_of_shard_map_replicas_have_the_same_and_parts_their_own():
    mesh = mesh_with(AxisType.Auto, data=8)
    tx = gx.add_noise(1.0, 0.0, key=0)
    part = PartitionSpec("data")

    @functools.partial(jax.shard_map, mesh=mesh, in_specs=(part, PartitionSpec()), out_specs=(part, part))
    def both(x, replica):
        u, _ = tx.update((x, replica), tx.init((x, replica)))
        return u[0], vary(u[1][None], {"data"})  # of each device

    parts, replicas = map(np.asarray, jax.jit(both)(ZEROS, ZEROS[0]))
    is_normal(parts, 1.0)
    uncorrelated(parts[:25], parts[25:50])
    assert replicas.shape == (8, 200)
    np.testing.assert_array_equal(replicas, np.broadcast_to(replicas[0], (8, 200)))


FACTORIES = (gx.add_noise, functools.partial(gx.noisy_sgd, 0.1), functools.partial(gx.private, 1.0, 1.0))


@pytest.mark.parametrize("factory", [*FACTORIES, functools.partial(gx.dpsgd, 0.1, 1.0, 1.0)])
def test_a_key_that_is_none(factory):
    with refused(TypeError, "key must be a whole number or a key such as jax.random.key(0), got 0.5"):
        factory(key=0.5)
