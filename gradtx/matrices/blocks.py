"""Matrices cut into equal blocks, for what is too long to be taken as one."""

from typing import Any

import jax
import jax.numpy as jnp

from gradtx.values.errors import require_whole


def as_size(name: str, value: Any) -> int:
    """The longest side that is taken as it is."""
    require_whole(name, value)
    return value


def shape_of_blocks(shape: tuple[int, ...], most: int) -> tuple[int, ...]:
    """That of a matrix whose sides are at most so long; of a longer one (blocks of rows, blocks of columns, rows,
    columns), as few equal blocks as have such sides.
    """
    counts = [max(1, -(-size // most)) for size in shape]
    return shape if max(counts) == 1 else (*counts, *[-(-size // k) for size, k in zip(shape, counts, strict=True)])


def cut(x: jax.Array, most: int) -> jax.Array:
    """A matrix in such blocks, with zeros beyond its ends."""
    shape = shape_of_blocks(x.shape, most)
    if len(shape) == 2:
        return x
    down, across, rows, columns = shape
    padded = jnp.pad(x, ((0, down * rows - x.shape[0]), (0, across * columns - x.shape[1])))
    return padded.reshape(down, rows, across, columns).transpose(0, 2, 1, 3)


def glue(blocks: jax.Array, like: jax.Array) -> jax.Array:
    """The matrix that was cut, which had the shape of this one."""
    if blocks.ndim == 2:
        return blocks
    down, across, rows, columns = blocks.shape
    whole = blocks.transpose(0, 2, 1, 3).reshape(down * rows, across * columns)
    return whole[: like.shape[0], : like.shape[1]]
