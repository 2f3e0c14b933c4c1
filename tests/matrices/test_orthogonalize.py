"""Newton-Schulz: its numbers, what it does to a spectrum, and which matrices it bears."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx as gx
from tests.printed import GRADS_M, M, checksum
from tests.reference.matrices import newton_schulz, orthogonalized
from tests.refusals import refused

pytestmark = pytest.mark.slow  # formulas do not turn on versions

SETS = {
    "jordan": gx.jordan_coefficients(),
    "jiacheng": gx.jiacheng_coefficients(),
    "polar express": gx.polar_express(5),
    "modded": gx.modded_coefficients(),
    "newton-schulz": gx.newton_schulz_coefficients(10),
}


def of(tx, u):
    u = jnp.asarray(u)
    return np.asarray(tx.update(u, tx.init(u))[0])


def plain(coefficients, **others):
    return gx.orthogonalize(coefficients, scale=None, **others)


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("jordan", 4.9565530417),
        ("jiacheng", 4.5606873898),
        ("polar express", 5.0359327172),
        ("modded", 4.7120058546),
        ("newton-schulz", 4.6132137786),
    ],
)
def test_golden(name, expected):
    """Modded-nanogpt adds 1e-6 to the norm, the others were printed without any epsilon."""
    eps = 1e-6 / 1.02 if name == "modded" else 0.0
    assert checksum(of(plain(SETS[name], eps=eps), GRADS_M[0])) == pytest.approx(expected, rel=0, abs=2e-10)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 4), (1, 4), (4, 1), (1, 1)])
def test_the_products_are_the_polynomials_of_the_singular_values(name, shape):
    u = random(*shape)
    np.testing.assert_allclose(of(plain(SETS[name]), u), orthogonalized(u, SETS[name]), rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    ("coefficients", "low", "least", "most"),
    [
        (gx.jordan_coefficients(), 1e-2, 0.682, 1.134),
        (gx.jordan_coefficients(), 1e-3, 0.471, 1.202),
        (gx.jordan_coefficients(10), 1e-3, 0.682, 1.134),
        (gx.jiacheng_coefficients(), 1e-2, 0.978, 1.032),
        (gx.jiacheng_coefficients(), 1e-3, 0.475, 1.145),
        (gx.polar_express(5), 1e-2, 0.870, 1.124),
        (gx.polar_express(6), 1e-2, 0.9974, 1.0012),
        (gx.polar_express(5), 1e-3, 0.846, 1.124),
        (gx.polar_express(8), 1e-3, 1.0, 1.0),
        (gx.modded_coefficients(), 1e-2, 0.859, 1.141),
        (gx.modded_coefficients(), 1e-3, 0.847, 1.141),
        (gx.newton_schulz_coefficients(5), 1e-2, 0.229, 1.0),
        (gx.newton_schulz_coefficients(10), 1e-2, 1.0, 1.0),
        (gx.newton_schulz_coefficients(10), 1e-3, 0.499, 1.0),
    ],
)
def test_where_singular_values_go(coefficients, low, least, most):
    """Of values from the lower end to 1, spread as finely as the bounds are given."""
    ends = np.diag(newton_schulz(np.diag(np.geomspace(low, 1.0, 600)), coefficients))
    assert ends.min() == pytest.approx(least, abs=6e-4)
    assert ends.max() == pytest.approx(most, abs=6e-4)


@pytest.mark.parametrize("name", SETS)
def test_it_turns_with_the_matrix_and_forgets_its_size(name):
    u, tx = random(4, 6), plain(SETS[name], eps=0.0)
    left, _ = np.linalg.qr(random(4, 4, seed=1))
    right, _ = np.linalg.qr(random(6, 6, seed=2))
    np.testing.assert_allclose(of(tx, left @ u @ right), left @ of(tx, u) @ right, rtol=0, atol=1e-12)
    np.testing.assert_allclose(of(tx, 1e3 * u), of(tx, u), rtol=0, atol=1e-12)
    np.testing.assert_allclose(of(tx, u.T), of(tx, u).T, rtol=0, atol=1e-13)


def test_exact_where_asked_for():
    u = random(5, 8)
    o = of(plain(gx.polar_express(8)), u)
    np.testing.assert_allclose(o @ o.T, np.eye(5), rtol=0, atol=1e-6)
    left, _, right = np.linalg.svd(u, full_matrices=False)
    np.testing.assert_allclose(o, left @ right, rtol=0, atol=1e-6)


def test_matrices_without_full_rank_or_numbers():
    rank_one = np.outer([1.0, 2.0, 3.0], [1.0, -1.0])
    o = of(plain(gx.polar_express(8)), rank_one)
    np.testing.assert_allclose(o, rank_one / np.linalg.norm(rank_one), rtol=0, atol=1e-6)
    assert not of(gx.orthogonalize(), np.zeros((3, 2))).any()
    assert of(gx.orthogonalize(), np.zeros((0, 2))).shape == (0, 2)
    assert of(gx.orthogonalize(), np.zeros((2, 0, 3))).shape == (2, 0, 3)


def test_a_matrix_that_is_not_finite_spoils_no_other():
    u = random(3, 2, 4)
    u[1, 0, 0] = np.nan
    o = of(gx.orthogonalize(), u)
    assert np.isnan(o[1]).all()
    np.testing.assert_array_equal(o[[0, 2]], of(gx.orthogonalize(), u[[0, 2]]))


def test_factors():
    u = random(2, 8)
    o = of(plain(SETS["jordan"]), u)
    for scale, factor in (
        (gx.shape_factor(), 2.0),
        (gx.spectral_factor(), 2.0),
        (gx.rms_factor(), 0.2 * 8**0.5),
        (gx.dual_factor(), np.sum(u * o)),
        (lambda u, o: 3.0, 3.0),
    ):
        np.testing.assert_allclose(of(gx.orthogonalize(scale=scale), u), factor * o, rtol=1e-12)
    tall = jnp.asarray(u.T)
    assert gx.shape_factor()(tall, tall) == 1.0
    assert gx.spectral_factor()(tall, tall) == 0.5


def test_the_rms_of_updates_is_a_fifth_whatever_the_shape():
    for shape in [(4, 64), (64, 4), (16, 16)]:
        o = of(gx.orthogonalize(gx.polar_express(8), scale=gx.rms_factor()), random(*shape))
        assert np.sqrt(np.mean(o**2)) == pytest.approx(0.2, rel=1e-6)


def test_products_in_bfloat16(float32):
    """As far from those in float32 as torch's, whose products are in bfloat16: some hundredths of the largest, 1."""
    u = jnp.asarray(random(16, 32), jnp.float32)
    exact, rounded = of(plain(SETS["jordan"]), u), of(plain(SETS["jordan"], dtype=jnp.bfloat16), u)
    assert 1e-3 < np.abs(exact - rounded).max() < 6e-2
    text = jax.jit(gx.orthogonalize(dtype=jnp.bfloat16).update).lower(u, gx.orthogonalize().init(u)).as_text()
    products = [line for line in text.splitlines() if "dot_general" in line]
    assert len(products) == 3
    assert all("bf16" in line and "-> tensor<1x16x" in line and "xf32>" in line for line in products)


def test_bad_input():
    of_anything: Any = gx.orthogonalize
    for bad in (3.4, (3.4445, -4.775, 2.0315), ((1.0, 2.0),), (), "jordan"):
        with refused(TypeError, "orthogonalize: coefficients must be a tuple of triples (a, b, c), such as"):
            of_anything(bad)
    with refused(TypeError, "orthogonalize: coefficients[0] must be three numbers, got ("):
        of_anything((("a", 1.0, 2.0),))
    with refused(TypeError, "orthogonalize: scale must be a function of two matrices, got str 'rms'"):
        of_anything(scale="rms")
    with refused(TypeError, "orthogonalize: scale must be a factor, got a factory; call it: rms_factor()"):
        of_anything(scale=gx.rms_factor)
    with refused(TypeError, "rms_factor: rms must be a number or a scalar array, got a function"):
        gx.rms_factor(gx.constant(0.2))
    with refused(TypeError, "orthogonalize: dtype must be a dtype of floats, such as jnp.bfloat16, got "):
        gx.orthogonalize(dtype=jnp.int32)
    with refused(ValueError, "polar_express: steps must be a whole number, at least 1, got 0"):
        gx.polar_express(0)
    with refused(ValueError, "orthogonalize: params['b'] has shape (3,), and a rule for matrices needs two dimensions"):
        gx.orthogonalize().init({"b": jnp.zeros(3)})
    with refused(
        ValueError, "orthogonalize: updates['b'] has shape (3,), and a rule for matrices needs two dimensions"
    ):
        gx.orthogonalize().update({"b": jnp.zeros(3)}, gx.orthogonalize().init(None))
    assert of_anything([[1, 2, 3]]) == gx.orthogonalize(((1.0, 2.0, 3.0),))  # as JSON has it


def test_golden_matrix_is_as_it_was():
    assert checksum(M) == 7.75
