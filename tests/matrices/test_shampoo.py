"""Shampoo and grafting: formulas in NumPy, peers' numbers, and what must hold."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx as gx
from tests.matrices.runs import STEPS, gradients_of, outputs
from tests.printed import GRADS_V, V, golden
from tests.reference import blocks
from tests.reference.shampoo import in_blocks, shampoo

pytestmark = pytest.mark.slow  # formulas do not turn on versions

COLUMN = gx.matrices(reduce=0, output=())  # a vector as a matrix


def assert_same(tx, grads, expected, rtol=1e-9):
    # The roots of 30 random squares have a condition of about 10, and eigh is of another LAPACK than NumPy's.
    expected = np.stack(list(expected))
    np.testing.assert_allclose(outputs(tx, grads), expected, rtol=rtol, atol=rtol * np.abs(expected).max())


SETTINGS = [
    {},
    dict(b1=0.0),
    dict(b2=0.9, eps=1e-3),
    dict(b2=0.9, eps=1e-3, every=7),
    dict(exponent=0.3),
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_shampoo_is_its_formula(settings):
    settings = dict(eps=1e-3) | settings
    shapes = [(3, 4), (4, 3), (3, 3), (1, 4), (4, 1), (1, 1)]
    grads = {str(shape): gradients_of(shape) for shape in shapes}
    tx = gx.scale_by_shampoo(**settings)
    update, state = jax.jit(tx.update), tx.init({name: jnp.zeros_like(x[0]) for name, x in grads.items()})
    expected = {name: np.stack(list(shampoo(x, **settings))) for name, x in grads.items()}
    for t in range(STEPS):
        u, state = update({name: x[t] for name, x in grads.items()}, state)
        for name in grads:
            np.testing.assert_allclose(u[name], expected[name][t], rtol=1e-9, atol=1e-9, err_msg=name)


@pytest.mark.parametrize(("sides", "axes"), [(-2, (0,)), ((-1,), (1,)), ((-1, -2), (0, 1))])
def test_sides_are_the_axes_with_a_factor(sides, axes):
    grads = gradients_of((3, 4))
    assert_same(gx.scale_by_shampoo(eps=1e-3, sides=sides), grads, shampoo(grads, eps=1e-3, axes=axes))


@pytest.mark.parametrize(("shape", "axis"), [((3, 4), 0), ((4, 3), 1), ((3, 3), 0)])
def test_one_sided_takes_the_shorter_side_and_the_root(shape, axis):
    grads = gradients_of(shape)
    assert_same(gx.scale_by_shampoo(eps=1e-3, one_sided=True), grads, shampoo(grads, eps=1e-3, axes=(axis,)))


@pytest.mark.parametrize(
    ("most", "rows", "columns"),
    [
        (4, [(0, 4)], [(0, 4), (4, 7)]),
        (3, [(0, 2), (2, 4)], [(0, 3), (3, 6), (6, 7)]),
    ],
)
def test_a_long_axis_is_cut_into_the_fewest_equal_blocks(most, rows, columns):
    grads = gradients_of((4, 7))
    expected = in_blocks(grads, rows, columns, eps=1e-3, b2=0.9)
    assert_same(gx.scale_by_shampoo(eps=1e-3, b2=0.9, max_dim=most), grads, expected)


def test_max_dim_just_long_enough_cuts_nothing():
    state = gx.scale_by_shampoo(max_dim=7).init(jnp.zeros((4, 7)))
    assert state.left.shape == (4, 4)
    assert state.right.shape == (7, 7)


# ---- peers ----

GOLDEN = [
    (dict(b1=0.0), 6.2511034935, 5.5223857226),
    (dict(), 6.3268983193, 5.5631237644),
    (dict(b2=0.999), 5.7937648922, 5.3908984243),
]


@pytest.mark.parametrize(("settings", "matrix", "vector"), GOLDEN, ids=str)
def test_shampoo_is_that_of_distributed_shampoo(settings, matrix, vector):
    # Its matrices carry the noise of float32 roots, its vectors less.
    assert golden(gx.scale_by_shampoo(eps=1e-3, **settings)) == pytest.approx(matrix, rel=2e-6)
    column = gx.over(COLUMN, gx.scale_by_shampoo(eps=1e-3, sides=-2, **settings))
    assert golden(column, V, GRADS_V) == pytest.approx(vector, rel=2e-7)


def test_the_left_of_outputs_by_inputs_is_the_right_here():
    left: dict[str, Any] = dict(b2=0.999, eps=1e-3)
    assert golden(gx.scale_by_shampoo(**left, sides=-1), transposed=True) == pytest.approx(5.9762810327, rel=2e-6)
    assert golden(gx.scale_by_shampoo(**left, sides=-2)) == pytest.approx(5.9762810327, rel=2e-6)


# ---- properties ----


def test_a_column_with_one_side_is_adagrad_of_the_full_matrix():
    grads = gradients_of((4, 1))
    total, expected = np.zeros((4, 4)), []
    for g in grads:
        total = total + g @ g.T
        values, vectors = np.linalg.eigh(total + 1e-2 * np.eye(4) - min(np.linalg.eigvalsh(total)[0], 0) * np.eye(4))
        expected.append(vectors @ np.diag(values**-0.5) @ vectors.T @ g)
    assert_same(gx.scale_by_shampoo(b1=0.0, eps=1e-2, one_sided=True, sides=-2), grads, expected, 1e-8)


def test_of_one_element_it_is_adagrad():
    grads = gradients_of((1, 1))
    sums = np.cumsum(np.square(grads), axis=0)
    assert_same(gx.scale_by_shampoo(b1=0.0, eps=1e-12), grads, np.stack(grads) / np.sqrt(sums + 1e-12))


def test_exponent_zero_is_the_momentum():
    grads = gradients_of((3, 4))
    expected = blocks.bias_correction(blocks.ema(grads, 0.9), 0.9)
    assert_same(gx.scale_by_shampoo(exponent=0.0), grads, expected, 1e-12)
    assert_same(
        gx.scale_by_shampoo(exponent=0.0, max_dim=2), grads, blocks.bias_correction(blocks.ema(grads, 0.9), 0.9)
    )


@pytest.mark.parametrize("settings", [{}, dict(sides=-1), dict(b2=0.9, every=3)], ids=str)
def test_turning_the_gradients_turns_what_comes_out(settings):
    left, right = (np.linalg.qr(np.random.default_rng(n).normal(size=(n, n)))[0] for n in (3, 4))
    grads = gradients_of((3, 4))
    tx = gx.scale_by_shampoo(eps=1e-3, **settings)
    turned = left @ outputs(tx, grads) @ right
    np.testing.assert_allclose(outputs(tx, [left @ g @ right for g in grads]), turned, atol=1e-9)


def test_the_first_gradient_is_orthogonalized():
    g = gradients_of((3, 4))[0]
    u, _, v = np.linalg.svd(g, full_matrices=False)
    assert_same(gx.scale_by_shampoo(b1=0.0, eps=1e-14), [g], [u @ v], 1e-6)


def test_roots_stay_between_their_steps():
    tx = gx.scale_by_shampoo(every=3)
    state, before, waits = tx.init(jnp.zeros((3, 4))), None, []
    update = jax.jit(tx.update)
    for t, g in enumerate(gradients_of((3, 4), steps=7)):
        _, state = update(g, state)
        assert before is None or np.array_equal(before, state.left_root) == (t % 3 > 0)
        before = np.asarray(state.left_root)
        waits.append(float(state.wait))
    assert waits == [2, 1, 0, 2, 1, 0, 2]


def test_the_number_of_steps_between_roots_may_be_scheduled():
    grads = gradients_of((3, 4))
    tx = gx.scale_by_shampoo(eps=1e-3, every=gx.constant(4))
    assert_same(tx, grads, shampoo(grads, eps=1e-3, every=4))


def test_a_stack_is_one_by_one_and_arrays_of_one_shape_alone():
    grads = gradients_of((2, 3, 4))
    tx = gx.scale_by_shampoo(eps=1e-3, b2=0.9, every=2)
    alone = [outputs(tx, [g[i] for g in grads]) for i in (0, 1)]
    np.testing.assert_allclose(outputs(tx, grads), np.stack(alone, axis=1), rtol=1e-9, atol=1e-12)
    params = {"a": jnp.zeros((3, 4)), "b": jnp.zeros((3, 4)), "c": jnp.zeros((4, 3))}
    state, update = tx.init(params), jax.jit(tx.update)
    for t, g in enumerate(grads[:5]):
        u, state = update({"a": g[0], "b": g[1], "c": g[0].T}, state)
        np.testing.assert_allclose(u["a"], alone[0][t], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(u["b"], alone[1][t], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(u["c"], alone[0][t].T, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("most", [2, 1024])
def test_odd_shapes(most):
    shapes = [(0, 3), (3, 0), (2, 0, 3), (0, 0), (1, 5), (5, 1)]
    params = {str(shape): jnp.zeros(shape, jnp.float32) for shape in shapes}
    tx = gx.scale_by_shampoo(max_dim=most)
    for g in (params, jax.tree.map(jnp.ones_like, params)):
        u, state = tx.update(g, tx.init(params))
        assert jax.tree.map(jnp.shape, u) == jax.tree.map(jnp.shape, params)
        assert all(jnp.isfinite(x).all() for x in jax.tree.leaves((u, state)))


def test_zeros_and_gradients_of_low_rank_stay_finite():
    tx, p = gx.scale_by_shampoo(), jnp.zeros((4, 6), jnp.float32)
    state, update = tx.init(p), jax.jit(tx.update)
    for g in [p, p, jnp.ones_like(p), p, p]:
        u, state = update(g, state)
        assert all(jnp.isfinite(x).all() for x in jax.tree.leaves((u, state)))


# ---- what it costs ----


@pytest.mark.parametrize(
    ("settings", "square"),
    [({}, 8 * (64**2 + 256**2)), (dict(one_sided=True), 8 * 64**2), (dict(sides=-1), 8 * 256**2)],
    ids=str,
)
def test_bytes_of_the_state(settings, square):
    state = jax.eval_shape(gx.scale_by_shampoo(**settings).init, jax.ShapeDtypeStruct((64, 256), jnp.float32))
    arrays = [x for x in jax.tree.leaves(state) if x.ndim]
    assert sum(x.size * x.dtype.itemsize for x in arrays) == 4 * 64 * 256 + square


# ---- bad input ----


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (dict(sides=0), ValueError, r"sides must be -2 \(rows\), -1 \(columns\) or \(-2, -1\), got 0"),
        (dict(sides=()), ValueError, r"sides must be -2 .* got \(\)"),
        (dict(sides=(-1, -1)), ValueError, r"sides must be -2 .* got \(-1, -1\)"),
        (dict(max_dim=0), ValueError, "max_dim must be a whole number, at least 1, got 0"),
        (dict(max_dim=2.0), TypeError, "max_dim must be a whole number, at least 1, got 2.0"),
        (dict(b2=1.0), ValueError, r"b2 must be in \[0, 1\), got 1"),
        (dict(eps=0.0), ValueError, r"eps must be in \(0, inf\), got 0"),
        (dict(exponent=-0.25), ValueError, r"exponent must be in \[0, inf\), got -0.25"),
        (dict(every=0), ValueError, r"every must be a whole number in \[1, .*got 0"),
    ],
    ids=str,
)
def test_bad_numbers_are_refused(settings, error, message):
    with pytest.raises(error, match=f"scale_by_shampoo: {message}"):
        gx.scale_by_shampoo(**settings)


def test_what_is_no_matrix_is_refused():
    with pytest.raises(ValueError, match=r"params\['b'\] has shape \(3,\).* needs two dimensions"):
        gx.scale_by_shampoo().init({"a": jnp.zeros((2, 3)), "b": jnp.zeros(3)})
