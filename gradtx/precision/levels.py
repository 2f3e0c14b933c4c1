"""The numbers that the codes of a block stand for, all of them in [-1, 1]."""

import functools
from collections.abc import Callable
from itertools import pairwise
from typing import Annotated, Any, NamedTuple, ParamSpec

import jax
import jax.numpy as jnp
import numpy as np

from gradtx.values.annotations import Check
from gradtx.values.errors import Refusal
from gradtx.values.printing import excerpt
from gradtx.values.recipe import Recipe
from gradtx.values.value import Value, build, register

P = ParamSpec("P")
Numbers = tuple[float, ...]


@register
class Levels(Value):
    """Levels for so many bits, with a sign or without; a value.

    >>> import gradtx
    >>> gradtx.linear_levels()(2, True)
    (-1.0, 0.0, 1.0)
    """

    def __call__(self, bits: int, signed: bool) -> Numbers:
        return build(self)(bits, signed)


class levels(Recipe[P, Levels]):
    """Makes a factory of functions of the number of bits and of the sign a factory of `Levels`."""

    kind = Levels


@levels
def dynamic_levels() -> Callable[[int, bool], Numbers]:
    r"""Levels whose distance grows with their size, for numbers of all magnitudes: of $b$ bits with a sign, for each
    $i = 0, \dots, b - 2$ the midpoints of $2^i$ equal parts of $[0.1, 1]$ times $10^{i - b + 2}$, with both signs; and
    0 and 1. Without a sign $2^{i + 1}$ parts. There is no -1: the least is -0.993 with 8 bits, -0.8875 with 4.

    **Source:** Dettmers et al., 8-bit Optimizers via Block-wise Quantization (2021), appendix; the same numbers as
    those of bitsandbytes and torchao.

    >>> import gradtx
    >>> gradtx.dynamic_levels()(8, False)[:3]
    (0.0, 3.25e-07, 7.75e-07)
    """

    def make(bits: int, signed: bool) -> Numbers:
        found = [0.0, 1.0]
        for i in range(bits - 1):
            ends = np.linspace(0.1, 1.0, (2**i if signed else 2 ** (i + 1)) + 1)
            middle = (ends[1:] + ends[:-1]) / 2 * 10.0 ** (i - bits + 2)
            found += [*middle, *(-middle if signed else [])]
        return sorted_numbers(found)

    return make


@levels
def linear_levels(*, zero: bool = True) -> Callable[[int, bool], Numbers]:
    """Levels at equal distances: with a sign from -1 to 1, without from 0 to 1; without `zero` from one distance on,
    as 4-bit optimizers hold second moments, which must not become zero.

    For second moments with 8 bits they are of no use: 11 in 100 become zero (measured on squares of normal numbers).

    >>> import gradtx
    >>> gradtx.linear_levels(zero=False)(2, False)
    (0.25, 0.5, 0.75, 1.0)
    """

    def make(bits: int, signed: bool) -> Numbers:
        if signed:
            half = 2 ** (bits - 1) - 1
            return sorted_numbers(np.arange(-half, half + 1) / half)
        return sorted_numbers(np.linspace(0.0, 1.0, 2**bits) if zero else np.linspace(0.0, 1.0, 2**bits + 1)[1:])

    return make


def sorted_numbers(found: Any) -> Numbers:
    return tuple(float(x) for x in np.sort(np.asarray(found, np.float64)))


def as_levels(name: str, value: Any) -> Any:
    """Levels, or a tuple of numbers that are levels for any sign; None for those that the number of bits suggests."""
    if value is None or isinstance(value, Levels):
        return value
    if isinstance(value, Recipe):
        raise Refusal(TypeError, f"{name} must be levels, got a factory; call it: {value.__name__}()")
    try:
        own = tuple(float(x) for x in value)
    except (TypeError, ValueError):
        own = ()
    if len(own) < 2 or any(not a < b for a, b in pairwise(own)) or max(map(abs, own)) > 1.0:
        what = "levels such as dynamic_levels(), or two or more rising numbers from -1 to 1"
        raise Refusal(ValueError, f"{name} must be {what}, got {excerpt(value)}")
    return own


LevelMap = Annotated[Any, Check(as_levels)]


# ---- between numbers and codes ----


class Stretch(NamedTuple):
    """Some levels at equal distances."""

    start: float
    code: int  # of the first one
    distance: float


@functools.cache
def stretches_of(numbers: Numbers) -> tuple[Stretch, ...]:
    """The levels as few stretches: dynamic ones are 26 with a sign and 15 without, linear ones one."""
    found: list[Stretch] = []
    for code, (a, b) in enumerate(pairwise(numbers)):
        if not found or abs((b - a) / found[-1].distance - 1.0) > 1e-6:
            found.append(Stretch(a, code, b - a))
    return tuple(found)


MANY = 40  # stretches, from which on to search for the code takes less than to try all
SNAP = 2.0**-15  # so near to a level, by rounding in float32, a number is that level


def codes_of(y: jax.Array, numbers: Numbers, fraction: jax.Array | None) -> jax.Array:
    """The code of the nearest level, ties up; with random fractions that of one of the two beside it, the upper one
    with the probability that makes their mean the number.
    """
    y = jnp.clip(y, numbers[0], numbers[-1])
    stretches = stretches_of(numbers)
    if len(stretches) > MANY:
        table = jnp.asarray(numbers, jnp.float32)
        code = jnp.clip(jnp.searchsorted(table, y, side="right") - 1, 0, len(numbers) - 2)
        start, step = table[code], 1.0 / (table[code + 1] - table[code])
        code = code.astype(jnp.float32)
    else:
        first = stretches[0]
        start, step, code = (jnp.full_like(y, x) for x in (first.start, 1.0 / first.distance, first.code))
        for stretch in stretches[1:]:
            above = y >= stretch.start
            start = jnp.where(above, stretch.start, start)
            step = jnp.where(above, 1.0 / stretch.distance, step)
            code = jnp.where(above, float(stretch.code), code)
    steps = (y - start) * step
    if fraction is None:
        return as_bytes(code + jnp.floor(steps + 0.5), numbers)
    whole = jnp.floor(steps)
    rest = steps - whole
    rest = jnp.where(rest < SNAP, 0.0, jnp.where(rest > 1.0 - SNAP, 1.0, rest))
    up = (fraction < rest).astype(y.dtype)
    return as_bytes(code + whole + up, numbers)


def as_bytes(code: jax.Array, numbers: Numbers) -> jax.Array:
    return jnp.clip(code, 0.0, float(len(numbers) - 1)).astype(jnp.uint8)


def levels_at(codes: jax.Array, numbers: Numbers) -> jax.Array:
    """The levels of these codes."""
    return jnp.asarray(numbers, jnp.float32).at[codes].get(mode="promise_in_bounds")
