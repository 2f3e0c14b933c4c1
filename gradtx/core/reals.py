"""A tree as a list of real arrays, for what takes the whole tree for one vector."""

from typing import Any

import jax
import jax.numpy as jnp

from gradtx.core import check
from gradtx.core.collectives import fold
from gradtx.core.tree import narrow, widen
from gradtx.values.errors import Refusal


def reals(tree: Any, updates: Any, name: str) -> list[jax.Array]:
    """The tree's arrays where `updates` hold no None, in at least float32, a complex one as its real and its imaginary
    part: a function of these has the gradient and the Hessian of mathematics.
    """
    leaves = check.match(updates, tree, name)
    places = places_of_updates(updates)
    for i, u in zip(places, jax.tree.leaves(updates), strict=True):
        if leaves[i] is None or jnp.shape(leaves[i]) != jnp.shape(u):
            got = "None" if leaves[i] is None else f"shape {jnp.shape(leaves[i])}"
            where = f"updates{check.path_to(updates, i)} has shape {jnp.shape(u)}"
            raise Refusal(ValueError, f"{where}, {name} has {got} there")
    return [widen(jnp.asarray(leaves[i])) for i in places]


def put_back(arrays: list[jax.Array], tree: Any, updates: Any) -> Any:
    """The tree with other arrays in these places, in its own dtypes: the inverse of `reals`."""
    structure = jax.tree.structure(updates, is_leaf=check.is_none)
    leaves = structure.flatten_up_to(tree)
    for i, x in zip(places_of_updates(updates), arrays, strict=True):
        leaves[i] = narrow(x, jnp.result_type(leaves[i]))
    return structure.unflatten(leaves)


def places_of_updates(updates: Any) -> list[int]:
    return [i for i, u in enumerate(jax.tree.leaves(updates, is_leaf=check.is_none)) if u is not None]


def dot(a: list[jax.Array], b: list[jax.Array]) -> jax.Array:
    """The product of two lists as real vectors."""
    pairs = list(zip(a, b, strict=True))
    return fold(add_product, pairs, jnp.zeros([], jnp.float32))


def add_product(so_far: jax.Array, pair: tuple[jax.Array, jax.Array]) -> jax.Array:
    return so_far + jnp.sum(jnp.real(jnp.conj(pair[0]) * pair[1]))
