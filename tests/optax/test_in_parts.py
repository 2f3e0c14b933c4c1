"""The last names of Optax inside of `shard_map`, where each device has a part of an array."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

import gradtx as gx
import gradtx.optax as optax

MESH = Mesh(np.array(jax.devices()[:4]), ("data",))
SPECS = {"w": PartitionSpec("data"), "b": PartitionSpec()}
W = {"w": jnp.linspace(-2.0, 3.0, 24).reshape(8, 3), "b": jnp.array([0.5, -1.0])}
G = jax.tree.map(jnp.cos, W)


def steps(tx: Any, w: Any, g: Any) -> Any:
    state = tx.init(w)
    for _ in range(3):
        updates, state = tx.update(g, state, w)
        w = gx.apply_updates(w, updates)
    return w


def in_parts(tx: Any) -> Any:
    run = jax.shard_map(
        lambda w, g: steps(gx.across(tx, "data"), w, g), mesh=MESH, in_specs=(SPECS, SPECS), out_specs=SPECS
    )
    return jax.jit(run)(W, G)


@pytest.mark.parametrize(
    "tx",
    [
        optax.contrib.dog(init_step=("heuristic", 0.1)),
        optax.contrib.dowg(init_estim_sq_dist=0.1),
        optax.scale_by_distance_over_gradients(0.1, 1e-8, jnp.float64, -1.0),
        optax.apply_every(2),
        optax.contrib.sam(optax.adam(0.1), optax.chain(optax.contrib.normalize(), optax.sgd(0.1))),
    ],
    ids=str,
)
def test_parts_make_the_whole(tx):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), in_parts(tx), steps(tx, W, G))


def test_what_needs_whole_arrays_says_so():
    with pytest.raises(ValueError, match="in parts along data; a vector of all needs them whole: use jit"):
        in_parts(optax.flatten(optax.adam(0.1)))
    tx = optax.masked(optax.contrib.scale_by_galore(1), lambda w: jax.tree.map(lambda x: x.ndim == 2, w))
    with pytest.raises(ValueError, match="in parts along data; a matrix is needed whole: use jit"):
        in_parts(tx)
