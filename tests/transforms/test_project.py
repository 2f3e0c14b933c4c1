"""Steps that end exactly at zero, or within a norm."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Lasso

import gradtx as gx

# ---- exact zeros ----

PENALTY = 0.5
VELOCITY = gx.chain(gx.scale_by_momentum(0.9, nesterov=True), gx.scale_by_learning_rate(0.05))


@pytest.fixture(scope="module")
def diabetes():
    """Standardized inputs and a centred target, so that the regression needs no intercept."""
    data: Any = load_diabetes()
    x, y = data.data, data.target
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    return x, y - y.mean()


@pytest.mark.parametrize(
    ("descent", "rate"), [(gx.sgd(0.2), 0.2), (VELOCITY, 0.05)], ids=["gradient descent", "nesterov"]
)
@pytest.mark.parametrize("penalty", [PENALTY, 5.0, 20.0])
def test_lasso_finds_the_coefficients_and_the_support_of_scikit_learn(diabetes, descent, rate, penalty):
    x, y = diabetes
    expected = Lasso(alpha=penalty, fit_intercept=False, tol=1e-12, max_iter=100_000).fit(x, y).coef_
    if descent == VELOCITY:  # at rest, the velocity holds ten gradients: the threshold belongs to as many rates
        rate = 10 * rate
    tx = gx.chain(descent, gx.soft_threshold(penalty, rate))

    def step(carry, _):
        w, state = carry
        gradient = jax.grad(lambda w: jnp.mean((x @ w - y) ** 2) / 2)(w)
        updates, state = tx.update(gradient, state, w)
        return (gx.apply_updates(w, updates), state), None

    start = jnp.zeros(x.shape[1])
    (w, _), _ = jax.jit(lambda w: jax.lax.scan(step, (w, tx.init(w)), None, 20_000))(start)
    np.testing.assert_allclose(w, expected, atol=1e-3)
    np.testing.assert_array_equal(w != 0.0, expected != 0.0)
    assert 0.0 < np.mean(w == 0.0) < 1.0
    np.testing.assert_allclose(gx.sparsity(w), np.mean(expected == 0.0), rtol=1e-15)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16, jnp.complex64])
def test_what_is_within_the_threshold_ends_at_zero_to_the_bit_and_stays(dtype):
    random = np.random.default_rng(0)
    w = jnp.asarray(random.normal(size=1000), dtype)
    tx = gx.chain(gx.sgd(0.1), gx.soft_threshold(1.0, 0.5))
    state = tx.init(w)
    gone = np.zeros(w.shape, bool)
    for _ in range(15):
        updates, state = tx.update(jnp.asarray(random.normal(size=1000), dtype), state, w)
        w = gx.apply_updates(w, updates)
        assert (w[gone] == 0.0).all()
        gone = np.asarray(w == 0.0)
        np.testing.assert_allclose(gx.sparsity({"w": w}), np.mean(gone), rtol=1e-6)
    assert gone.all()


def test_soft_threshold_multiplies_penalty_and_rate_at_the_same_count():
    rate = gx.linear(1.0, 0.0, 4)
    tx = gx.chain(gx.scale_by_learning_rate(rate), gx.soft_threshold(0.5, rate))
    w, state, seen = jnp.array(10.0), tx.init(jnp.array(10.0)), []
    for _ in range(3):
        updates, state = tx.update(jnp.array(0.0), state, w)
        seen.append(float(updates))
    assert seen == [-0.5, -0.375, -0.25]


def test_sparsity_counts_whole_trees():
    tree = {
        "w": jnp.zeros((3, 4)),
        "b": jnp.ones(4),
        "steps": jnp.zeros(4, int),
        "off": None,
        "none": jnp.zeros((0, 2)),
    }
    np.testing.assert_allclose(gx.sparsity(tree), 0.8, rtol=1e-15)
    assert gx.sparsity({}) == 0.0
    assert gx.sparsity(jnp.zeros((0, 2))) == 0.0


# ---- norms ----


@pytest.mark.parametrize(
    ("shape", "axis"),
    [((5, 4), 0), ((5, 4), 1), ((5, 4), -2), ((5, 4), (0, 1)), ((3, 3, 5, 4), (0, 1, 2))],
    ids=str,
)
@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_no_unit_is_longer_than_the_constraint(shape, axis, dtype):
    random = np.random.default_rng(1)
    w, u = (random.normal(size=shape).astype(dtype) for _ in range(2))
    if dtype is np.complex128:
        w = w + 1j * random.normal(size=shape)
    free = w + u
    lengths = np.sqrt(np.sum(np.abs(free) ** 2, axis=axis, keepdims=True))
    limit = float(np.median(lengths))
    tx = gx.constrain_norm(limit, axis)
    got = gx.apply_updates(w, tx.update(jnp.asarray(u), tx.init(w), w)[0])
    np.testing.assert_allclose(got, free * np.minimum(1.0, limit / lengths), rtol=1e-14)


def test_biases_have_no_norm_to_constrain():
    params = {"kernel": jnp.ones((2, 2)), "bias": 10.0 * jnp.ones(2), "gain": jnp.array(10.0), "off": None}
    tx = gx.constrain_norm(0.5)
    updates, _ = tx.update(jax.tree.map(jnp.ones_like, params), tx.init(params), params)
    np.testing.assert_allclose(jnp.linalg.norm(params["kernel"] + updates["kernel"], axis=0), 0.5, rtol=1e-15)
    assert (updates["bias"] == 1.0).all()
    assert updates["gain"] == 1.0
    assert updates["off"] is None


@pytest.mark.parametrize(
    ("tx", "params", "error", "message"),
    [
        (gx.constrain_norm(1.0, 2), {"w": jnp.ones((3, 4))}, ValueError,
         "constrain_norm: updates['w'] of shape (3, 4) has no axis 2; give the axes of its inputs, each once"),
        (gx.constrain_norm(1.0, (0, -3)), {"w": jnp.ones((3, 4))}, ValueError,
         "constrain_norm: updates['w'] of shape (3, 4) has no axis -3"),
        (gx.constrain_norm(1.0, (-2, 2)), {"w": jnp.ones((3, 4))}, ValueError,
         "constrain_norm: updates['w'] of shape (3, 4) has no axis 2"),
        (gx.constrain_norm(1.0, (0, -2)), {"w": jnp.ones((3, 4))}, ValueError,
         "constrain_norm: updates['w'] of shape (3, 4) has two of the axes (0, -2) in one; give the axes"),
        (gx.constrain_norm(1.0), None, ValueError, "constrain_norm: update needs the parameters: call update(updates,"),
        (gx.soft_threshold(1.0), None, ValueError, "soft_threshold: update needs the parameters: call update(updates,"),
    ],
    ids=["axis", "axes", "one of the axes", "twice", "norm without parameters", "threshold without parameters"],
)  # fmt: skip
@pytest.mark.parametrize("wrapped", [jax.jit, lambda f: f], ids=["jit", "eager"])
def test_what_an_update_refuses(tx, params, error, message, wrapped):
    g = {"w": jnp.ones((3, 4))}
    with pytest.raises(error, match=re.escape(message)):
        wrapped(tx.update)(g, tx.init(g), params)


@pytest.mark.parametrize("axis", [True, 1.5, "0", (), (0, None), None])
def test_axes_must_be_whole_numbers(axis):
    with pytest.raises(TypeError, match=r"^constrain_norm: axis must be an int or a tuple of ints, got "):
        gx.constrain_norm(1.0, axis)
