"""Losses as users hand them to `update`: with data, with auxiliary outputs, through masks; and how the search went."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx
from gradtx.core.transformation import takes_of
from tests.refusals import refused

pytestmark = pytest.mark.slow

W = jnp.array([0.5, -1.0])
X, Y = jnp.array([[1.0, 2.0], [3.0, -1.0], [0.5, 0.5]]), jnp.array([1.0, -1.0, 2.0])
SECOND_ORDER = [gx.lbfgs(), gx.newton(), gx.chain(gx.scale(-1.0), gx.scale_by_zoom_linesearch())]
every_search = pytest.mark.parametrize("tx", SECOND_ORDER, ids=repr)
anything: Any = gx  # for calls that a type checker refuses too


def loss(w, x, y):
    return jnp.mean((x @ w - y) ** 2) + 0.1 * jnp.sum(w**4)


def alone(w):
    return loss(w, X, Y)


def given(function, *data, **named):
    value, grad = jax.value_and_grad(loss)(W, X, Y)
    return dict(value=value, grad=grad, value_fn=function, loss_fn=function)


def first(tx, **extra):
    return tx.update(extra["grad"], tx.init(W), W, **extra)


# ---- a loss with data ----


@every_search
def test_a_loss_with_data(tx):
    expected = first(tx, **given(alone))
    jax.tree.map(np.testing.assert_array_equal, first(tx, **given(loss), x=X, y=Y), expected)
    jitted = jax.jit(lambda x, y: first(tx, **given(loss), x=x, y=y)[0])
    np.testing.assert_allclose(jitted(X, Y), expected[0], rtol=1e-12)


def test_a_training_loop_on_batches():
    tx = gx.lbfgs()

    @jax.jit
    def step(w, state, x, y):
        value, grad = jax.value_and_grad(loss)(w, x, y)
        updates, state = tx.update(grad, state, w, value=value, grad=grad, value_fn=loss, x=x, y=y)
        return optax.apply_updates(w, updates), state

    w, state = W, tx.init(W)
    for _ in range(10):
        w, state = step(w, state, X, Y)
    assert jnp.max(jnp.abs(jax.grad(alone)(w))) < 1e-8


@pytest.mark.parametrize(
    ("function", "data"),
    [
        (functools.partial(loss, y=Y), dict(x=X)),
        (jax.jit(loss), dict(x=X, y=Y)),
        (lambda w, *, x, y=Y: loss(w, x, y), dict(x=X)),
        (lambda w, **data: loss(w, **data), dict(x=X, y=Y)),
        (lambda w, x, scale=1.0: scale * loss(w, x, Y), dict(x=X)),
        (eqx.filter_jit(loss), dict(x=X, y=Y)),
    ],
)
def test_however_the_loss_is_written(function, data):
    tx = gx.newton()  # whose two parts take a loss each
    np.testing.assert_allclose(first(tx, **given(function), **data)[0], first(tx, **given(alone))[0], rtol=1e-12)


def test_a_module_is_a_loss():
    class Fit(eqx.Module):
        x: jax.Array

        def __call__(self, w, y):
            return loss(w, self.x, y)

    np.testing.assert_array_equal(first(gx.lbfgs(), **given(Fit(X)), y=Y)[0], first(gx.lbfgs(), **given(alone))[0])


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tx: gx.skip_nonfinite(tx),
        lambda tx: gx.accumulate(tx, 1),
        lambda tx: gx.only(tx, gx.by_ndim(at_least=1)),
        lambda tx: gx.partition((gx.by_ndim(at_least=1), tx)),
        lambda tx: gx.chain(search=tx, stop=gx.early_stopping()),
        lambda tx: optax.chain(tx, optax.scale(1.0)),
        lambda tx: optax.with_extra_args_support(optax.chain(optax.masked(tx, True))),
    ],
)
def test_data_reaches_the_loss_below_wrappers(wrap):
    tx = wrap(gx.lbfgs())
    np.testing.assert_allclose(first(tx, **given(loss), x=X, y=Y)[0], first(gx.lbfgs(), **given(alone))[0], rtol=1e-12)


def test_each_part_is_given_what_its_loss_takes():
    tx = gx.chain(gx.scale_by_newton(), gx.scale(-1.0), gx.scale_by_zoom_linesearch())
    extra = given(loss) | dict(loss_fn=lambda w, data: loss(w, *data))
    got, _ = first(tx, **extra, x=X, y=Y, data=(X, Y))
    np.testing.assert_allclose(got, first(tx, **given(alone))[0], rtol=1e-12)


# ---- Optax's line search among our parts ----


BACKTRACKING: Any = optax.scale_by_backtracking_linesearch(15)


@pytest.mark.parametrize("search", [BACKTRACKING, optax.scale_by_zoom_linesearch(15)], ids=["backtracking", "zoom"])
def test_optaxs_line_search_reads_the_loss(search):
    """It looks into the signature for what it hands on."""
    w = {"frozen": jnp.ones(2), "w": W}
    whole = lambda w, x, y: loss(w["w"] * w["frozen"], x, y)  # noqa: E731
    value, grad = jax.value_and_grad(whole)(w, X, Y)
    extra = dict(value=value, grad=grad, value_fn=whole, x=X, y=Y)
    theirs: Any = optax.chain(optax.sgd(1.0), search)
    value_w, grad_w = jax.value_and_grad(loss)(W, X, Y)
    expected, _ = theirs.update(grad_w, theirs.init(W), W, value=value_w, grad=grad_w, value_fn=loss, x=X, y=Y)
    for tx in (gx.chain(gx.sgd(1.0), search), gx.skip_nonfinite(gx.chain(gx.sgd(1.0), search))):
        alone, _ = tx.update(grad_w, tx.init(W), W, value=value_w, grad=grad_w, value_fn=loss, x=X, y=Y)
        np.testing.assert_allclose(alone, expected, rtol=1e-12)
    tx = gx.only(gx.chain(gx.sgd(1.0), search), gx.by_path("^w"))
    masked_grad = extra | dict(grad={"frozen": None, "w": grad["w"]})
    updates, _ = tx.update(grad, tx.init(w), w, **masked_grad)
    np.testing.assert_allclose(updates["w"], expected, rtol=1e-12)
    np.testing.assert_array_equal(updates["frozen"], 0.0)


# ---- a loss with more than its value ----


@every_search
def test_a_loss_with_auxiliary_outputs(tx):
    def with_aux(w, x, y):
        return loss(w, x, y), {"predictions": x @ w, "name": "fit"}

    got = first(tx, **given(with_aux), x=X, y=Y)
    jax.tree.map(np.testing.assert_array_equal, got, first(tx, **given(alone)))


@every_search
def test_other_outputs_are_refused(tx):
    for function, kind in ((lambda w: (alone(w), 1, 2), "tuple"), (lambda w: (w, 1), "float64[2]")):
        with refused(TypeError, f"the loss must return a real scalar, got {kind}"):
            first(tx, **given(function))


# ---- what is missing, and what is too much ----


@pytest.mark.parametrize(
    ("tx", "name", "message"),
    [
        (
            gx.lbfgs(),
            "value_fn",
            "scale_by_zoom_linesearch: update needs x, y for value_fn: call update(updates, state, params, x=…, y=…)",
        ),
        (gx.newton(), "loss_fn", "newton: update needs x, y for loss_fn: call update("),
    ],
)
def test_data_that_is_missing(tx, name, message):
    with refused(TypeError, message):
        first(tx, **given(loss) | {name: loss})
    with refused(TypeError, message.replace("x, y", "y").replace("x=…, y=…", "y=…")):
        first(tx, **given(loss) | {name: loss}, x=X)


def test_what_is_no_loss():
    with refused(TypeError, "scale_by_zoom_linesearch: value_fn must be a function of the parameters, got an array"):
        first(gx.lbfgs(), **given(1.0))  # the value and not its function
    with refused(TypeError, "newton: loss_fn must be a function of the parameters, got int 3"):
        first(gx.newton(), **given(loss) | dict(loss_fn=3), x=X, y=Y)


def test_names_that_are_known_only_from_the_loss():
    own = {"value", "grad", "value_fn", "loss_fn"}
    assert takes_of(gx.lbfgs(), given(alone)) == own
    assert takes_of(gx.lbfgs(), given(loss)) == own | {"x", "y"}
    assert takes_of(gx.lbfgs(), given(lambda w, **data: loss(w, **data))) is None
    assert takes_of(gx.adam(0.1), given(loss)) == set()
    assert gx.extra_for(gx.sgd(0.1), given(loss) | dict(x=X)) == {}


# ---- how the search went ----


def test_metrics_of_a_search_that_succeeds():
    for tx in (gx.lbfgs(), gx.newton()):
        state = tx.init(W)
        before = gx.metrics(state)
        assert not before["linesearch_succeeded"]
        _, state = first(tx, **given(alone))
        after = gx.metrics(state)
        assert after.keys() == before.keys() == {
            "learning_rate", "linesearch_steps", "linesearch_succeeded", "linesearch_error",
        }  # fmt: skip
        assert after["linesearch_succeeded"]
        assert after["linesearch_error"] == 0.0
        assert after["linesearch_steps"] >= 1
        assert after["learning_rate"] == state[-1].learning_rate > 0.0


def steep(w):
    return jnp.sum(1e6 * w**2)


@pytest.mark.parametrize(
    ("tx", "function"),
    [
        (gx.chain(gx.scale(-1.0), gx.scale_by_zoom_linesearch(2)), steep),  # too few evaluations
        (gx.chain(gx.scale(-1e-3), gx.scale_by_zoom_linesearch(5, max_learning_rate=1.0)), jnp.sum),  # no end in sight
        (gx.scale_by_zoom_linesearch(5), alone),  # upward
    ],
)
def test_metrics_of_a_search_that_fails(tx, function):
    value, grad = jax.value_and_grad(function)(W)
    _, state = jax.jit(lambda: tx.update(grad, tx.init(W), W, value=value, grad=grad, value_fn=function))()
    found = gx.metrics(state)
    assert not found["linesearch_succeeded"]
    assert found["linesearch_error"] > 0.0
    info = optax.tree.get(state, "info")
    assert found["linesearch_error"] == max(info.decrease_error, info.curvature_error)
    assert found["linesearch_steps"] == info.num_linesearch_steps


def test_metrics_are_what_a_scan_collects():
    tx = gx.lbfgs()

    def body(carry: Any, _: Any) -> Any:
        w, state = carry
        value, grad = optax.value_and_grad_from_state(alone)(w, state=state)
        updates, state = tx.update(grad, state, w, value=value, grad=grad, value_fn=alone)
        return (w + updates, state), gx.metrics(state)

    _, found = jax.lax.scan(body, (W, tx.init(W)), length=4)
    assert found["linesearch_succeeded"].shape == (4,)
    assert found["linesearch_succeeded"].all()


def test_a_state_of_optaxs_search_goes_on_in_ours():
    theirs = optax.scale_by_zoom_linesearch(20, initial_guess_strategy="one").init(W)
    tx = gx.scale_by_zoom_linesearch()
    extra = given(alone)
    updates, state = tx.update(-extra["grad"], theirs, W, **extra)
    np.testing.assert_array_equal(updates, tx.update(-extra["grad"], tx.init(W), W, **extra)[0])
    assert isinstance(state, gx.ScaleByZoomLinesearchState)
    assert isinstance(state, optax.ScaleByZoomLinesearchState)
