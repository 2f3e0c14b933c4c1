"""Dion against its formula, and what holds of its factors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx as gx
from tests.matrices.low_rank import GRADS, SHAPES, START, STEPS, assert_equal, number_of, outputs_of_all
from tests.printed import GRADS_M, M
from tests.reference import low_rank

pytestmark = pytest.mark.slow  # formulas do not turn on versions

Q = jnp.array([[1.0, 0.5], [0.0, 1.0], [0.25, -1.0]])


@pytest.mark.parametrize(("rank", "number"), [(2, 5.8733745528), (1, 6.2689536426)])
def test_golden_number(rank, number):
    tx = gx.dion(0.1, rank, weight_decay=0.0)
    # The number is of a matrix of outputs by inputs.
    found = number_of(tx, GRADS_M.swapaxes(1, 2), M.T, prepare=set_basis(rank))
    assert found == pytest.approx(number, abs=5e-11)


def set_basis(rank):
    def of_state(state):
        kind = type(gx.scale_by_dion(rank).init(jnp.zeros((3, 2))))
        return jax.tree.map(
            lambda x: x._replace(basis=Q[:, :rank]) if isinstance(x, kind) else x,
            state,
            is_leaf=lambda x: isinstance(x, kind),
        )

    return of_state


@pytest.mark.parametrize("turned", [False, True], ids=["as they come", "turned at random"])
def test_it_equals_its_formula_whatever_the_signs_of_a_factorization(turned):
    tx = gx.scale_by_dion(2, 0.9, 1e-3)
    starts = tx.init(START).basis
    random = np.random.default_rng(4)
    signs = random.choice([-1.0, 1.0], size=(STEPS, 1, 2)) if turned else None

    def formula(name):
        own = None if signs is None else signs[:, :, : min(SHAPES[name] + (2,))]
        return low_rank.dion(GRADS[name], np.asarray(starts[name]), 0.9, 1e-3, own)

    assert_equal(outputs_of_all(tx), formula)


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4)])
def test_at_full_rank_its_factors_are_orthonormal_and_of_unit_columns(shape):
    tx = gx.scale_by_dion(5)
    g = jax.random.normal(jax.random.key(1), shape)
    state = tx.init(g)
    for _ in range(3):
        u, state = tx.update(g, state)
    np.testing.assert_allclose(jnp.linalg.norm(state.basis, axis=0), 1.0, rtol=1e-7)
    outputs_side = np.linalg.lstsq(state.basis, u / np.sqrt(shape[1] / shape[0]))[0].T
    np.testing.assert_allclose(outputs_side.T @ outputs_side, np.eye(min(shape)), atol=1e-6)


def test_what_was_applied_leaves_the_momentum():
    g = jax.random.normal(jax.random.key(2), (5, 3))
    whole, part = (tx.update(g, tx.init(g))[1] for tx in (gx.scale_by_dion(3, 0.0), gx.scale_by_dion(1, 0.0)))
    np.testing.assert_allclose(whole.mu, 0.0, atol=1e-12)
    assert np.linalg.matrix_rank(part.mu) == 2
    _, kept = gx.scale_by_dion(3, 0.75).update(g, gx.scale_by_dion(3, 0.75).init(g))
    np.testing.assert_allclose(kept.mu, 0.75 * g, rtol=1e-9)


def test_on_one_gradient_it_comes_to_be_the_nearest_orthogonal_matrix():
    u, _, vt = np.linalg.svd(np.random.default_rng(5).normal(size=(4, 4)))
    g = jnp.asarray(u @ np.diag([8.0, 4.0, 2.0, 1.0]) @ vt)
    tx = gx.scale_by_dion(4, 0.0)  # nothing is left of the last one
    state = tx.init(g)
    for _ in range(60):
        out, state = tx.update(g, state._replace(mu=jnp.zeros_like(g)))
    np.testing.assert_allclose(out, u @ vt, atol=1e-9)


def test_matrices_of_one_shape_begin_alike():
    starts = gx.scale_by_dion(2).init(START).basis
    np.testing.assert_array_equal(starts["wide"], starts["stack"][1])
    assert starts["tall"].shape == (5, 2)
    assert starts["row"].shape == (1, 1)


def test_after_a_gradient_of_zeros_it_goes_on():
    """As at the start of a projection that begins with zeros: nothing moves, and the basis is kept."""
    tx = gx.scale_by_dion(1)
    zero = jnp.zeros((3, 3))
    start = tx.init(zero)
    still, state = tx.update(zero, start)
    np.testing.assert_array_equal(still, zero)
    np.testing.assert_array_equal(state.basis, start.basis)
    moved, _ = tx.update(zero.at[:, 2].set(1.0), state)
    assert np.linalg.norm(moved) == pytest.approx(1.0, rel=1e-6)
