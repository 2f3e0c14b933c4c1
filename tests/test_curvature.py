"""Hessian-vector products, eigenvalues and the bound on the learning rate, against explicit Hessians in NumPy."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from jax.test_util import check_grads
from sklearn.datasets import load_digits

import gradtx as gx
from gradtx.demo import digits

pytestmark = pytest.mark.slow

INPUTS = np.random.default_rng(0).normal(size=(8, 3))
START = {"x": jnp.array(1.0), "y": jnp.array(1.0)}


def golden(w):
    """Eigenvalues 1/32 and 2."""
    return w["x"] ** 2 / 64 + w["y"] ** 2


def network(w):
    hidden = jnp.tanh(INPUTS @ w["in"]["w"] + w["in"]["b"])
    return jnp.mean((hidden @ w["out"][0] - np.sin(INPUTS.sum(axis=1))) ** 2)


def weights(dtype=jnp.float64, seed=0):
    random = np.random.default_rng(seed)
    layer = {"w": random.normal(size=(3, 4)), "b": random.normal(size=(1, 4)), "frozen": None}
    return jax.tree.map(lambda x: jnp.asarray(x, dtype), {"in": layer, "out": [random.normal(size=4)]})


def dense(loss, params):
    """The Hessian by another way: JAX's own, of the flat parameters, as float64 in NumPy."""
    flat, restored = ravel_pytree(params)
    return np.asarray(jax.hessian(lambda x: loss(restored(x)))(flat), np.float64)


def symmetric(eigenvalues, seed=0):
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=2 * np.shape(eigenvalues)))
    matrix = rotation * np.asarray(eigenvalues) @ rotation.T
    return (matrix + matrix.T) / 2


# ---- Hessian-vector products ----


def test_hvp_is_the_hessian_times_the_vector():
    params, vector = weights(), weights(seed=1)
    got = gx.hvp(network, params, vector)
    assert jax.tree.structure(got) == jax.tree.structure(params)
    expected = dense(network, params) @ ravel_pytree(vector)[0]
    np.testing.assert_allclose(ravel_pytree(got)[0], expected, rtol=1e-12)
    jitted = jax.jit(gx.hvp, static_argnums=0)(network, params, vector)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), jitted, got)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32, jnp.complex64])
def test_hvp_keeps_the_dtypes_of_the_parameters(dtype):
    params = {"w": jnp.ones(3, dtype), "none": None}
    got = gx.hvp(lambda w: jnp.sum(jnp.abs(w["w"]) ** 2).real, params, {"w": jnp.ones(3), "none": None})
    assert got["w"].dtype == dtype
    np.testing.assert_array_equal(got["w"], 2.0)


def test_gradients_agree_with_finite_differences():
    params, vector = weights(), weights(seed=1)
    check_grads(jax.jit(network), (params,), order=2)
    check_grads(jax.jit(lambda p, v: gx.hvp(network, p, v)), (params, vector), order=1, modes=["fwd", "rev"], atol=1e-4)
    for eigenvalue in (gx.largest_eigenvalue, gx.smallest_eigenvalue):
        found = jax.jit(lambda p, e=eigenvalue: e(network, p, rtol=1e-12))
        check_grads(found, (params,), order=1, modes=["rev"], atol=1e-4)
    check_grads(jax.jit(lambda p: gx.condition_number(golden, {"x": p["x"], "y": p["y"]})), (START,), order=1)


def test_an_eigenvalue_is_differentiated_in_what_the_loss_closes_over():
    slope = jax.grad(lambda s: gx.largest_eigenvalue(lambda w: golden({"x": w["x"], "y": s * w["y"]}), START))(3.0)
    np.testing.assert_allclose(slope, 12.0, rtol=1e-9)  # of 2 s^2


# ---- eigenvalues ----

SPECTRA = {  # of few sizes: those of one size share a program
    "one dimension": [3.0],
    "one negative dimension": [-3.0],
    "zero": np.zeros(50),
    "zero in one dimension": [0.0],
    "identity": np.ones(50),
    "minus identity": -np.ones(50),
    "two values": np.r_[np.full(99, 1.0), 2.0],
    "clustered at the top": np.r_[np.linspace(0.0, 0.9, 100), 1.0 - np.logspace(-8, -3, 100)],
    "spread": np.linspace(-1.0, 1.0, 200),
    "over ten decades": np.logspace(-10, 0, 200),
    "negative beside a small positive": np.r_[-np.logspace(0, 4, 199), 0.01],
    "negative": -np.logspace(-3, 3, 200),
    "negative but for zero": np.r_[-np.linspace(1.0, 2.0, 99), 0.0],
    "low rank": np.r_[np.zeros(195), 1.0, 2.0, 3.0, -4.0, -5.0],
    "random": np.random.default_rng(3).normal(size=200),
    "small": 1e-12 * np.linspace(-1.0, 1.0, 50),
    "large": 1e12 * np.linspace(-1.0, 1.0, 50),
}


@jax.jit
def extreme_ones(matrix):
    """The largest and the smallest eigenvalue, found by products alone."""

    def loss(w):
        return 0.5 * w @ matrix @ w

    start = jnp.ones(len(matrix))
    return gx.largest_eigenvalue(loss, start), gx.smallest_eigenvalue(loss, start)


@pytest.mark.parametrize("name", SPECTRA)
def test_extreme_eigenvalues_agree_with_numpy(name):
    matrix = symmetric(SPECTRA[name])
    expected = np.linalg.eigvalsh(matrix)
    rounding = 1e-13 * np.abs(expected).max()
    np.testing.assert_allclose(extreme_ones(matrix), [expected[-1], expected[0]], rtol=1e-4, atol=rounding)


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize("name", ["zero", "clustered at the top", "negative", "low rank", "over ten decades"])
def test_extreme_eigenvalues_in_float32(name):
    matrix = symmetric(SPECTRA[name]).astype(np.float32)
    expected = np.linalg.eigvalsh(matrix.astype(np.float64))
    got = extreme_ones(matrix)
    assert {x.dtype for x in got} == {jnp.dtype(jnp.float32)}
    rounding = 2e-6 * np.abs(expected).max()  # what a float32 of that size can tell
    np.testing.assert_allclose(got, expected[[-1, 0]], rtol=1e-4, atol=rounding)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_eigenvalues_of_a_network(dtype):
    params = weights(dtype)
    values = np.linalg.eigvalsh(dense(network, weights()))
    largest, smallest = gx.largest_eigenvalue(network, params), gx.smallest_eigenvalue(network, params)
    assert largest.dtype == dtype
    np.testing.assert_allclose([largest, smallest], values[[-1, 0]], rtol=1e-4)
    if dtype == jnp.float64:
        np.testing.assert_allclose(gx.condition_number(network, params), np.linalg.cond(dense(network, params)))


def test_complex_parameters_are_pairs_of_reals():
    matrix = symmetric(np.linspace(-1.0, 3.0, 6))

    def loss(w):
        x = jnp.concatenate([w.real, w.imag])
        return 0.5 * x @ matrix @ x

    w = jnp.array([1.0, 1j, 2.0])
    np.testing.assert_allclose(gx.largest_eigenvalue(loss, w), 3.0, rtol=1e-6)
    np.testing.assert_allclose(gx.condition_number(loss, w), 3.0 / 0.2, rtol=1e-6)


def test_deterministic_but_for_a_key():
    matrix = symmetric(np.linspace(0.0, 1.0, 50))

    def estimate(key=None):
        return gx.largest_eigenvalue(lambda w: 0.5 * w @ matrix @ w, jnp.ones(50), max_steps=5, key=key)

    assert estimate() == estimate() == estimate(jax.random.key(0))
    assert estimate() != estimate(jax.random.key(1))
    assert estimate() < 1.0  # cut short it is below, never above


def test_it_stops_when_it_has_found_the_eigenvalue():
    products = []

    def loss(w):
        jax.debug.callback(lambda: products.append(1))
        return jnp.sum(jnp.array([1.0, 1.0, 1.0, 10.0]) * w**2)

    jax.block_until_ready(gx.largest_eigenvalue(lambda w: loss(w.reshape(4, -1).sum(axis=1)), jnp.ones(400)))
    jax.effects_barrier()
    assert 0 < len(products) <= 10


def test_many_at_once_in_vmap():
    scales = jnp.array([1.0, 2.0, -3.0])
    got = jax.vmap(lambda s: gx.largest_eigenvalue(lambda w: s * golden(w), START))(scales)
    np.testing.assert_allclose(got, [2.0, 4.0, -3.0 / 32], rtol=1e-6)


# ---- the golden case ----


def test_golden_case():
    np.testing.assert_allclose(gx.largest_eigenvalue(golden, START), 2.0, rtol=1e-12)
    np.testing.assert_allclose(gx.smallest_eigenvalue(golden, START), 1 / 32, rtol=1e-12)
    np.testing.assert_allclose(gx.condition_number(golden, START), 64.0, rtol=1e-12)
    np.testing.assert_allclose(gx.max_learning_rate(golden, START), 1.0, rtol=1e-12)
    np.testing.assert_allclose(gx.convergence_factor(1.0, np.array([1 / 32, 2.0])), [1 - 2 / 64, 1.0], rtol=1e-15)


def descend(loss, rate, params, steps):
    """The parameters after each step of gradient descent."""
    tx = gx.sgd(rate)

    def step(carry, _):
        params, state = carry
        updates, state = tx.update(jax.grad(loss)(params), state, params)
        params = gx.apply_updates(params, updates)
        return (params, state), params

    return jax.lax.scan(step, (params, tx.init(params)), None, steps)[1]


def test_gradient_descent_converges_below_the_bound_and_diverges_above():
    below, at, above = (descend(golden, rate, START, 1000) for rate in (0.99, 1.0, 1.01))
    assert golden({"x": below["x"][-1], "y": below["y"][-1]}) < 1e-12
    assert abs(above["y"][-1]) > 1e6
    np.testing.assert_allclose(above["y"][1:] / above["y"][:-1], -1.02, rtol=1e-9)
    np.testing.assert_allclose(np.abs(at["y"]), 1.0, rtol=1e-12)
    np.testing.assert_allclose(at["x"][1:] / at["x"][:-1], 1 - 2 / 64, rtol=1e-12)
    for rate, path in ((0.99, below), (1.01, above)):
        factors = gx.convergence_factor(rate, np.array([1 / 32, 2.0]))
        np.testing.assert_allclose(np.abs([path["x"][0], path["y"][0]]), factors, rtol=1e-12)


def test_the_bound_of_the_digits_network():
    data: Any = load_digits()
    images, labels = data.data[:64] / 8.0 - 1.0, data.target[:64]
    params = jax.tree.map(lambda p: p.astype(jnp.float64), digits.initial(0))

    def loss(p):
        return digits.cross_entropy(p, images, labels)

    bound = gx.max_learning_rate(loss, params)
    flat, restored = ravel_pytree(params)
    product = jax.jit(lambda v: ravel_pytree(gx.hvp(loss, params, restored(v)))[0])
    v = np.random.default_rng(0).normal(size=flat.size)
    for _ in range(300):  # power iteration, an independent way to the same eigenvalue
        v = np.asarray(product(v / np.linalg.norm(v)))
    np.testing.assert_allclose(bound, 2.0 / np.linalg.norm(v), rtol=1e-3)
