"""Grafting: the direction of one transformation with the norm of another."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx as gx
from tests.printed import GRADS_V, V, golden
from tests.reference import blocks
from tests.reference.shampoo import graft, shampoo

pytestmark = pytest.mark.slow  # formulas do not turn on versions

COLUMN = gx.matrices(reduce=0, output=())  # a vector as a matrix


def gradients(shape, steps=5):
    return list(np.random.default_rng(0).normal(size=(steps, *shape)))


def test_grafting_is_that_of_distributed_shampoo():
    tx = gx.graft(gx.scale_by_shampoo(b2=0.999, eps=1e-3), gx.scale_by_adam())
    assert golden(tx) == pytest.approx(4.9342442756, rel=2e-6)
    column = gx.over(COLUMN, gx.graft(gx.scale_by_shampoo(b2=0.999, eps=1e-3, sides=-2), gx.scale_by_adam()))
    assert golden(column, V, GRADS_V) == pytest.approx(5.3354812251, rel=2e-7)


def test_the_optimizer_grafts_each_matrix_of_a_stack():
    grads = gradients((2, 3, 4), steps=5)
    grads = [g * np.array([1.0, 100.0])[:, None, None] for g in grads]
    tx = gx.shampoo(1.0, b2=0.9, eps=1e-3, where=gx.by_ndim(at_least=2))
    for i in (0, 1):
        own = [g[i] for g in grads]
        expected = graft(shampoo(own, b2=0.9, eps=1e-3), blocks.adam(own))
        params, state = jnp.zeros((2, 3, 4)), tx.init(jnp.zeros((2, 3, 4)))
        for g, out in zip(grads, expected, strict=True):
            u, state = tx.update(g, state, params)
            np.testing.assert_allclose(u[i], -out, rtol=1e-8, atol=1e-9)


def test_grafting_takes_the_norm_of_an_array_or_of_each_matrix():
    g = jnp.asarray(gradients((2, 3, 4))[0])
    for each, axes in ((False, None), (True, (1, 2))):
        tx = gx.graft(gx.scale_by_sign(), gx.identity(), each_matrix=each)
        u = tx.update(g, tx.init(g))[0]
        np.testing.assert_allclose(np.sum(u**2, axis=axes), np.sum(g**2, axis=axes))
        np.testing.assert_array_equal(np.sign(u), np.sign(g))


def test_grafting_zeros_gives_zeros():
    tx = gx.graft(gx.scale_by_sign(), gx.identity())
    zeros = jnp.zeros(3)
    np.testing.assert_array_equal(tx.update(zeros, tx.init(zeros))[0], 0.0)


def test_the_gradient_through_grafted_zeros_is_finite():
    for each in (False, True):
        tx = gx.graft(gx.identity(), gx.scale(2.0), each_matrix=each)
        slope = jax.grad(lambda g, tx=tx: jnp.sum(tx.update(g, tx.init(g))[0]))(jnp.zeros((2, 3)))
        assert jnp.isfinite(slope).all()


def test_what_is_no_transformation_is_not_grafted():
    with pytest.raises(TypeError, match="graft: magnitude must be a transformation"):
        gx.graft(gx.identity(), 0.1)  # pyright: ignore[reportArgumentType]
