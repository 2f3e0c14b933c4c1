"""A NaN in the part of one device is seen by all: XLA's maximum over devices loses it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import gradtx as gx
from tests.devices.placed import mesh_with

WRAPPED = [
    gx.skip_nonfinite(gx.adamw(0.1)),
    gx.skip_spikes(gx.adamw(0.1)),
    gx.skip_nonfinite(gx.accumulate(gx.adamw(0.1), 2)),
    gx.accumulate(gx.skip_nonfinite(gx.adamw(0.1)), 1),
    gx.skip_nonfinite(gx.zero_redundancy(gx.adamw(0.1), "data")),
    gx.zero_redundancy(gx.skip_nonfinite(gx.adamw(0.1)), "data"),
    gx.offload(gx.skip_nonfinite(gx.adamw(0.1))),
]


@pytest.mark.parametrize("tx", WRAPPED, ids=repr)
@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_wherever_it_is(tx, kind):
    mesh = mesh_with(kind, data=8)
    step = jax.jit(tx.update)
    for row, bad, spec in ((0, jnp.nan, "data"), (7, jnp.nan, "data"), (15, jnp.inf, "data"), (3, jnp.nan, None)):
        place = NamedSharding(mesh, PartitionSpec(spec, None))
        params = jax.device_put(jnp.ones((16, 24)), place)
        g = jax.device_put(jnp.ones((16, 24)).at[row, 2].set(bad), place)
        for update in (step, tx.update) if row in (3, 7) else (step,):
            updates, state = update(g, tx.init(params), params)
            np.testing.assert_array_equal(updates, 0.0)
            assert int(gx.metrics(state)["skipped_total"]) == 1


def test_with_the_loss_measured():
    mesh = mesh_with(AxisType.Auto, data=8)
    place = NamedSharding(mesh, PartitionSpec("data"))
    tx = gx.skip_spikes(gx.sgd(0.1), loss=True)
    g = jax.device_put(jnp.ones(16).at[5].set(jnp.nan), place)
    updates, state = jax.jit(tx.update)(g, tx.init(g), value=1.0)
    np.testing.assert_array_equal(updates, 0.0)
    assert int(state.total) == 1
