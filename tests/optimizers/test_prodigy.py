"""Prodigy's and D-Adaptation's options: how fast a distance may grow, and in how much memory it is estimated."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx as gx
from tests.optimizers.test_distance_free import trained
from tests.refusals import refused

pytestmark = pytest.mark.slow


def test_a_growth_rate_bounds_each_step_of_the_distance_behind_the_first():
    for tx, jumps in ((gx.prodigy(d0=0.01), 1), (gx.dadapt_adamw(d0=0.01), 0)):
        free = np.asarray(trained(tx)[1].estim_lr)
        held = np.asarray(trained(tx.replace(growth_rate=1.02))[1].estim_lr)
        moved = int(np.argmax(held > 0.01)) + jumps  # at its first step Prodigy's may leave d0 as far as it likes
        assert np.all(held[moved:] <= 1.02 * held[moved - 1 : -1] * (1 + 1e-12))
        assert held[-1] > held[moved]
        assert free[-1] > 1.2 * held[-1]
        unbounded = trained(tx.replace(growth_rate=np.inf))[0]
        np.testing.assert_allclose(unbounded, trained(tx)[0], rtol=1e-12)


def test_a_slice_holds_a_share_of_two_arrays():
    w = {"w": jnp.ones((5, 7)), "b": jnp.ones(3), "c": jnp.ones((2, 2), complex), "n": jnp.ones(())}
    state = gx.prodigy(slice_p=11).init(w)
    for tree in (state.grad_sum, state.params0):
        assert {name: x.shape for name, x in tree.items()} == {"w": (4,), "b": (1,), "c": (1,), "n": (1,)}
    assert state.exp_avg["w"].shape == (5, 7)


def test_what_prodigy_refuses():
    with refused(ValueError, "prodigy: slice_p must be a whole number, at least 1, got 0"):
        gx.prodigy(slice_p=0)
    with refused(ValueError, "prodigy: growth_rate must be in [1, inf], got 0.5"):
        gx.prodigy(growth_rate=0.5)
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec("data")
    tx = gx.across(gx.prodigy(slice_p=2), "data")
    step = jax.shard_map(lambda g: tx.update(g, tx.init(g), g)[0], mesh=mesh, in_specs=spec, out_specs=spec)
    with refused(ValueError, "an array is in parts along data; which elements count needs it whole: use jit"):
        step(jnp.ones(4))
