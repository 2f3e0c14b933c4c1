"""What a codec makes of an array: the levels that others know, errors as measured, what is exact, what is random."""

import functools

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gradtx as gx
from gradtx.precision.levels import codes_of, stretches_of
from gradtx.precision.rounding import keys_for, random_bits, to_either, to_nearest
from tests.refusals import refused

N = 2**18
CODECS = [
    gx.bfloat16(),
    gx.float16(),
    gx.float8(min_size=0),
    gx.float8(2, min_size=0),
    gx.blocks(8, min_size=0),
    gx.blocks(8, 64, min_size=0),
    gx.blocks(8, map=gx.linear_levels(), min_size=0),
    gx.blocks(4, 128, min_size=0),
]
codecs = pytest.mark.parametrize("codec", CODECS, ids=repr)


@functools.partial(jax.jit, static_argnums=0)
def there_and_back(codec, x, key):
    return codec.decode(codec.encode(x, key))


def back(codec, x, key=None):
    return np.asarray(there_and_back(codec, jnp.asarray(x), key), np.float64)


def rms(x):
    return np.sqrt((x.astype(np.float64) ** 2).mean())


# ---- levels ----


def test_dynamic_levels_are_those_of_bitsandbytes_and_torchao():
    """The figures of `algorithms2.md` 4.2, which were read from both packages' own maps."""
    signed, unsigned = (np.array(gx.dynamic_levels()(8, sign), np.float32) for sign in (True, False))
    assert len(signed) == len(unsigned) == 256
    assert signed[0] == np.float32(-0.99296874)
    assert (signed[127], signed[255]) == (0.0, 1.0)
    assert signed[signed > 0].min() == pytest.approx(5.5e-7)
    assert signed.sum(dtype=np.float64) == pytest.approx(1.0, abs=1e-6)
    assert unsigned[:2] == pytest.approx([0.0, 3.25e-7])
    assert unsigned.sum(dtype=np.float64) == pytest.approx(75.10526324, abs=1e-5)
    half = [0.0055, 0.0325, 0.0775, 0.2125, 0.4375, 0.6625, 0.8875]
    np.testing.assert_allclose(gx.dynamic_levels()(4, True), [*[-x for x in reversed(half)], 0, *half, 1], atol=1e-12)


def test_linear_levels():
    np.testing.assert_allclose(gx.linear_levels()(8, True), np.arange(-127, 128) / 127)
    np.testing.assert_allclose(gx.linear_levels()(8, False), np.arange(256) / 255)
    np.testing.assert_allclose(gx.linear_levels(zero=False)(4, False), np.linspace(0, 1, 17)[1:])


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("levels", [gx.dynamic_levels(), gx.linear_levels()], ids=repr)
def test_the_code_is_that_of_the_nearest_level(levels, signed):
    numbers = levels(8, signed)
    rng = np.random.default_rng(0)
    y = rng.uniform(-1 if signed else 0, 1, 20_000) * 10.0 ** rng.uniform(-7, 0, 20_000)
    y = np.append(y, numbers).astype(np.float32)
    found = np.array(numbers)[np.asarray(codes_of(jnp.asarray(y), numbers, None))]
    least = np.abs(y[:, None].astype(np.float64) - np.array(numbers)).min(1)
    assert (np.abs(found - y) - least).max() < 1e-7  # a number in the middle, by rounding, may fall to either side


def test_irregular_levels_are_found_by_search():
    numbers = tuple(np.sort(np.random.default_rng(0).uniform(-1, 1, 200)).tolist())
    assert len(stretches_of(numbers)) > 100
    y = np.random.default_rng(1).uniform(-1, 1, 5000).astype(np.float32)
    found = np.array(numbers)[np.asarray(codes_of(jnp.asarray(y), numbers, None))]
    least = np.abs(y[:, None].astype(np.float64) - np.array(numbers)).min(1)
    assert (np.abs(found - y) - least).max() < 1e-6
    codec = gx.blocks(8, 4, map=(-1.0, 0.0, 0.3, 1.0), min_size=0)
    np.testing.assert_allclose(back(codec, np.array([2.0, 0.5, -1.5, 0.1], np.float32)), [2.0, 0.6, -2.0, 0.0])


# ---- errors ----

# Of `algorithms2.md` 4.2: N(0, 1) with a sign and its squares without, by root mean square and mean relative error.
ERRORS = [
    (gx.bfloat16(), (0.0017, 0.0014), (0.0017, 0.0014)),
    (gx.blocks(8), (0.0108, 0.0154), (0.0064, 0.0172)),
    (gx.blocks(8, 2048), (0.0125, 0.0167), (0.0080, 0.0191)),
    (gx.blocks(8, 64), (0.0095, 0.0142), (0.0052, 0.0155)),
    (gx.blocks(8, map=gx.linear_levels()), (0.0070, 0.0313), (0.0062, 0.155)),
    (gx.float8(), (0.0261, 0.0224), (0.0248, 0.0272)),
    (gx.float8(2), (0.052, 0.045), (0.049, 0.045)),
    (gx.blocks(4, 128), (0.148, 0.20), (0.181, None)),
    (gx.of_root(gx.blocks(8)), None, (0.0071, 0.0155)),
]


@pytest.mark.parametrize(("codec", "signed", "squares"), ERRORS, ids=lambda x: repr(x) if hasattr(x, "recipe") else "")
def test_errors_are_those_of_the_sheet(codec, signed, squares):
    x = np.random.default_rng(0).standard_normal(N).astype(np.float32)
    unsigned = codec.replace(signed=False) if "signed" in codec.arguments else codec
    for own, y, figures in ((codec, x, signed), (unsigned, x**2, squares)):
        if figures is not None:
            error = back(own, y) - y
            assert rms(error) / rms(y) == pytest.approx(figures[0], rel=0.03)
            if figures[1] is not None:
                assert (np.abs(error) / np.abs(y)).mean() == pytest.approx(figures[1], rel=0.03)


def test_no_second_moment_becomes_zero_by_its_root():
    v = np.exp(3 * np.random.default_rng(0).standard_normal(N)).astype(np.float32)
    own, root = back(gx.blocks(8, signed=False), v), back(gx.of_root(gx.blocks(8)), v)
    assert (np.abs(own - v) / v).mean() == pytest.approx(0.0863, rel=0.05)
    assert (np.abs(root - v) / v).mean() == pytest.approx(0.0346, rel=0.05)
    assert (root > 0).all()
    assert (own == 0).mean() > 0.01


BOUNDS = {2: 2.0**-8, 1: 2.0**-4}  # of a cast by bytes, relative


@codecs
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_round_trip(codec, data):
    """Within half a distance of two levels; zeros and the largest element of a block exactly; the shape and the dtype
    are kept, and a second round changes nothing where no largest element is negative.
    """
    shape = data.draw(st.sampled_from([(7,), (3, 5), (300,), (1, 1), (2, 256)]))
    seed, size = data.draw(st.integers(0, 2**20)), data.draw(st.sampled_from([1e-6, 1.0, 1e3]))
    x = np.random.default_rng(seed).standard_normal(shape).astype(np.float32) * np.float32(size)
    x[np.random.default_rng(seed).random(shape) < 0.2] = 0.0
    held = codec.encode(jnp.asarray(x))
    y = codec.decode(held)
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    assert (np.asarray(y)[x == 0] == 0).all()
    wide = getattr(codec, "map", None) is not None
    distance = {"float16": 2.0**-11, "bfloat16": 2.0**-8}.get(codec.recipe.__name__)
    if distance:
        assert (np.abs(y - x) <= distance * np.abs(x) + 6e-8).all()
    else:
        largest = np.abs(x).max()  # of all blocks
        half = {"float8": 2.0 ** -(codec.arguments.get("mantissa", 0) + 1)}.get(codec.recipe.__name__)
        half = half or (0.5 / 127 if wide else 0.1125 if codec.bits == 4 else 0.00704)
        assert np.abs(y - x).max() <= half * largest * 1.001
        if x.max() == largest:
            assert np.asarray(y).max() == pytest.approx(x.max(), rel=1e-6)


@codecs
def test_nan_and_infinity_stay_in_their_block(codec):
    x = np.ones(1024, np.float32)
    x[0], x[600] = np.nan, np.inf
    y = back(codec, x)
    assert np.isnan(y[0])
    assert not np.isfinite(y[600])
    assert np.isfinite(y[900:]).all()
    if "block" not in codec.arguments:
        assert np.isfinite(y[1:600]).all()
        assert y[600] == np.inf


@codecs
def test_zeros_and_tiny_blocks(codec):
    assert (back(codec, np.zeros((4, 64), np.float32)) == 0).all()
    if "block" in codec.arguments:  # a scale makes the size of a block a matter of its own
        x = np.full(256, 1e-30, np.float32)
        np.testing.assert_allclose(back(codec, x), x, rtol=1e-6)


@codecs
@pytest.mark.parametrize("dtype", [jnp.float64, jnp.bfloat16, jnp.complex64])
def test_other_dtypes_come_back_in_their_own(codec, dtype):
    x = jnp.linspace(-1.0, 2.0, 64).astype(dtype)
    x = x * (1 + 2j) if dtype == jnp.complex64 else x
    y = codec.decode(codec.encode(x))
    assert y.dtype == x.dtype
    assert np.abs(np.asarray(y - x, np.complex128)).max() < 0.3 * float(jnp.abs(x).max())


def test_codes_lie_like_the_array_and_scales_like_its_front():
    held = gx.blocks(8).encode(jnp.zeros((12, 64, 512)))
    assert (held.codes.shape, held.scale.shape) == ((12, 64, 512), (12, 64, 2))
    assert gx.blocks(8).encode(jnp.zeros((12, 64, 100))).scale.shape == (12, 25)  # 64 rows of 100 are 25 blocks
    assert gx.blocks(8).encode(jnp.zeros((3, 7))).scale.shape == (1,)
    assert gx.blocks(4).encode(jnp.zeros((12, 64, 512))).codes.shape == (12, 64, 256)
    assert gx.blocks(4).encode(jnp.zeros((3, 7))).codes.shape == (11,)


def test_two_codes_of_4_bits_in_a_byte_the_first_in_the_upper_half():
    codes = gx.blocks(4, min_size=0).encode(jnp.array([1.0, -0.9, 0.0, 0.44])).codes
    assert codes.tolist() == [15 * 16 + 0, 7 * 16 + 12]


# ---- random rounding ----


def neighbours(x, dtype):
    """The two numbers of a dtype beside another one."""
    size = np.dtype(dtype).itemsize
    with np.errstate(invalid="ignore"):
        every = np.arange(2 ** (8 * size), dtype=np.uint32).astype(f"u{size}").view(dtype).astype(np.float64)
    every = np.unique(every[np.isfinite(every)])
    return every[every <= x].max(), every[every >= x].min()


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float8_e4m3fn, jnp.float8_e5m2])
@pytest.mark.parametrize("x", [1 + 2.0**-10, -np.pi, 1 + 2.0**-8, 1.5, 0.0, 3e-3, 1e-5, -100.3])
def test_rounding_at_random_is_unbiased(x, dtype):
    """`algorithms2.md` 4.1: only the two neighbours occur, and their mean is the number within 4 sigma."""
    check_unbiased(x, dtype)


def test_subnormal_numbers_round_at_random_too():
    check_unbiased(1e-40, jnp.bfloat16)
    check_unbiased(3e-7, jnp.float16)


def check_unbiased(x, dtype):
    n, x = 2**16, float(np.float32(x))
    bits = random_bits(keys_for(jax.random.key(0), 3, 2)[1], (n,))
    found = np.asarray(to_either(jnp.full(n, x, jnp.float32), dtype, bits)).astype(np.float64)
    low, high = neighbours(x, np.dtype(dtype))
    assert set(found) <= {low, high}
    p = 0.0 if high == low else (x - low) / (high - low)
    assert abs(found.mean() - x) <= 4 * (high - low) * np.sqrt(p * (1 - p) / n)


@pytest.mark.parametrize("codec", [gx.blocks(8, min_size=0), gx.blocks(4, min_size=0), gx.float8(min_size=0)], ids=repr)
def test_codes_at_random_are_unbiased(codec):
    """Of 256 numbers, each held 4,096 times: the mean of each within 5 sigma of itself, 256 tries."""
    x = jnp.linspace(-0.8, 1.0, 256)
    many = jnp.tile(x, (4096, 1))
    found = back(codec, many, jax.random.key(1))
    spread = found.std(0)
    assert (np.abs(found.mean(0) - np.asarray(x)) <= 5 * spread / 64 + 1e-4).all()
    assert (spread > 0).mean() > 0.9


@pytest.mark.parametrize(
    "codec", [gx.blocks(8, min_size=0), gx.blocks(8, map=gx.linear_levels(), min_size=0)], ids=repr
)
def test_levels_stay_as_they_are_for_every_key(codec):
    numbers = codec.arguments["map"] or gx.dynamic_levels()
    x = np.array(numbers(8, True)[-250:], np.float32) * np.float32(0.7)
    held = codec.encode(jnp.asarray(x))
    for seed in range(20):
        again = codec.encode(codec.decode(held), jax.random.key(seed))
        np.testing.assert_array_equal(held.codes, again.codes)


def test_nearest_is_the_cast():
    x = np.random.default_rng(0).standard_normal(10_000) * 100 * 10.0 ** np.arange(-9.0, 1.0).repeat(1000)
    x = x.astype(np.float32)
    for dtype in (jnp.bfloat16, jnp.float16, jnp.float8_e5m2, jnp.float8_e4m3fn):
        np.testing.assert_array_equal(
            np.asarray(to_nearest(jnp.asarray(x), dtype)).astype(np.float32),
            x.astype(np.dtype(dtype)).astype(np.float32),
        )
    assert ml_dtypes.finfo(np.dtype(jnp.float8_e4m3fn)).max == 448


# ---- errors ----


def test_bad_codecs_are_refused():
    with refused(ValueError, "blocks: bits must be 8 or 4, got 5"):
        gx.blocks(5)
    with refused(ValueError, "blocks: block must be a whole number from 1 on, got 0"):
        gx.blocks(8, 0)
    with refused(ValueError, "blocks: map must have at most 16 levels for 4 bits, got 17"):
        gx.blocks(4, map=tuple(x / 16 for x in range(17)))
    with refused(ValueError, "blocks: map must be levels such as dynamic_levels(), or two or more rising numbers"):
        gx.blocks(8, map=(0.5, 0.1))
    with refused(TypeError, "blocks: map must be levels, got a factory; call it: dynamic_levels()"):
        gx.blocks(8, map=gx.dynamic_levels)
    with refused(ValueError, "float8: mantissa must be 3, for e4m3, or 2, for e5m2, got 4"):
        gx.float8(4)
    with refused(TypeError, "of_root: codec must be a codec such as bfloat16 or blocks(8), got 3"):
        gx.of_root(3)
    with refused(TypeError, "bfloat16: x is int32[3]; codecs are for averages and other floating-point numbers"):
        gx.bfloat16().encode(jnp.arange(3, dtype=jnp.int32))
    with refused(ValueError, "bfloat16: it rounds at random and needs a key: encode(x, jax.random.key(0))"):
        gx.bfloat16(stochastic=True).encode(jnp.ones(3))


def test_a_block_above_the_array_is_one_block():
    x = jnp.linspace(-1.0, 1.0, 10)
    held = gx.blocks(8, 4096, min_size=0).encode(x)
    assert held.scale.shape == (1,)
    np.testing.assert_array_equal(held.decode(), gx.blocks(8, 10, min_size=0).encode(x).decode())
