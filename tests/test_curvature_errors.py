"""Losses, parameters and vectors that curvature refuses, and the short error that they get."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx as gx
from tests.refusals import refused

anything: Any = gx  # for calls that a type checker refuses too
START = {"x": jnp.array(1.0), "y": jnp.array(1.0)}


def golden(w):
    return w["x"] ** 2 / 64 + w["y"] ** 2


ALL = [gx.largest_eigenvalue, gx.smallest_eigenvalue, gx.condition_number, gx.max_learning_rate]


@pytest.mark.parametrize("function", ALL)
def test_losses_and_parameters_that_have_no_hessian(function):
    name = function.__name__
    with refused(TypeError, f"{name}: the loss must return a real scalar, got float64[2]; take the mean or the sum"):
        function(lambda w: w, jnp.ones(2))
    with refused(TypeError, f"{name}: the loss must return a real scalar, got tuple; take the mean or the sum, and"):
        function(lambda w: (jnp.sum(w), w), jnp.ones(2))
    with refused(TypeError, f"{name}: the loss must return a real scalar, got int64[]"):
        function(lambda w: jnp.argmax(w), jnp.ones(2))
    with refused(
        TypeError, f"{name}: params['n'] must be floating-point or complex, got int64; to freeze it, put None"
    ):
        function(lambda w: jnp.sum(w["w"]), {"w": jnp.ones(2), "n": jnp.ones(2, int)})
    for empty in ({}, None, jnp.ones((0, 3))):
        with refused(ValueError, f"{name}: params hold no array with elements, so there is no Hessian"):
            function(lambda w: 1.0, empty)


def test_max_steps_is_a_whole_number():
    for bad in (0, -1, 2.0, True, None):
        with refused(
            (ValueError, TypeError), f"largest_eigenvalue: max_steps must be a whole number, at least 1, got {bad}"
        ):
            anything.largest_eigenvalue(golden, START, max_steps=bad)


@pytest.mark.parametrize(
    ("vector", "error", "message"),
    [
        ({"x": 1.0}, ValueError, "hvp: vector lacks ['y'], which is in params"),
        ({"x": 1.0, "y": 1.0, "z": 1.0}, ValueError, "hvp: vector['z'] has no counterpart in params"),
        ({"x": 1.0, "y": jnp.ones(3)}, ValueError, "hvp: vector['y'] has shape (3,), its parameter has ()"),
        (
            {"x": 1.0, "y": jnp.ones([], int)},
            TypeError,
            "hvp: vector['y'] must be floating-point or complex, got int64",
        ),
        ({"x": 1.0, "y": 1j}, TypeError, "hvp: vector['y'] is complex128, its parameter is float64"),
    ],
)
def test_vectors_that_do_not_fit(vector, error, message):
    with refused(error, message):
        gx.hvp(golden, START, vector)


def test_trees_of_other_types_do_not_fit():
    with refused(ValueError, "hvp: vector is not of the same tree type as params"):
        gx.hvp(lambda w: w[0] + w[1], (1.0, 2.0), [1.0, 2.0])
    with refused(TypeError, "hvp: the loss must return a real scalar, got float64[2]"):
        gx.hvp(lambda w: w, jnp.ones(2), jnp.ones(2))


@pytest.mark.parametrize("curvature", [-1.0, 0.0])
def test_no_bound_where_the_loss_does_not_curve_upward(curvature):
    def loss(w):
        return curvature * jnp.sum(w**2)

    with refused(
        ValueError, f"max_learning_rate: the largest eigenvalue is {2 * curvature:g}, so no rate is too large"
    ):
        gx.max_learning_rate(loss, jnp.ones(2))
    bound = jax.jit(lambda w: gx.max_learning_rate(loss, w))(jnp.ones(2))
    assert bound < 0.0 or np.isinf(bound)
