"""What spreads or moves a state keeps the state of the transformation inside: so Optax's goes on in it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx
from gradtx.devices.offload import has_host
from tests.devices.placed import KINDS, mesh_with, put

W = {"a": jnp.arange(16.0).reshape(8, 2), "b": jnp.ones(3)}
FALLING = gx.linear(0.1, 0.0, 9)
ADAM = gx.chain(gx.clip_by_value(0.5), gx.adam(FALLING))
THEIRS = optax.chain(optax.clip(0.5), optax.adam(FALLING))
AROUND = {
    "offload": gx.offload(ADAM),
    "zero_redundancy": gx.zero_redundancy(ADAM, "data"),
    "across": gx.across(ADAM, ()),
    "both": gx.chain(gx.offload(gx.zero_redundancy(ADAM, "data"))),
    "inside": gx.chain(gx.clip_by_value(0.5), gx.offload(gx.adam(FALLING))),
    "inside of a group": gx.only(gx.offload(ADAM), gx.by_path("")),
}


@pytest.fixture
def started():
    """Optax's state after two steps."""
    state = THEIRS.init(W)
    for _ in range(2):
        _, state = THEIRS.update(jax.tree.map(jnp.sin, W), state, W)
    return state


def places(tree):
    return [(x.sharding, x.committed) for x in jax.tree.leaves(tree)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("name", AROUND)
def test_the_state_is_that_inside_and_lies_as_a_fresh_one(name, kind, started):
    tx, mesh = AROUND[name], mesh_with(kind, data=8)
    w = {path: put(x, mesh) for path, x in W.items()} if name in ("zero_redundancy", "both") else W
    theirs = optax.MaskedState(started) if "group" in name else started
    state, fresh = gx.from_optax(tx, w, theirs), tx.init(w)
    assert places(state) == places(fresh)
    assert jax.tree.structure(state) == jax.tree.structure(fresh)
    plain = gx.from_optax(ADAM, W, started)
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(plain), strict=True):
        np.testing.assert_array_equal(jax.device_get(a), b)
    for back in (gx.to_optax(tx, state, theirs), *[gx.to_optax(tx, state)] * ("group" not in name)):
        for a, b in zip(jax.tree.leaves(back), jax.tree.leaves(theirs), strict=True):
            np.testing.assert_array_equal(a, b)
            assert not has_host() or a.sharding.memory_kind == "device"
    updates, _ = tx.update(jax.tree.map(jnp.sin, w), state, w)
    expected, _ = THEIRS.update(jax.tree.map(jnp.sin, W), started, W)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10), updates, expected)
