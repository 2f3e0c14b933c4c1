"""The sides of a matrix, and arrays that have one of them in common with it."""

import functools

import jax
import jax.numpy as jnp

from gradtx.core.placement import lay_like


@functools.partial(jax.jit, static_argnums=1)
def squares(x: jax.Array, axis: int) -> jax.Array:
    """Of matrices, all products of two rows (-2) or of two columns (-1)."""
    return x @ x.mT if axis == -2 else x.mT @ x


def are_rows_projected(x: jax.Array, longer: bool = False) -> bool:
    """Whether the shorter side of a matrix, or the longer one, are its rows; they are where both are equally long."""
    rows, columns = x.shape[-2:]
    return rows == columns or (rows > columns) == longer


def zeros_with_rows(x: jax.Array, columns: int) -> jax.Array:
    """Zeros with the rows of a matrix, which lie where those do, and so many columns."""
    return laid_zeros(x, -1, (*x.shape[:-1], columns))


def zeros_with_columns(x: jax.Array, rows: int) -> jax.Array:
    """Zeros with the columns of a matrix, which lie where those do, and so many rows."""
    return laid_zeros(x, -2, (*x.shape[:-2], rows, x.shape[-1]))


def laid_zeros(x: jax.Array, axis: int, shape: tuple[int, ...]) -> jax.Array:
    # Made of the matrix, of which nothing is in it, so that it has the layout of all its axes but one.
    nothing = jnp.any((x != x) & (x == x), axis=axis, keepdims=True).astype(x.dtype)
    made = jnp.broadcast_to(nothing, shape)
    return lay_like(made, x) if shape == x.shape else made
