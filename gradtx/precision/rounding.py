"""Rounding to fewer bits, to the nearest number or to one of the two beside it at random."""

import math
import zlib
from typing import Any

import jax
import jax.numpy as jnp

from gradtx.core.collectives import manual_axes, varying_axes

GOLDEN = 0x9E3779B9  # 2^32 over the golden ratio: its multiples lie far apart


def keys_for(key: jax.Array, count: Any, n: int, purpose: str = "") -> jax.Array:
    """Keys of n arrays at this count, two words of 32 bits each; other ones for another purpose."""
    words = jax.random.key_data(jax.random.fold_in(key, count)).ravel()
    first, last = words[0], words[-1]
    own = jnp.arange(1, n + 1, dtype=jnp.uint32) * jnp.uint32(GOLDEN) + jnp.uint32(zlib.crc32(purpose.encode()))
    return jnp.stack([scramble(own ^ first), scramble(own + last)], axis=1)


def random_bits(key: jax.Array, shape: tuple[int, ...], like: Any = None, first: Any = 0) -> jax.Array:
    """32 random bits for each element, made of its place in the array and of nothing that lies in memory: they join the
    arithmetic around them in one pass, and are the same however the array lies on devices. `jax.random.bits` would be
    an array of its own. Inside of `shard_map` the parts of what `like` is have other bits on each device. `first` is
    the place of the first element, where these are some out of a larger array.
    """
    place = jax.lax.iota(jnp.uint32, math.prod(shape)).reshape(shape) + jnp.asarray(first, jnp.uint32)
    a, b = key[0], key[1]
    if manual_axes() and like is not None:
        for name in sorted(varying_axes(like)):
            a = scramble(a + (jax.lax.axis_index(name).astype(jnp.uint32) + 1) * jnp.uint32(GOLDEN))
    return scramble(scramble(place ^ a) + b)


def scramble(x: jax.Array) -> jax.Array:
    """A permutation of 32-bit words in which each bit hangs on all others (Wellons, Prospecting for hash functions)."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)


def as_fraction(bits: jax.Array) -> jax.Array:
    """The upper 24 bits as a number in [0, 1)."""
    return (bits >> 8).astype(jnp.float32) * jnp.float32(2.0**-24)


def to_nearest(x: jax.Array, dtype: Any) -> jax.Array:
    """A float32 array in a narrower dtype, by the nearest number. XLA may drop a narrowing cast in front of a widening
    one; it may not drop `reduce_precision`.
    """
    info = jnp.finfo(dtype)
    if info.nexp == 8:
        return jax.lax.reduce_precision(x, info.nexp, info.nmant).astype(dtype)
    # For `reduce_precision` subnormal numbers are zeros, and the largest of e4m3 infinite.
    spacing = spacing_at(x, dtype)
    rounded = jnp.round(x / spacing) * spacing
    largest = jnp.float32(info.max if info.bits == 8 else jnp.inf)
    return jnp.clip(rounded, -largest, largest).astype(dtype)


def to_either(x: jax.Array, dtype: Any, bits: jax.Array) -> jax.Array:
    r"""A float32 array in a narrower dtype, by one of the two numbers beside each element $x$, the upper one with the
    probability $(x - x_0) / (x_1 - x_0)$, so that its mean is $x$. What the dtype has stays as it is, NaN and
    infinities too, and what is beyond the largest number becomes that one.
    """
    info = jnp.finfo(dtype)
    if info.nexp == 8:  # the upper bits of a float32, its smallest numbers too, which arithmetic may take for zero
        whole, unit = jax.lax.bitcast_convert_type(x, jnp.uint32), jnp.uint32(1 << (23 - info.nmant))
        either, lower = [y & ~(unit - 1) for y in (whole + (bits & (unit - 1)), whole)]
        is_largest = jnp.isinf(jax.lax.bitcast_convert_type(either, jnp.float32))
        rounded = jax.lax.bitcast_convert_type(jnp.where(is_largest, lower, either), jnp.float32)
    else:
        spacing = spacing_at(x, dtype)
        steps = jnp.floor(x / spacing)
        up = (as_fraction(bits) < x / spacing - steps).astype(x.dtype)
        rounded = jnp.clip((steps + up) * spacing, -jnp.float32(info.max), jnp.float32(info.max))
    return jnp.where(jnp.isfinite(x), rounded, x).astype(dtype)


def spacing_at(x: jax.Array, dtype: Any) -> jax.Array:
    """How far the numbers of a narrower dtype lie apart beside each element of a float32 array, $2^{-125}$ or more."""
    info = jnp.finfo(dtype)
    exponent = (jax.lax.bitcast_convert_type(jnp.abs(x), jnp.int32) >> 23) - 127
    return power_of_two(jnp.clip(exponent, max(int(info.minexp), info.nmant - 125), 127) - info.nmant)


def power_of_two(exponent: jax.Array) -> jax.Array:
    return jax.lax.bitcast_convert_type((exponent + 127) << 23, jnp.float32)
