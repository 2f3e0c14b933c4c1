"""Decompositions on a CPU are of one matrix at a time: batches of jaxlib's wait for each other."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx as gx
from gradtx.matrices.decompositions import eigen, orthonormal, singular, solve_transposed
from gradtx.values.value import text_of

DECOMPOSING = [
    gx.scale_by_soap(every=2),
    gx.scale_by_shampoo(eps=0.1),
    gx.scale_by_shampoo(eps=0.1, max_dim=2),
    gx.scale_by_dion(2),
    gx.in_subspace(gx.scale_by_adam(), 2),
    gx.scale_by_kron(),
]
CALL = re.compile(r"custom_call @lapack_\w+\(.*\) -> (.*)")


@pytest.mark.parametrize("tx", DECOMPOSING, ids=[text_of(tx) for tx in DECOMPOSING])
def test_a_program_has_none_of_several_matrices(tx):
    params = {name: jnp.ones((4, 6)) for name in "abc"} | {"d": jnp.ones((2, 5, 5))}
    text = jax.jit(tx.update).lower(params, tx.init(params), params).as_text()
    results = [CALL.search(line) for line in text.splitlines() if "@lapack_" in line]
    assert results
    for found in results:
        assert found
        for shape in re.findall(r"tensor<([\dx]+)x[fi]\d+>", found[1]):
            assert np.prod([int(n) for n in shape.split("x")][:-2] or [1]) == 1, found[1]


def test_stacks_are_decomposed_as_matrices_are():
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 4))
    symmetric, upper = x @ np.swapaxes(x, -1, -2), np.triu(x[..., :4, :]) + 3.0 * np.eye(4)
    for made, expected in (
        (eigen(jnp.asarray(symmetric)), np.linalg.eigh(symmetric)),
        (singular(jnp.asarray(x)), np.linalg.svd(x, full_matrices=False)),
        ([orthonormal(jnp.asarray(x))], [np.linalg.qr(x)[0]]),
    ):
        for a, b in zip(made, expected, strict=True):
            np.testing.assert_allclose(np.abs(a), np.abs(b), rtol=1e-7, atol=1e-9)  # signs are free
    solved = solve_transposed(jnp.asarray(upper), jnp.asarray(x[..., :4, :]))
    np.testing.assert_allclose(np.swapaxes(upper, -1, -2) @ solved, x[..., :4, :], rtol=1e-7, atol=1e-9)


def test_no_derivative_goes_through():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 3)))
    slope = jax.grad(lambda x: jnp.sum(x * orthonormal(x)))(x)
    np.testing.assert_array_equal(slope, orthonormal(x))
