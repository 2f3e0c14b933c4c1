"""Quantities in codes on many devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

import gradtx as gx
from gradtx import zero_redundancy
from tests.devices.placed import KINDS, mesh_with, put
from tests.devices.test_zero import placed_init


@pytest.mark.parametrize("codec", [gx.bfloat16, gx.blocks(8), gx.blocks(8, 64, min_size=0)], ids=str)
@pytest.mark.parametrize("around", ["hold", "zero_redundancy"])
def test_codes_are_in_parts_and_the_same_to_the_bit(codec, around):
    """Whatever stands around the other: which way a number is rounded does not turn on where it lies."""
    mesh = mesh_with(KINDS[0], data=8)
    random = np.random.default_rng(0)
    w = random.standard_normal((256, 64), np.float32)
    grads = [random.standard_normal((256, 64), np.float32) for _ in range(3)]
    codes = dict(mu=codec, nu=codec)
    alone = gx.hold(gx.adamw(0.1), **codes)
    spread = zero_redundancy(alone, "data")
    if around == "hold":
        spread = gx.hold(zero_redundancy(gx.adamw(0.1), "data"), **codes)

    def run(tx, start, put_on):
        step, params = jax.jit(tx.update), put_on(start)
        state = placed_init(tx, params) if tx is spread else tx.init(params)
        for g in grads:
            updates, state = step(put_on(g), state, params)
            params = gx.apply_updates(params, updates)
        return params, state

    params, state = run(spread, w, lambda x: put(x, mesh))
    expected, own_state = run(alone, w, jnp.asarray)
    np.testing.assert_array_equal(params, expected)
    jax.tree.map(np.testing.assert_array_equal, state, own_state)
    held = jax.tree.leaves((gx.find(state, "mu"), gx.find(state, "nu")))
    assert sum(x.sharding.spec == P("data") and x.dtype.itemsize < 4 for x in held) == 2
