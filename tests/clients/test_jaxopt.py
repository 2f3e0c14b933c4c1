"""jaxopt's solver around an optimizer: by steps over batches, and to the end with the implicit derivative."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx
from tests.clients.same_path import assert_same_path

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "JAXopt is no longer maintained", DeprecationWarning)
    jaxopt = pytest.importorskip("jaxopt")

X = jax.random.normal(jax.random.key(1), (5, 8, 3))
Y = jnp.sin(X.sum(-1))


def ridge(params, data, decay=0.1):
    x, y = data
    return jnp.mean((x @ params["w"] + params["b"] - y) ** 2) + decay * jnp.sum(params["w"] ** 2)


START = {"w": jnp.ones(3), "b": jnp.zeros(())}


def test_a_loop_over_batches():
    def trained(tx):
        solver = jaxopt.OptaxSolver(opt=tx, fun=ridge)
        params, state = START, solver.init_state(START, (X[0], Y[0]))
        update = jax.jit(solver.update)
        for batch in zip(X, Y, strict=True):
            params, state = update(params, state, batch)
            yield params, state.value, state.error

    assert_same_path(trained)


def test_run_and_the_derivative_through_its_solution():
    def solution(tx):
        solver = jaxopt.OptaxSolver(opt=tx, fun=ridge, maxiter=300, tol=1e-8, implicit_diff=True)

        def w(decay):
            return solver.run(START, (X[0], Y[0]), decay).params["w"]

        return w(0.1), jax.jacobian(w)(0.1)

    ours, theirs = solution(gx.sgd(0.2, momentum=0.5)), solution(optax.sgd(0.2, momentum=0.5))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-8), ours, theirs)
    x, y = X[0] - X[0].mean(0, keepdims=True), Y[0] - Y[0].mean()
    exact = jnp.linalg.solve(x.T @ x / 8 + 0.1 * jnp.eye(3), x.T @ y / 8)
    np.testing.assert_allclose(ours[0], exact, rtol=1e-6)
