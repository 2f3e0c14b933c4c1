"""A tree as a list of real arrays, for what takes the whole tree for one vector."""

from typing import Any

import jax
import jax.numpy as jnp

from gradtx.core import check
from gradtx.core.tree import narrowed, widened


def reals(tree: Any, updates: Any, name: str) -> list[jax.Array]:
    """The tree's arrays where `updates` hold no None, in at least float32, a complex one as its real and its imaginary
    part: a function of these has the gradient and the Hessian of mathematics.
    """
    leaves = check.matching(updates, tree, name)
    return [widened(jnp.asarray(leaves[i])) for i in moving(updates)]


def put(arrays: list[jax.Array], tree: Any, updates: Any) -> Any:
    """The tree with other arrays in these places, in its own dtypes: the inverse of `reals`."""
    structure = jax.tree.structure(updates, is_leaf=check.is_none)
    leaves = structure.flatten_up_to(tree)
    for i, x in zip(moving(updates), arrays, strict=True):
        leaves[i] = narrowed(x, jnp.result_type(leaves[i]))
    return structure.unflatten(leaves)


def moving(updates: Any) -> list[int]:
    return [i for i, u in enumerate(jax.tree.leaves(updates, is_leaf=check.is_none)) if u is not None]
