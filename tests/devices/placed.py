"""Parameters that lie on a mesh, and what is asked of arrays there."""

import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import gradtx as gx

COLLECTIVE = re.compile(
    r"= (\(?[a-z]\d+\[.*?) (all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute)(?:-start)?\("
)
KINDS = [AxisType.Auto, AxisType.Explicit]


def mesh_with(kind, **axes):
    """A mesh of the first devices with these axes."""
    sizes = tuple(axes.values())
    kinds = kind if isinstance(kind, tuple) else (kind,) * len(axes)
    return jax.make_mesh(sizes, tuple(axes), axis_types=kinds, devices=jax.devices()[: int(np.prod(sizes))])


def put(x, mesh, *spec):
    """The array on a mesh, its layout written as `jit` writes it."""
    full = [*spec, *[None] * (np.ndim(x) - len(spec))]
    while full and full[-1] is None and AxisType.Auto in mesh.axis_types:
        full.pop()
    return jax.device_put(x, NamedSharding(mesh, PartitionSpec(*full)))


def example(seed=0):
    """A tree with a matrix, vectors that divide by 8 and one that does not, and a number."""
    key = jax.random.key(seed)
    shapes = {"w": (16, 24), "b": (24,), "odd": (3,), "n": ()}
    return {
        name: jax.random.normal(jax.random.fold_in(key, i), shape, jnp.float32)
        for i, (name, shape) in enumerate(shapes.items())
    }


def like_gradients(params, seed):
    """Gradients that lie as the parameters do."""
    return jax.tree.map(lambda g, p: jax.device_put(g, p.sharding), example(seed), params)


def train(tx, extra=lambda updates, params: {}):
    """A compiled step that donates what it replaces, in the order of its results."""

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params, state, g):
        updates, state = tx.update(g, state, params, **extra(g, params))
        return gx.apply_updates(params, updates), state

    return step


def three_steps(step, params, state):
    """With other gradients at each."""
    params = jax.tree.map(jnp.copy, params)
    for seed in (1, 2, 3):
        params, state = step(params, state, like_gradients(params, seed))
    return params, state


@functools.cache
def three_steps_of(member):
    """The parameters and the state after three steps of a member of the catalogue, for all tests that compare."""
    return three_steps(train(member.tx, member.extra), example(), member.tx.init(example()))


def bytes_per_device(tree):
    """What the first device holds of it."""
    first = jax.devices()[0]
    return sum(s.data.nbytes for x in jax.tree.leaves(tree) for s in x.addressable_shards if s.device == first)


def collectives(program):
    """The kinds of the collectives of a compiled program, with the bytes of float32 that come out of each."""
    return sorted(
        (
            kind,
            sum(4 * math.prod(map(int, filter(None, dims.split(",")))) for dims in re.findall(r"f32\[(.*?)\]", made)),
        )
        for made, kind in COLLECTIVE.findall(program.as_text())
    )


def assert_laid(tree, shardings):
    """Every array lies as its sharding says, in its memory."""
    assert jax.tree.structure(tree) == jax.tree.structure(shardings)
    for x, sharding in zip(jax.tree.leaves(tree), jax.tree.leaves(shardings), strict=True):
        assert x.sharding.is_equivalent_to(sharding, x.ndim), (x.shape, x.sharding, sharding)
        assert x.sharding.memory_kind == (sharding.memory_kind or jax.devices()[0].default_memory().kind)


def assert_close(one, other, rtol=0.0, atol=0.0):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(jax.device_get(x), jax.device_get(y), rtol=rtol, atol=atol)
