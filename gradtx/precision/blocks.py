"""What codecs compute: codes, and a scale for each block of elements that follow one another."""

import math
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from gradtx.precision.levels import Numbers, codes_of, levels_at
from gradtx.precision.rounding import as_fraction, to_either, to_nearest

Codes = tuple[jax.Array, jax.Array | None]


class Coder(Protocol):
    """How float32 numbers become codes, and back. A complex array comes as its real and imaginary part, stacked."""

    @property
    def min_size(self) -> int: ...  # of arrays that are held so

    @property
    def block(self) -> int: ...  # elements under one scale

    def encode(self, x: jax.Array, bits: jax.Array | None) -> Codes: ...
    def decode(self, codes: jax.Array, scale: Any, shape: tuple[int, ...]) -> jax.Array: ...


class Cast(NamedTuple):
    """A dtype of fewer bits."""

    dtype: Any
    min_size: int = 0
    block: int = 1

    def encode(self, x: jax.Array, bits: jax.Array | None) -> Codes:
        return narrow_words(x, self.dtype, bits), None

    def decode(self, codes: jax.Array, scale: Any, shape: tuple[int, ...]) -> jax.Array:
        return numbers_of(codes, self.dtype).astype(jnp.float32)


class Float8(NamedTuple):
    """A dtype of 8 bits under a scale."""

    dtype: Any
    block: int
    min_size: int

    def encode(self, x: jax.Array, bits: jax.Array | None) -> Codes:
        scale = scales_of(x, self.block)
        y = under_scales(x, scale, self.block) * self.largest
        return narrow_words(y, self.dtype, bits), scale

    def decode(self, codes: jax.Array, scale: Any, shape: tuple[int, ...]) -> jax.Array:
        y = numbers_of(codes, self.dtype).astype(jnp.float32) / self.largest
        return y * spread_scales(scale, shape, self.block)

    @property
    def largest(self) -> float:
        return float(jnp.finfo(self.dtype).max)


class Blocks(NamedTuple):
    """Levels under a scale."""

    bits: int
    block: int
    levels: Numbers
    min_size: int

    def encode(self, x: jax.Array, bits: jax.Array | None) -> Codes:
        scale = scales_of(x, self.block)
        y = under_scales(x, scale, self.block)
        codes = codes_of(y, self.levels, None if bits is None else as_fraction(bits))
        return codes if self.bits == 8 else pack(codes), scale

    def decode(self, codes: jax.Array, scale: Any, shape: tuple[int, ...]) -> jax.Array:
        codes = codes if self.bits == 8 else unpack(codes, shape)
        return levels_at(codes, self.levels) * spread_scales(scale, shape, self.block)


class OfRoot(NamedTuple):
    """The root in another codec."""

    of: Any

    @property
    def block(self) -> int:
        return self.of.block

    @property
    def min_size(self) -> int:
        return self.of.min_size

    def encode(self, x: jax.Array, bits: jax.Array | None) -> Codes:
        return self.of.encode(jnp.sqrt(jnp.maximum(x, 0.0)), bits)

    def decode(self, codes: jax.Array, scale: Any, shape: tuple[int, ...]) -> jax.Array:
        return jnp.square(self.of.decode(codes, scale, shape))


# ---- narrow dtypes, as words of their bits: NumPy can save these, and XLA writes a part of an array of them in place,
# where it would turn all of a narrow one into float32 on a processor ----


def narrow_words(x: jax.Array, dtype: Any, bits: jax.Array | None) -> jax.Array:
    narrow = to_nearest(x, dtype) if bits is None else to_either(x, dtype, bits)
    return jax.lax.bitcast_convert_type(narrow, jnp.uint8 if narrow.dtype.itemsize == 1 else jnp.uint16)


def numbers_of(words: jax.Array, dtype: Any) -> jax.Array:
    return jax.lax.bitcast_convert_type(words, dtype)


# ---- blocks ----


class Layout(NamedTuple):
    """An array as rows of blocks: its last dimensions, as few as fill whole blocks, are one row, so that the others lie
    on devices as they did. Where none do, the whole array is one row, filled up.
    """

    front: tuple[int, ...]
    blocks: int  # in a row
    length: int  # of a block
    size: int  # of a row, without what fills it up


def layout_of(shape: tuple[int, ...], block: int) -> Layout:
    length = min(block, max(math.prod(shape), 1))
    for k in reversed(range(len(shape))):
        size = math.prod(shape[k:])
        if size and size % length == 0:
            return Layout(shape[:k], size // length, length, size)
    size = math.prod(shape)
    return Layout((), -(-size // length), length, size)


def scales_of(x: jax.Array, block: int) -> jax.Array:
    """The largest size in each block, NaN where that is not finite."""
    rows = layout_of(x.shape, block)
    size = jnp.abs(x).reshape(*rows.front, rows.size)
    missing = rows.blocks * rows.length - rows.size
    if missing:
        size = jnp.pad(size, [(0, 0)] * len(rows.front) + [(0, missing)])
    largest = jnp.max(size.reshape(*rows.front, rows.blocks, rows.length), axis=-1)
    return jnp.where(jnp.isfinite(largest), largest, largest - largest)


def spread_scales(scale: jax.Array, shape: tuple[int, ...], block: int) -> jax.Array:
    """The scale of each element."""
    rows = layout_of(shape, block)
    each = jnp.broadcast_to(scale[..., None], (*scale.shape, rows.length))
    return each.reshape(*rows.front, rows.blocks * rows.length)[..., : rows.size].reshape(shape)


def under_scales(x: jax.Array, scale: jax.Array, block: int) -> jax.Array:
    """The numbers of blocks under their scales; of a block of zeros, zeros."""
    each = spread_scales(jnp.where(scale > 0, scale, 1.0), x.shape, block)
    return x / each


# ---- two codes in a byte ----


def pack(codes: jax.Array) -> jax.Array:
    if not codes.ndim or codes.shape[-1] % 2:
        flat = codes.reshape(-1)
        codes = jnp.pad(flat, (0, flat.size % 2))
    pairs = codes.reshape(*codes.shape[:-1], -1, 2)
    return (pairs[..., 0] << 4) | pairs[..., 1]


def unpack(packed: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    pairs = jnp.stack([packed >> 4, packed & 15], axis=-1)
    odd = not shape or shape[-1] % 2
    return pairs.reshape(-1)[: math.prod(shape)].reshape(shape) if odd else pairs.reshape(shape)
