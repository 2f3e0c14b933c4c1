"""`sam`: gradients from up the loss, in one call and in alternation, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx as gx
from tests.printed import V, descended, loss, path, sums
from tests.reference import over_any
from tests.refusals import refused

pytestmark = pytest.mark.slow


def test_printed():
    """Four updates of which two lead up are two of the other form."""
    expected = 6.2550974840, 5.7540246996
    np.testing.assert_allclose(descended(gx.sam(gx.sgd(0.1)), 2), expected, rtol=1e-10)
    np.testing.assert_allclose(descended(gx.sam(gx.sgd(0.1), transparent=True), 4), expected, rtol=1e-10)


def cube(w):
    return w**3


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("adaptive", [False, True], ids=["plain", "adaptive"])
def test_up_the_loss(steps, adaptive):
    w, calls = jnp.asarray(V), []

    def grad_fn(w):
        calls.append(1)
        return cube(w)

    expected = -0.1 * over_any.uphill(V, cube, 0.3, steps, adaptive=adaptive)
    tx = gx.sam(gx.sgd(0.1), 0.3, steps, adaptive=adaptive)
    updates, _ = tx.update(cube(w), tx.init(w), w, grad_fn=grad_fn)
    np.testing.assert_allclose(updates, expected, rtol=1e-12)
    assert len(calls) == steps

    tx = gx.sam(gx.sgd(0.1), 0.3, steps, adaptive=adaptive, transparent=True)
    at, state = w, tx.init(w)
    for _ in range(steps):
        updates, state = tx.update(cube(at), state, at)
        at = gx.apply_updates(at, updates)
        np.testing.assert_array_equal(gx.evaluation_parameters(tx, state, at), w)
    updates, state = tx.update(cube(at), state, at)
    at = gx.apply_updates(at, updates)
    np.testing.assert_allclose(at, w + expected, rtol=1e-12)
    np.testing.assert_array_equal(gx.evaluation_parameters(tx, state, at), at)


def test_adaptive_steps_do_not_turn_on_the_scale_of_parameters():
    """Where all parameters are c times as large, and the loss the same, so is the step up."""
    for c in (1.0, 1000.0):
        tx, w = gx.sam(gx.scale(1.0), 0.5, adaptive=True), c * jnp.asarray(V)
        updates, _ = tx.update(cube(w / c) / c, tx.init(w), w, grad_fn=lambda w, c=c: cube(w / c) / c)
        np.testing.assert_allclose(c * updates, over_any.uphill(V, cube, 0.5, 1, adaptive=True), rtol=1e-12)


def test_without_a_radius_it_is_the_optimizer():
    params, _ = path(gx.sam(gx.adam(0.1), 0.0, 2), lambda t, params: jax.grad(loss)(params), 3)
    np.testing.assert_allclose(sums(params), descended(gx.adam(0.1)), rtol=1e-12)


def test_a_transparent_inner_optimizer_counts_its_own_steps_and_sees_where_they_start():
    """A decay of the parameters up there, or a schedule of all updates, would give other numbers."""
    inner = gx.chain(gx.add_decayed_weights(0.5), gx.sgd(gx.linear(0.1, 0.3, 2)))
    opaque = descended(gx.sam(inner, 0.2, 2), 3)
    np.testing.assert_allclose(descended(gx.sam(inner, 0.2, 2, transparent=True), 9), opaque, rtol=1e-12)


def test_zero_gradients_stay():
    w = jnp.asarray(V)
    for adaptive in (False, True):
        tx = gx.sam(gx.sgd(0.1), adaptive=adaptive)
        updates, _ = tx.update(jnp.zeros(3), tx.init(w), w, grad_fn=jnp.zeros_like)
        np.testing.assert_array_equal(updates, np.zeros(3))


def test_complex_parameters_behind_conjugate():
    """As with their real and their imaginary parts for parameters."""

    def value(x, y):
        return jnp.sum(x**4 + 2.0 * y**2)

    def joined(w):
        return value(w.real, w.imag)

    tx = gx.chain(gx.conjugate(), gx.sam(gx.sgd(0.1), 0.3))
    w = jnp.array([1.0 - 2.0j, 0.5j])
    u, _ = tx.update(jax.grad(joined)(w), tx.init(w), w, grad_fn=jax.grad(joined))
    both = w.real, w.imag
    slope = jax.grad(lambda pair: value(*pair))
    parts = gx.sam(gx.sgd(0.1), 0.3)
    (x, y), _ = parts.update(slope(both), parts.init(both), both, grad_fn=slope)
    np.testing.assert_allclose(u, x + 1j * y, rtol=1e-12)


def test_what_has_no_gradient_is_not_moved():
    params = {"w": jnp.ones(2), "step": jnp.int32(3), "none": None}
    seen = []

    def grad_fn(params):
        seen.append(params)
        return {"w": params["w"], "step": np.zeros((), jax.dtypes.float0), "none": None}

    tx = gx.sam(gx.sgd(0.1), 0.5)
    updates, _ = tx.update(grad_fn(params), tx.init(params), params, grad_fn=grad_fn)
    assert updates["step"] is None
    assert seen[-1]["step"] is params["step"]
    np.testing.assert_allclose(updates["w"], -0.1 * (1.0 + 0.5 / np.sqrt(2.0)))


def test_refusals():
    w = jnp.asarray(V)
    tx = gx.sam(gx.sgd(0.1))
    with refused(TypeError, "sam: update needs grad_fn: call update(updates, state, params, grad_fn=…)"):
        tx.update(w, tx.init(w), w)
    with refused(TypeError, "sam: grad_fn must be a function of the parameters, got "):
        tx.update(w, tx.init(w), w, grad_fn=w)
    with refused(ValueError, "sam: update needs the parameters: call update(updates, state, params)"):
        tx.update(w, tx.init(w), grad_fn=cube)
    with refused(ValueError, "sam: updates has shape (2,), its parameter has (3,)"):
        tx.update(w, tx.init(w), w, grad_fn=lambda w: w[:2])
    with refused(ValueError, "sam: steps must be a whole number, at least 1, got 0"):
        gx.sam(gx.sgd(0.1), steps=0)
