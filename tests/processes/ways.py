"""Ways to train on several devices, each to the numbers of one device. None knows how many processes have them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import gradtx as gx
from gradtx.core.collectives import vary
from tests.processes.problem import PARAMS, TX, batch_at, compile_step, gradient, loss

PARTS, WHOLE = PartitionSpec("data"), PartitionSpec()


class Way(NamedTuple):
    """A run before its first step."""

    mesh: Any
    tx: Any
    params: Any
    state: Any
    step: Callable[..., Any]


def lay(x, mesh, *names):
    """An array of which each process gives what its devices hold; its layout written as `jit` writes it."""
    rows = [*names, *[None] * (x.ndim - len(names))] if AxisType.Explicit in mesh.axis_types else names
    return jax.make_array_from_callback(x.shape, NamedSharding(mesh, PartitionSpec(*rows)), lambda index: x[index])


def lay_whole(mesh):
    return jax.tree.map(lambda x: lay(x, mesh), PARAMS)


def lay_parts(mesh):
    """Each array over all devices: its rows, and the columns of a matrix where the mesh has two axes."""
    return jax.tree.map(lambda x: lay(x, mesh, *mesh.axis_names[: x.ndim]), PARAMS)


def init_compiled(tx, params):
    return jax.jit(tx.init, out_shardings=gx.state_shardings(tx, params))(params)


def with_kind(mesh, kind):
    return jax.sharding.Mesh(mesh.devices, mesh.axis_names, axis_types=(kind,) * len(mesh.axis_names))


def data_parallel(mesh):
    params = lay_whole(mesh)
    return Way(mesh, TX, params, TX.init(params), compile_step(TX))


def fsdp(mesh):
    params = lay_parts(mesh)
    return Way(mesh, TX, params, TX.init(params), compile_step(TX))


def fsdp_compiled(mesh):
    params = lay_parts(mesh)
    return Way(mesh, TX, params, init_compiled(TX, params), compile_step(TX))


def zero(mesh):
    params, tx = lay_whole(mesh), gx.zero_redundancy(TX, "data")
    return Way(mesh, tx, params, init_compiled(tx, params), compile_step(tx))


def zero_eager_init(mesh):
    mesh = with_kind(mesh, AxisType.Explicit)
    params, tx = lay_whole(mesh), gx.zero_redundancy(TX, "data")
    return Way(mesh, tx, params, tx.init(params), compile_step(tx))


def eager(mesh, tx=TX):
    """Nothing but the gradients compiled by the user."""

    def step(params, state, x):
        updates, state = tx.update(gradient(params, x), state, params)
        return gx.apply_updates(params, updates), state

    params = lay_parts(mesh)
    return Way(mesh, tx, params, tx.init(params), step)


def eager_zero(mesh):
    own = eager(mesh, gx.zero_redundancy(TX, "data"))
    params = lay_whole(mesh)
    return own._replace(params=params, state=own.tx.init(params))


def offloaded(mesh):
    params, tx = lay_whole(mesh), gx.offload(gx.zero_redundancy(TX, "data"))
    return Way(mesh, tx, params, init_compiled(tx, params), compile_step(tx))


def across(mesh):
    """Gradients of each device's examples, summed by parts; each device updates its part of every array."""
    n = mesh.shape["data"]
    tx = gx.across(TX, "data")
    params = lay_whole(mesh)
    state = TX.init(jax.tree.map(lambda x: lay(x, mesh, "data"), PARAMS))
    specs = jax.tree.map(lambda x: x.sharding.spec, state)

    def on_parts(params, state, x):
        params = jax.tree.map(lambda p: vary(p, ["data"]), params)
        g = jax.grad(loss)(params, x)
        g = jax.tree.map(lambda x: jax.lax.psum_scatter(x, "data", tiled=True) / n, g)
        place = jax.lax.axis_index("data")
        own = jax.tree.map(lambda p, g: jax.lax.dynamic_slice_in_dim(p, place * len(g), len(g)), params, g)
        updates, state = tx.update(g, state, own)
        return gx.apply_updates(own, updates), state

    run = jax.shard_map(on_parts, mesh=mesh, in_specs=(WHOLE, specs, PARTS), out_specs=(PARTS, specs))

    @jax.jit
    def step(params, state, x):
        params, state = run(params, state, x)
        return jax.lax.with_sharding_constraint(params, NamedSharding(mesh, WHOLE)), state

    return Way(mesh, tx, params, state, step)


WAYS = {
    make.__name__: make
    for make in (data_parallel, fsdp, fsdp_compiled, across, zero, zero_eager_init, eager, eager_zero, offloaded)
}


def go_on(way, start, stop):
    """The parameters and the state after each of these steps."""
    params, state = way.params, way.state
    for i in range(start, stop):
        params, state = way.step(params, state, lay(batch_at(i), way.mesh, "data"))
        yield params, state
