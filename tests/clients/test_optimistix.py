"""optimistix: a minimiser around an optimizer, in one call, by hand, and over many rates at once."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx
from tests.clients.same_path import OURS, THEIRS, assert_same_path

optx = pytest.importorskip("optimistix")

START = {"x": jnp.array(-1.0), "y": jnp.array(1.5)}


def rosenbrock(point, scale):
    return (1 - point["x"]) ** 2 + scale * (point["y"] - point["x"] ** 2) ** 2


def minimiser(tx):
    return optx.OptaxMinimiser(tx, rtol=1e-4, atol=1e-4)


def minimise(tx):
    return optx.minimise(rosenbrock, minimiser(tx), START, args=3.0, max_steps=200, throw=False)


def steps(tx, n=5):
    """Its interactive solve."""
    solver, args, tags = minimiser(tx), jnp.array(3.0), frozenset()

    def fn(y, args):
        return rosenbrock(y, args), None

    out = jax.eval_shape(fn, START, args)
    y, state = START, solver.init(fn, START, args, {}, *out, tags)
    step = jax.jit(lambda y, state: solver.step(fn, y, args, {}, state, tags)[:2])
    for _ in range(n):
        y, state = step(y, state)
        yield y, state.f


def test_interactive_solve():
    assert_same_path(steps)


def test_line_search_gets_its_function():
    assert_same_path(steps, gx.lbfgs(), optax.lbfgs())


def test_minimise():
    for ours, theirs in ((OURS, THEIRS), (gx.adam(0.1), optax.adam(0.1)), (gx.lbfgs(), optax.lbfgs())):
        ours, theirs = minimise(ours), minimise(theirs)
        assert ours.stats["num_steps"] == theirs.stats["num_steps"] > 3
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-8), ours.value, theirs.value)


def test_minimise_with_many_rates_at_once():
    rates = jnp.array([0.02, 0.1, 0.3])
    together = jax.vmap(lambda rate: minimise(gx.adam(rate)).value)(rates)
    for i, rate in enumerate(rates):
        alone = minimise(optax.adam(float(rate))).value
        jax.tree.map(lambda x, y, i=i: np.testing.assert_allclose(x[i], y, rtol=1e-8), together, alone)
