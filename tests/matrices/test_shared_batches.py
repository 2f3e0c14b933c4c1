"""Matrices whose parts lie on several devices: the results of one device, and what is sent for them."""

import functools
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx as gx
from tests.devices.placed import KINDS, collectives, mesh_with, put, train
from tests.refusals import refused

LAYERS, INPUTS, OUTPUTS = 8, 16, 32
SPECS = {
    "by rows": (("data", None), (INPUTS, OUTPUTS)),
    "by columns": ((None, "data"), (INPUTS, OUTPUTS)),
    "by layers": (("data", None, None), (LAYERS, INPUTS, OUTPUTS)),
}
BYTES = 4 * LAYERS * INPUTS * OUTPUTS
pytestmark = pytest.mark.usefixtures("float32")
kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
ways = pytest.mark.parametrize("way", SPECS)


def muon(axis=None):
    return gx.muon(0.1, weight_decay=0.1, where=gx.by_ndim(at_least=2), axis=axis)


def model(way, seed=0):
    """All layers in one array, or each in its own."""
    shape = SPECS[way][1]
    x = np.random.default_rng(seed).normal(size=(LAYERS, INPUTS, OUTPUTS)).astype(np.float32)
    return {"layers": x} if len(shape) == 3 else {str(i): layer for i, layer in enumerate(x)}


def laid(way, mesh, seed=0):
    return jax.tree.map(lambda x: put(x, mesh, *SPECS[way][0]), model(way, seed))


def compiled(tx, way, mesh):
    params = laid(way, mesh)
    return train(tx).lower(params, tx.init(params), params).compile()


@functools.cache
def on_one_device(way):
    params = jax.tree.map(jnp.asarray, model(way))
    state, step = muon().init(params), train(muon())
    for seed in (1, 2):
        params, state = step(params, state, jax.tree.map(jnp.asarray, model(way, seed)))
    return params


@kinds
@ways
@pytest.mark.parametrize("axis", [None, "data"])
def test_sharded_by_rows_columns_or_layers_it_is_as_on_one_device(way, kind, axis):
    mesh = mesh_with(kind, data=8)
    with jax.set_mesh(mesh):
        params = laid(way, mesh)
        layouts = jax.tree.map(lambda x: x.sharding, params)
        state, step = muon(axis).init(params), cast(Any, train(muon(axis)))
        for seed in (1, 2):
            params, state = step(params, state, laid(way, mesh, seed))
        assert step._cache_size() == 1
    assert jax.tree.map(lambda x: x.sharding, params) == layouts
    for ours, alone in zip(jax.tree.leaves(params), jax.tree.leaves(on_one_device(way)), strict=True):
        np.testing.assert_allclose(ours, alone, rtol=0, atol=2e-4)  # Jordan's polynomials magnify rounding 500 times


@kinds
def test_layers_that_lie_on_different_devices_stay_there(kind):
    mesh = mesh_with(kind, data=8)
    with jax.set_mesh(mesh):
        assert collectives(compiled(muon(), "by layers", mesh)) == []


@kinds
@pytest.mark.parametrize("way", ["by rows", "by columns"])
def test_devices_that_share_a_batch_send_each_part_there_and_back(way, kind):
    """Every device gets its share of the layers whole, and gives the parts of the others back: an eighth of the
    parameters each way. Without the axis XLA gathers or sums at every product.
    """
    mesh = mesh_with(kind, data=8)
    with jax.set_mesh(mesh):
        assert collectives(compiled(muon("data"), way, mesh)) == [("all-to-all", BYTES // 8)] * 2
        of_one_step = sum(size for _, size in collectives(compiled(muon(), way, mesh)))  # five run in the loop
        assert 5 * of_one_step > BYTES


@kinds
def test_devices_that_do_not_get_equally_many(kind):
    mesh, tx = mesh_with(kind, data=8), muon("data")
    with jax.set_mesh(mesh):
        grads = {name: x for name, x in laid("by rows", mesh).items() if int(name) < 3}
        u, _ = jax.jit(tx.update)(grads, tx.init(grads), grads)
    for name, x in model("by rows").items():
        if int(name) < 3:
            expected, _ = muon().update(x, muon().init(x), x)
            np.testing.assert_allclose(u[name], expected, rtol=0, atol=2e-4)


def test_without_a_mesh_the_axis_says_nothing():
    x = jnp.asarray(model("by rows")["0"])
    u, _ = muon("data").update(x, muon("data").init(x), x)
    np.testing.assert_array_equal(u, muon().update(x, muon().init(x), x)[0])


def test_the_state_of_stacked_layers_lies_like_them():
    for kind in KINDS:
        mesh = mesh_with(kind, data=8)
        with jax.set_mesh(mesh):
            params = laid("by layers", mesh)
            nu = gx.scale_by_rows().init(params).nu["layers"]
            assert nu.shape == (LAYERS, OUTPUTS)
            assert nu.sharding.spec[0] == "data"


def test_where_devices_have_parts_or_no_such_axis():
    mesh = mesh_with(KINDS[0], data=8)
    tx, spec = gx.orthogonalize(), jax.P("data", None)
    x = jnp.ones((8, 16))

    def parts(tx):
        run = lambda g: tx.update(g, tx.init(g))[0]  # noqa: E731
        return jax.shard_map(run, mesh=mesh, in_specs=spec, out_specs=spec)(x)

    with refused(ValueError, "an array is in parts along data; a matrix is needed whole: use jit, which shards it"):
        parts(gx.across(tx, "data"))
    with refused(ValueError, "orthogonalize: an array is in parts along data"):
        parts(tx)
    alone, _ = tx.update(x[:1], tx.init(x[:1]))  # what each device has to itself
    np.testing.assert_allclose(parts(gx.across(tx, ())), np.tile(alone, (8, 1)), rtol=1e-6)
    with refused(ValueError, "inside of a shard_map over 'data' each device has its own arrays; leave axis out there"):
        parts(gx.across(gx.over(gx.matrices(), tx, "data"), ()))
    with jax.set_mesh(mesh), refused(ValueError, "axis must be one of those of the mesh, 'data', got 'model'"):
        tx = gx.over(gx.matrices(), tx, "model")
        tx.update(put(np.asarray(x), mesh), tx.init(x))
