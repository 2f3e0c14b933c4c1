"""What L-BFGS, Newton's method and the line search refuse, and the short error that it gets."""

from typing import Any

import jax.numpy as jnp
import pytest

import gradtx as gx
from tests.refusals import refused

W = jnp.ones(2)
anything: Any = gx  # for calls that a type checker refuses too


@pytest.mark.parametrize(
    ("tx", "given", "message"),
    [
        (
            gx.lbfgs(),
            {},
            "scale_by_zoom_linesearch: update needs value, grad, value_fn: call update(updates, state, params, value=…",
        ),
        (gx.lbfgs(), dict(value=1.0, grad=W), "scale_by_zoom_linesearch: update needs value_fn: call update(updates"),
        (
            gx.newton(),
            dict(value=1.0, grad=W),
            "newton: update needs loss_fn: call update(updates, state, params, loss_fn=…)",
        ),
        (gx.scale_by_newton(), {}, "scale_by_newton: update needs loss_fn: call update("),
    ],
)
def test_extra_arguments_that_are_missing(tx, given, message):
    with refused(TypeError, message):
        tx.update(W, tx.init(W), W, **given)


@pytest.mark.parametrize("tx", [gx.lbfgs(), gx.newton(), gx.scale_by_lbfgs()], ids=repr)
def test_parameters_that_are_missing(tx):
    with refused(ValueError, "update needs the parameters"):
        tx.update(W, tx.init(W), value=1.0, grad=W, value_fn=jnp.sum, loss_fn=jnp.sum)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: gx.lbfgs(0), ValueError, "memory_size must be a whole number, at least 1, got 0"),
        (lambda: anything.scale_by_lbfgs(2.5), TypeError, "scale_by_lbfgs: memory_size must be a whole"),
        (lambda: gx.scale_by_zoom_linesearch(-1), ValueError, "max_linesearch_steps must be a whole number"),
        (lambda: gx.newton(max_steps=0), ValueError, "max_steps must be a whole number, at least 1, got 0"),
    ],
)
def test_sizes_that_are_none(build, error, message):
    with refused(error, message):
        build()


def test_losses_and_states_that_do_not_fit():
    tx = gx.lbfgs()
    given = dict(value=1.0, grad=W, value_fn=lambda w: w, loss_fn=lambda w: w)
    for bad in (tx, gx.newton()):
        with refused(TypeError, "the loss must return a real scalar, got float64[2]"):
            bad.update(W, bad.init(W), W, **given)
    good = given | dict(value_fn=jnp.sum)
    with refused(ValueError, "updates has shape (2,), grad has shape (3,) there"):
        tx.update(W, tx.init(W), W, **good | dict(grad=jnp.ones(3)))
    with refused(ValueError, "value must be a real scalar, got float64[2]"):
        tx.update(W, tx.init(W), W, **good | dict(value=W))
    with refused(
        ValueError, "scale_by_lbfgs: updates does not fit the state, whose diff_params_memory has shape (3, 2)"
    ):
        tx.update(W, gx.lbfgs(3).init(W), W, **good)
