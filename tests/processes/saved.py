"""Checkpoints that several processes write and read together, and digests of what is in them."""

import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.sharding import NamedSharding, PartitionSpec

import gradtx as gx


def gather(tree, mesh):
    """All arrays, whole on every process."""
    everywhere = NamedSharding(mesh, PartitionSpec())
    on_device = jax.device_put(tree, jax.tree.map(lambda x: x.sharding.with_memory_kind("device"), tree))
    whole = jax.jit(lambda tree: tree, out_shardings=everywhere)(on_device)
    return jax.tree.map(lambda x: np.asarray(x.addressable_data(0)), whole)


def digest(gathered):
    """One for all bytes, in the order of the leaves."""
    total = hashlib.sha256()
    for x in jax.tree.leaves(gathered):
        total.update(x.tobytes())
    return total.hexdigest()


def save(manager, n, way, params, state):
    """What stands after n steps; the state as it is, and flat."""
    trees = dict(params=params, state=state, flat=gx.to_flat(way.tx, state))
    manager.save(n, args=ocp.args.Composite(**{name: ocp.args.StandardSave(x) for name, x in trees.items()}))
    manager.wait_until_finished()


def templates(way):
    """The arrays of a run by their shapes and places; a new process has nothing else of the old ones."""

    def place(x, sharding):
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

    params = jax.tree.map(lambda x: place(x, x.sharding), way.params)
    state = jax.tree.map(place, jax.eval_shape(way.tx.init, params), gx.state_shardings(way.tx, params))
    return dict(params=params, state=state, flat=gx.to_flat(way.tx, state))


def restore(manager, n, way):
    """The run from there, by its state and by its flat state."""
    wanted = {name: ocp.args.StandardRestore(x) for name, x in templates(way).items()}
    found = manager.restore(n, args=ocp.args.Composite(**wanted))
    states = dict(state=found.state, flat=gx.from_flat(way.tx, found.params, found.flat))
    return {name: way._replace(params=jax.tree.map(jnp.copy, found.params), state=x) for name, x in states.items()}
