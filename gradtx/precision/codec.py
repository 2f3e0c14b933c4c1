"""Codecs: how an array of numbers is held in few bytes. Values, whose `encode` and `decode` are pure functions."""

from typing import Annotated, Any, ParamSpec

import jax
import jax.numpy as jnp

from gradtx.core.check import is_inexact
from gradtx.core.held import Held
from gradtx.core.placement import lay_like, run_with_specs, spec_of_front, stay_like
from gradtx.core.tree import narrow, widen
from gradtx.precision.blocks import Blocks, Cast, Coder, Codes, Float8, OfRoot, layout_of
from gradtx.precision.levels import LevelMap, dynamic_levels, linear_levels
from gradtx.precision.rounding import random_bits
from gradtx.values.annotations import Check
from gradtx.values.errors import Refusal, errors_of
from gradtx.values.printing import excerpt
from gradtx.values.recipe import Recipe
from gradtx.values.value import Value, build, register

P = ParamSpec("P")
SMALL = 4096  # elements, below which to hold an array in blocks is not worth it


@register
class Codec(Value):
    """How an array is held: `encode(x)` in codes, which `decode` reads; a value.

    >>> import gradtx, jax, jax.numpy as jnp
    >>> codec = gradtx.blocks(8, block=4, min_size=0)
    >>> held = codec.encode(jnp.array([0.5, -2.0, 0.0, 2.0]))
    >>> held.codes, held.scale
    (Array([201,   0, 127, 255], dtype=uint8), Array([2.], dtype=float32))
    >>> codec.decode(held)
    Array([ 0.4953125, -1.9859375,  0.       ,  2.       ], dtype=float32)
    """

    def encode(self, x: jax.Array, key: jax.Array | None = None) -> Held:
        """The array in codes. With a key of JAX's it is rounded at random, unless the codec says otherwise; without,
        to the nearest code, or an error where the codec says that it is to be random.
        """
        with errors_of(self.recipe.__name__):
            x = jnp.asarray(x)
            require_floats(x, "x")
            random = rounds_at_random(self)
            if key is None and random:
                raise Refusal(ValueError, "it rounds at random and needs a key: encode(x, jax.random.key(0))")
            words = None if key is None or random is False else jax.random.key_data(key).ravel()
            return encode_as(self, x, words)

    def decode(self, held: Held) -> jax.Array:
        """The array, in the dtype and the shape that it had."""
        shape = shape_of_reals(held.shape, held.dtype)

        def run(codes: jax.Array, scale: Any, shape: tuple[int, ...] = shape) -> jax.Array:
            return coder_of(self).decode(codes, scale, shape)

        copies = self._copies(held, shape)
        for _ in range(copies):
            run = jax.vmap(run)
        shape = (*held.codes.shape[:copies], *shape)
        wide = run_with_specs(run, (held.codes, held.scale), lambda: spec_of_front(held.codes, shape))
        return jax.vmap(lambda x: narrow(x, held.dtype))(wide) if copies else narrow(wide, held.dtype)

    def _copies(self, held: Held, shape: tuple[int, ...]) -> int:
        """How many dimensions `vmap` has put in front."""
        if held.scale is None:
            return held.codes.ndim - len(shape)
        return held.scale.ndim - len(layout_of(shape, coder_of(self).block).front) - 1

    def _block(self, shape: tuple[int, ...]) -> int:
        """The elements under one scale, 0 where the last one of them is not full."""
        rows = layout_of(shape, coder_of(self).block)
        return rows.length if rows.blocks * rows.length == rows.size else 0

    def _hold(self, held: Held, wide: jax.Array) -> Held:
        """Another array in the place of one, as wide as formulas compute, lying as that one does."""
        codes, scale = encode_wide(self, wide, held.key)
        scale = scale if scale is None else stay_like(scale, held.scale)
        return Held(stay_like(codes, held.codes), scale, held.key, held.codec, held.shape, held.dtype)


def encode_as(codec: Codec, x: jax.Array, key: jax.Array | None) -> Held:
    """An array in a codec's codes, with words for random rounding or without."""
    codes, scale = encode_wide(codec, widen(x), key)
    codes = lay_like(codes, x) if codes.shape == x.shape else codes
    return Held(codes, scale, None, codec, x.shape, x.dtype)


def encode_wide(codec: Codec, wide: jax.Array, key: jax.Array | None) -> Codes:
    """The codes of an array as `widen` gives it. A third word of the key is the place of its first element."""

    def run(x: jax.Array, key: Any) -> Codes:
        bits = None if key is None else random_bits(key[:2], x.shape, x, key[2] if key.size > 2 else 0)
        return coder_of(codec).encode(x, bits)

    def specs() -> Any:
        made = jax.eval_shape(lambda: run(jnp.zeros(wide.shape, jnp.float32), None))
        return jax.tree.map(lambda x: spec_of_front(wide, x.shape), made)

    return run_with_specs(run, (wide.astype(jnp.float32), key), specs)


def coder_of(codec: Codec) -> Coder:
    return build(codec)


def shape_of_reals(shape: tuple[int, ...], dtype: Any) -> tuple[int, ...]:
    return (2, *shape) if jnp.issubdtype(dtype, jnp.complexfloating) else shape


def require_floats(x: Any, name: str) -> None:
    """Refuse what is no array of floating-point numbers."""
    if not is_inexact(x.dtype):
        remedy = "codecs are for averages and other floating-point numbers"
        raise Refusal(TypeError, f"{name} is {x.dtype}{list(x.shape)}; {remedy}")


class codec(Recipe[P, Codec]):
    """Makes a factory of coders a factory of `Codec`."""

    kind = Codec


# ---- the codecs ----


@codec
def bfloat16(*, stochastic: bool | None = None) -> Coder:
    r"""The upper 16 bits of a float32: 8 bits of exponent, 7 of mantissa, 2 bytes.

    In a state an array of float32 becomes one of `jnp.bfloat16`, of its shape.

    **Arguments:** `stochastic`, whether rounding is random and unbiased, or to the nearest number; None leaves that to
    `hold`, which takes random rounding for averages that change slowly. The nearest number stands still where a step
    is less than half a distance, 1/256 of its size: an average with $\beta = 0.999$.

    >>> import gradtx, jax.numpy as jnp
    >>> codec = gradtx.bfloat16()
    >>> codec.decode(codec.encode(jnp.array([1.0, 1.001, 1.01])))
    Array([1.       , 1.       , 1.0078125], dtype=float32)
    """
    return Cast(jnp.bfloat16)


@codec
def float16(*, stochastic: bool | None = None) -> Coder:
    """IEEE's 16 bits: 5 of exponent, 10 of mantissa, 2 bytes. What is above 65504 becomes infinite, squares below 6e-8
    become zero: it is for quantities of known size.

    **Arguments:** `stochastic` as for `bfloat16`.

    >>> import gradtx, jax.numpy as jnp
    >>> codec = gradtx.float16()
    >>> codec.decode(codec.encode(jnp.array([1.0, 1.001])))
    Array([1.       , 1.0009766], dtype=float32)
    """
    return Cast(jnp.float16)


@codec
def float8(mantissa: int = 3, block: int = 256, *, min_size: int = SMALL, stochastic: bool | None = None) -> Coder:
    r"""8 bits with exponents, e4m3 or e5m2, under a scale for each block, $x \approx s\, q / q_{max}$ with
    $s = \max|x|$ and $q_{max}$ = 448 or 57344: 1 byte and 4 for each block.

    **Arguments:** `mantissa` 3 (e4m3) or 2 (e5m2) bits; `block`, `min_size` and `stochastic` as for `blocks`.

    **Source:** Micikevicius et al., FP8 Formats for Deep Learning (2022).

    >>> import gradtx, jax.numpy as jnp
    >>> held = gradtx.float8(min_size=0).encode(jnp.array([1.0, 3.0]))
    >>> held.codes, held.scale  # the bits of 144 and of 448, and the largest size
    (Array([113, 126], dtype=uint8), Array([3.], dtype=float32))
    """
    if mantissa not in (2, 3):
        raise Refusal(ValueError, f"mantissa must be 3, for e4m3, or 2, for e5m2, got {excerpt(mantissa)}")
    require_sizes(block, min_size)
    return Float8(jnp.float8_e4m3fn if mantissa == 3 else jnp.float8_e5m2, block, min_size)


@codec
def blocks(
    bits: int = 8,
    block: int = 256,
    map: LevelMap = None,  # noqa: A002  # as users of such codecs know it
    *,
    signed: bool | None = None,
    min_size: int = SMALL,
    stochastic: bool | None = None,
) -> Coder:
    r"""Codes of 8 or 4 bits, which stand for levels under a scale for each block of so many elements that follow one
    another, $x \approx s\, q_c$ with $s = \max|x|$: with 8 bits and blocks of 256 1.016 bytes for each element.

    Zeros are exact where the levels have a zero, as all but those of unsigned 4 bits, and so is the largest element of
    a block where it is positive. A block with a NaN or an infinity becomes NaN. 8-bit codes have the shape of the
    array and lie on devices as it does; of 4 bits two are in a byte, the first in the upper half.

    **Arguments:** `bits` 8 or 4; `block` $\ge 1$; `map`, levels such as `dynamic_levels()`, or as many rising numbers
    from -1 to 1 as there are codes or fewer; None takes dynamic ones, for 4 bits without a sign linear ones without
    zero; `signed`, whether numbers have a sign, None for what `hold` knows of the quantity, elsewhere yes; `min_size`,
    the number of elements from which on an array is held so, smaller ones stay as they are; `stochastic`, whether
    rounding is random and unbiased, None for what `hold` knows. The nearest level stands still where a step is less
    than half the distance of two: an average with $\beta = 0.999$ never moves.

    **Raises:** `ValueError` for other bits, a block below 1, and levels that do not rise, or more than there are codes.

    **Source:** Dettmers et al., 8-bit Optimizers via Block-wise Quantization (2021); Li et al., Memory Efficient
    Optimizers with 4-bit States (2023), without its normalization by rows and columns.

    >>> import gradtx, jax.numpy as jnp
    >>> gradtx.blocks(4, min_size=0, signed=False).encode(jnp.array([1.0, 4.0])).codes  # 3 and 15: 4/16 and 16/16
    Array([63], dtype=uint8)
    """
    if bits not in (4, 8):
        raise Refusal(ValueError, f"bits must be 8 or 4, got {excerpt(bits)}")
    require_sizes(block, min_size)
    with_sign = signed is not False
    usual = dynamic_levels() if bits == 8 or with_sign else linear_levels(zero=False)
    chosen = usual if map is None else map
    numbers = chosen if isinstance(chosen, tuple) else chosen(bits, with_sign)
    if len(numbers) > 2**bits:
        raise Refusal(ValueError, f"map must have at most {2**bits} levels for {bits} bits, got {len(numbers)}")
    return Blocks(bits, block, numbers, min_size)


def as_codec(name: str, value: Any) -> Codec:
    """A codec; its factory, or a dtype of 16 bits, for one with its defaults."""
    if isinstance(value, Codec):
        return value
    if isinstance(value, Recipe) and value.kind is Codec and not value.signature.parameters.keys() - value.defaults:
        return value()
    try:
        dtype = None if isinstance(value, Value | Recipe) or value is None else jnp.dtype(value)
    except TypeError:
        dtype = None
    if dtype in (jnp.bfloat16, jnp.float16):
        return bfloat16() if dtype == jnp.bfloat16 else float16()
    what = "a codec such as bfloat16 or blocks(8)"
    got = f"a factory; call it: {value.__name__}(…)" if isinstance(value, Recipe) else excerpt(value)
    raise Refusal(TypeError, f"{name} must be {what}, got {got}")


@codec
def of_root(codec: Annotated[Any, Check(as_codec)]) -> Coder:
    r"""The root of an array without negative elements in another codec, $\sqrt x$, squared where it is read: half the
    magnitudes, and so no second moment becomes zero beside a large one.

    **Arguments:** `codec`, which sees no sign.

    >>> import gradtx, jax.numpy as jnp
    >>> codec = gradtx.of_root(gradtx.blocks(8, min_size=0))
    >>> codec.decode(codec.encode(jnp.array([1e-8, 1.0])))
    Array([8.90664e-09, 1.00000e+00], dtype=float32)
    """
    return OfRoot(coder_of(resolve(codec, signed=False)))


def resolve(codec: Codec, **known: Any) -> Codec:
    """The codec with what its arguments leave open."""
    if codec.recipe is of_root:
        return of_root(resolve(codec.arguments["codec"], **known | {"signed": False}))
    open_ones = {name: x for name, x in known.items() if codec.arguments.get(name, x) is None}
    return codec.replace(**open_ones) if open_ones else codec


def rounds_at_random(codec: Codec) -> bool | None:
    """Whether it does; None where it leaves that open."""
    return rounds_at_random(codec.arguments["codec"]) if codec.recipe is of_root else codec.arguments["stochastic"]


def require_sizes(block: Any, min_size: Any) -> None:
    for name, x, least in (("block", block, 1), ("min_size", min_size, 0)):
        if type(x) is not int or x < least:
            raise Refusal(ValueError, f"{name} must be a whole number from {least} on, got {excerpt(x)}")
