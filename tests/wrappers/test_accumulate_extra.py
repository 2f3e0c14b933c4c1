"""Accumulation: extra arguments of a window, and what is refused."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx
from gradtx.values.value import text_of
from tests.refusals import refused

W = jnp.zeros(2)
G = jnp.array([[1.0, -2.0], [4.0, 2.0]])
anything: Any = gx  # for calls that a type checker refuses too


@gx.transformation
def probe():
    """Updates made of the extra arguments."""

    def update(updates, state, params=None, *, loss, grad=None, factor: Any = None, upward=False, key: Any = None):
        direction = jax.tree.map(lambda g: g if upward else -g, grad)
        return jax.tree.map(lambda g: loss * factor() * g * jax.random.uniform(key), direction), state

    return lambda params: (), update


def test_numbers_and_gradients_are_averaged_the_rest_is_that_of_the_last():
    tx = gx.accumulate(gx.chain(probe(), gx.scale(2.0)), 2)
    state, key = tx.init(W), jax.random.key(7)
    for i, loss in enumerate((np.float32(1.0), 4)):  # of other kinds, as they may come
        rest = dict(factor=lambda i=i: 10.0**i, upward=i == 1, key=jax.random.fold_in(key, i))
        updates, state = tx.update(G[i], state, W, loss=loss, grad=jnp.conj(G[i]), **rest)
    noise = jax.random.uniform(jax.random.fold_in(key, 1))
    np.testing.assert_allclose(updates, 2.0 * 2.5 * 10.0 * noise * G.mean(axis=0), rtol=1e-12)
    assert state.acc_extra.keys() == {"loss", "grad", "factor", "upward", "key"}
    assert not any(np.any(x) for x in jax.tree.leaves((state.acc_extra, state.acc_grads)))


def test_a_measurement_is_that_of_the_window():
    tx = gx.accumulate(gx.chain(gx.sgd(1.0), gx.reduce_on_plateau(0.5, 1)), 2)
    state, step = tx.init(W), jax.jit(tx.update)
    for value in (4.0, 2.0, 1.0, 7.0):  # means 3 and 4
        updates, state = step(G[0], state, W, value=value)
    assert gx.find(state, "best_value") == 3.0
    np.testing.assert_allclose(updates, -0.5 * G[0])


def test_a_measurement_of_a_micro_batch_that_is_left_out_is_too():
    tx = gx.skip_nonfinite(gx.accumulate(gx.chain(gx.sgd(1.0), gx.reduce_on_plateau()), 2))
    state, step = tx.init(W), jax.jit(tx.update)
    for g, value in [(G[0], 4.0), (G[0] * jnp.nan, jnp.nan), (G[1], 2.0)]:
        _, state = step(g, state, W, value=value)
    assert gx.find(state, "best_value") == 3.0


def test_a_line_search_goes_along_the_mean():
    def loss(w, x):
        return jnp.sum((w - x) ** 4)

    def micro(x):
        return jax.value_and_grad(loss)(W, x)

    rows = jnp.array([[1.0, 2.0], [3.0, 1.0]])
    whole = lambda w: (loss(w, rows[0]) + loss(w, rows[1])) / 2  # noqa: E731
    expected, _ = gx.lbfgs(3).update(
        jax.grad(whole)(W), gx.lbfgs(3).init(W), W, value=whole(W), grad=jax.grad(whole)(W), value_fn=whole
    )
    backtracking: Any = optax.scale_by_backtracking_linesearch(20)
    assert gx.accumulate(gx.chain(gx.sgd(1.0), backtracking), 2).init(W).acc_extra.keys() == {"value", "grad"}
    tx = gx.accumulate(gx.lbfgs(3), 2)
    state = tx.init(W)
    for x in rows:
        value, grad = micro(x)
        updates, state = tx.update(grad, state, W, value=value, grad=grad, value_fn=whole)
    np.testing.assert_allclose(updates, expected, rtol=1e-10)


@pytest.mark.parametrize(
    ("tx", "names"),
    [
        (gx.adam(0.1), set()),
        (gx.chain(optax.scale(1.0), gx.adam(0.1)), set()),
        (optax.adam(0.1), {"value"}),
        (gx.early_stopping(), {"value"}),
        (gx.newton(), {"value", "grad"}),
        (gx.chain(probe(), optax.adam(0.1)), {"value", "loss", "grad", "factor", "upward", "key"}),
        (gx.skip_spikes(optax.masked(optax.adam(0.1), True), loss=True), {"value"}),
    ],
    ids=lambda x: text_of(x) if not isinstance(x, set) else str(len(x)),
)
def test_there_is_room_for_what_the_parts_name(tx, names):
    state = gx.accumulate(tx, 2).init(W)
    assert state.acc_extra.keys() == names
    assert {x.shape for name, x in state.acc_extra.items() if name != "grad"} <= {()}


def test_what_always_may_be_passed_may_be_passed():
    rest: Any = dict(value=1.0, grad=W, value_fn=jnp.sum, loss_fn=jnp.sum)
    for tx in (gx.adam(0.1), optax.adam(0.1), gx.chain(gx.sgd(1.0), optax.masked(optax.adam(0.1), True))):
        accumulating = gx.accumulate(tx, 1)
        accumulating.update(W, accumulating.init(W), W, **rest)


# ---- refusals ----


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: anything.accumulate(3, 2), TypeError, "accumulate: tx must be a transformation, got int 3"),
        (
            lambda: anything.accumulate(gx.adam, 2),
            TypeError,
            "accumulate: tx must be a transformation, got a function",
        ),
        (lambda: gx.accumulate(gx.sgd(0.1), 0), ValueError, "accumulate: steps must be a whole number in [1, "),
        (lambda: gx.accumulate(gx.sgd(0.1), 2.5), ValueError, "accumulate: steps must be a whole number in [1, "),
        (lambda: anything.accumulate(gx.sgd(0.1)), TypeError, "accumulate: missing a required argument: 'steps'"),
        (lambda: gx.accumulate(gx.sgd(0.1), lambda t: "two"), TypeError, "the schedule given for steps must return a"),  # pyright: ignore[reportArgumentType]  # refused by a type checker too
    ],
)
def test_construction(build, error, message):
    with refused(error, message):
        build()


TX = gx.accumulate(gx.chain(gx.sgd(0.1), gx.reduce_on_plateau(), probe()), 2)
PARAMS = {"w": jnp.ones((3, 2))}
GIVEN: dict[str, Any] = dict(value=1.0, loss=1.0, grad=PARAMS)


@pytest.mark.parametrize(
    ("updates", "params", "given", "error", "message"),
    [
        (PARAMS, PARAMS, dict(value=jnp.ones(2)), ValueError,
         "accumulate: value must be a real scalar, got float64[2]; give one number, such as the mean"),
        (PARAMS, PARAMS, dict(value=1j), TypeError, "accumulate: value must be a real scalar, got complex"),
        (PARAMS, PARAMS, dict(loss={"a": jnp.ones(())}), TypeError, "accumulate: loss must be a real scalar, got dict"),
        (PARAMS, PARAMS, dict(grad={"v": PARAMS["w"]}), ValueError,
         "accumulate: grad['v'] has no counterpart in the state's mean"),
        (PARAMS, PARAMS, dict(grad={"w": jnp.ones((2, 2))}), ValueError,
         "accumulate: grad['w'] is float64[2, 2], the state's mean has float64[3, 2] there; call init with"),
        (PARAMS, PARAMS, dict(grad={"w": jnp.ones((3, 2), int)}), TypeError,
         "accumulate: grad['w'] must be floating-point or complex, got int64"),
        ({"w": jnp.ones((3, 1))}, PARAMS, {}, ValueError, "updates['w'] has shape (3, 1), its parameter has (3, 2)"),
        ({"w": jnp.ones((2, 2))}, None, {}, ValueError,
         "accumulate: updates['w'] is float64[2, 2], the state's mean has float64[3, 2] there; call init with the"),
        ({"w": jnp.ones((3, 2), complex)}, None, {}, ValueError,
         "accumulate: updates['w'] is complex128[3, 2], the state's mean has float64[3, 2] there"),
        ({"v": PARAMS["w"]}, None, {}, ValueError, "accumulate: updates['v'] has no counterpart in the state's mean"),
        ({"w": jnp.ones((3, 2), int)}, None, {}, TypeError, "updates['w'] must be floating-point or complex, got int"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("way", [jax.jit, lambda update: update], ids=["jit", "eager"])
def test_what_does_not_fit(way, updates, params, given, error, message):
    with refused(error, message) as caught:
        way(TX.update)(updates, TX.init(PARAMS), params, **GIVEN | given)
    assert "Tracer" not in str(caught.value)


def test_what_the_inner_one_lacks_is_missed_at_the_first_micro_batch():
    with refused(TypeError, "reduce_on_plateau: update needs value: call update(updates, state, params, value=…)"):
        TX.update(PARAMS, TX.init(PARAMS), PARAMS, loss=1.0)
    with refused(TypeError, "accumulate: the state is a SkipNonfiniteState, expected AccumulateState: it was made by"):
        TX.update(PARAMS, gx.skip_nonfinite(gx.sgd(0.1)).init(PARAMS), PARAMS, **GIVEN)


def test_a_gradient_of_which_no_mean_was_kept_is_not_used():
    hidden: Any = optax.chain(optax.scale(-1.0), optax.scale_by_backtracking_linesearch(3))
    for tx in (gx.accumulate(hidden, 2), gx.accumulate(optax.masked(gx.lbfgs(3), True), 2)):
        with refused(TypeError, "grad is used by a part that does not say that it takes it, so no mean of it was kept"):
            tx.update(W, tx.init(W), W, value=1.0, grad=W, value_fn=jnp.sum)
