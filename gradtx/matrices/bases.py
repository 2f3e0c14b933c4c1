"""The eigenbases of the two sides of matrices: averages, decompositions, power steps, and what is seen in them."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.sharding import NamedSharding, PartitionSpec

from gradtx.core.collectives import manual_axes
from gradtx.core.placement import run_on_automatic_axes
from gradtx.core.tree import narrow, widen
from gradtx.matrices.batch import in_batches
from gradtx.matrices.decompositions import eigen, orthonormal
from gradtx.matrices.sides import squares
from gradtx.wrappers.branch import choose, keep_unless

OfSides = tuple[Any, Any]  # what belongs to the rows of a matrix, and what to its columns; None for the identity
Spot = tuple[int, int]  # which array, and which side of it: 0 for the rows, 1 for the columns
Field = tuple[jax.Array, int, bool]  # an array of a state, the place of its matrix, whether it is linear in updates


# ---- the sides of a matrix ----


def shapes_of_sides(shape: tuple[int, ...], max_dim: int) -> tuple[tuple[int, ...] | None, tuple[int, ...] | None]:
    """The shapes of what a stack of matrices has for its rows and for its columns, None for the identity."""
    rows, columns = [(*shape[:-2], n, n) if 1 < n <= max_dim and 0 not in shape else None for n in shape[-2:]]
    return rows, columns


def zeros_for_side(p: jax.Array, side: int, max_dim: int) -> jax.Array | None:
    shape = shapes_of_sides(p.shape, max_dim)[side]
    if shape is None:
        return None
    one_per_matrix = jnp.sum(jnp.zeros_like(p), axis=(-2, -1), keepdims=True)  # which lie like the stack does
    return jnp.broadcast_to(one_per_matrix, shape)


def lay_whole(x: jax.Array) -> jax.Array:
    """A stack of square matrices, each in one piece, as `init` made it: else the compiler would share it out as the
    array that it is computed of.
    """
    mesh: Any = jax.typeof(x).sharding.mesh
    if not isinstance(x, Tracer) or mesh.empty or mesh.explicit_axes or manual_axes():
        return x
    spec = PartitionSpec(*[PartitionSpec.UNCONSTRAINED] * (x.ndim - 2), None, None)
    return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, spec))


def gather_sides(spots: list[Spot], values: list[Any], places: list[int]) -> dict[int, OfSides]:
    """What each array has for its two sides, of a list by array and side."""
    known = dict(zip(spots, values, strict=True))
    return {i: (known.get((i, 0)), known.get((i, 1))) for i in places}


def average_in(before: jax.Array, g: jax.Array, side: int, decay: Any, ok: Any) -> jax.Array:
    """The average of G Gᵀ, or on the other side of Gᵀ G, with another gradient in it. It is a statistic, through which
    no gradient goes, nor through the bases.
    """
    now = run_on_automatic_axes(lambda g: squares(g, side - 2), (g,), before).astype(before.dtype)
    mean = (decay * before + (1.0 - decay) * now).astype(before.dtype)
    return lay_whole(jax.lax.stop_gradient(choose(ok, mean, before)))


def rotate(x: jax.Array, bases: OfSides, back: bool = False) -> jax.Array:
    """The matrix in these bases, or from them back."""
    return run_on_automatic_axes(rotate_out if back else rotate_in, (x, *bases), x)


@jax.jit
def rotate_in(x: jax.Array, left: Any, right: Any) -> jax.Array:
    x = x if left is None else jnp.matmul(left.mT.astype(x.dtype), x)
    return x if right is None else jnp.matmul(x, right.astype(x.dtype))


@jax.jit
def rotate_out(x: jax.Array, left: Any, right: Any) -> jax.Array:
    x = x if left is None else jnp.matmul(left.astype(x.dtype), x)
    return x if right is None else jnp.matmul(x, right.mT.astype(x.dtype))


# ---- new bases ----


def make_first_bases(first: Any, moments: list[Any], before: list[Any]) -> list[Any]:
    """The eigenvectors, if they are the first ones."""
    before = [jax.lax.stop_gradient(q) for q in before]
    rows = list(zip(moments, before, strict=True))
    decompose = functools.partial(in_batches, eigenvectors, None, rows, like=lambda s, q: q)
    return keep_unless(first, decompose, before) if rows else []


def renew_bases(
    due: Any,
    moments: list[Any],
    before: list[Any],
    spots: list[Spot],
    bases: dict[int, OfSides],
    fields: list[Field],
    zero: Any,
) -> tuple[list[Any], list[Any]]:
    """The bases behind a power step if one is due, and the fields in them.

    The factors of one size are one decomposition, whichever matrix and side they are of. That the first bases have a
    branch of their own, and are not one of three here, lets XLA hand on what a branch leaves alone in its buffer.
    """
    rows, arrays = list(zip(moments, before, strict=True)), [x for x, _, _ in fields]

    def step() -> tuple[list[Any], list[Any]]:
        original = {j: rotate(widen(x), bases[i], back=True) for j, (x, i, linear) in enumerate(fields) if linear}
        behind = zero + zero_behind(list(original.values()))
        made = in_batches(power_step, behind, rows, like=lambda s, q: (q, q[..., 0]))
        new = gather_sides(spots, [q for q, _ in made], list(bases))
        orders = gather_sides(spots, [order for _, order in made], list(bases))
        found: list[Any] = []
        for j, (x, i, linear) in enumerate(fields):
            wide = rotate(original[j], new[i]) if linear else permute(x, orders[i])
            found.append(narrow(wide, x.dtype))
        return [q for q, _ in made], found

    if not rows:
        return [], arrays
    new, found = keep_unless(due, step, (before, arrays))
    return [lay_whole(q) for q in new], found


def eigenvectors(common: None, s: jax.Array, q: jax.Array) -> jax.Array:
    """Those of a symmetric matrix as columns, the largest eigenvalue first."""
    return eigen(s)[1][:, ::-1]


def power_step(zero: jax.Array, s: jax.Array, q: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A better basis, and the order in which the columns of the old one went into it."""
    product = jnp.matmul(s, q)
    order = jnp.argsort(jnp.sum(q * product, axis=0), descending=True)
    order += zero.astype(order.dtype)
    return orthonormal(product[:, order]), order


def zero_behind(arrays: list[jax.Array]) -> jax.Array:
    """Zero, in a way that XLA computes it behind these arrays: what depends on it then takes the buffers of what they
    were made of. Without it a branch that leaves the bases alone would copy them, since XLA does not know in which
    order they are read and renewed.
    """

    def first_bits(arrays: list[jax.Array]) -> jax.Array:
        elements = [jax.lax.stop_gradient(x[(0,) * x.ndim]).astype(jnp.float32) for x in arrays if x.size]
        bits = [jax.lax.bitcast_convert_type(x, jnp.int32) for x in elements]
        return sum([jnp.right_shift(x & 1, 1) for x in bits], jnp.zeros([], jnp.int32))

    return run_on_automatic_axes(first_bits, (arrays,), jnp.zeros([], jnp.int32))


def permute(x: jax.Array, orders: OfSides) -> jax.Array:
    """A field with the rows and columns of its matrices in these orders."""
    wide = widen(x)
    return run_on_automatic_axes(permute_both, (wide, *orders), wide)


@jax.jit
def permute_both(x: jax.Array, rows: Any, columns: Any) -> jax.Array:
    """The stack of matrices with its rows and columns in these orders, in one gather, which keeps their layout."""
    i, j = [
        jnp.broadcast_to(jnp.arange(n), (*x.shape[:-2], n)) if order is None else order  # in each matrix of the stack
        for n, order in zip(x.shape[-2:], (rows, columns), strict=True)
    ]
    pick = jnp.vectorize(lambda x, i, j: x[i[:, None], j[None, :]], signature="(n,m),(n),(m)->(n,m)")
    return pick(x, i, j)
