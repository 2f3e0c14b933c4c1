"""The trees that tests run on."""

import jax

from gradtx.testing.examples import ALL, f32, in_dtype, normal
from gradtx.testing.law import abstract


def tree(dtype=f32, seed=0):
    """Arrays of several shapes, a 0-d and a zero-size one, and a None."""
    return normal(in_dtype(ALL, dtype), seed)


def signature(state):
    leaves, structure = jax.tree.flatten(abstract(state))
    return structure, [(x.shape, x.dtype, x.weak_type) for x in leaves]
