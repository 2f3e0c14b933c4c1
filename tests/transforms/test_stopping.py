"""Early stopping: against a reference on lists, by properties, and in the loops that people write."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gradtx as gx
from tests.reference import measured
from tests.refusals import refused

STEPS = 24


@jax.jit
def followed(tx, values):
    """The updates of 1 and the states over the values, the parameters being the number of the step."""

    def body(state, x):
        value, step = x
        updates, state = tx.update(jnp.ones(()), state, step, value=value)
        return state, (updates, state)

    return jax.lax.scan(body, tx.init(jnp.array(-1.0)), (values, jnp.arange(1.0 * STEPS)))[1]


# Eighths: means of two are exact, so that no rounding decides.
measurements = st.lists(
    st.integers(-40, 40).map(lambda n: n / 8) | st.sampled_from([np.nan, np.inf, -np.inf]),
    min_size=STEPS,
    max_size=STEPS,
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(measurements, st.integers(1, 5), st.integers(0, 16).map(lambda n: n / 8), st.booleans(), st.integers(1, 2))
def test_reference_and_properties(values, patience, min_delta, maximize, every):
    tx = gx.early_stopping(patience, min_delta, maximize=maximize, every=every)
    updates, states = followed(tx, jnp.array(values))
    expected = list(measured.stopping(values, patience, min_delta, maximize, every))
    worst = -np.inf if maximize else np.inf
    np.testing.assert_array_equal(states.best_value, [worst if best is None else best for best, _, _ in expected])
    np.testing.assert_array_equal(states.best_params, [-1 if at is None else at for _, at, _ in expected])
    np.testing.assert_array_equal(states.stopped, [stopped for _, _, stopped in expected])
    # What holds whatever the rule is:
    np.testing.assert_array_equal(updates, 1.0 - states.stopped)
    assert not np.isnan(states.best_value).any()
    rises = np.diff(np.clip(states.best_value, -1e9, 1e9))
    assert (rises >= 0 if maximize else rises <= 0).all()
    assert np.array_equal(states.stopped, np.maximum.accumulate(states.stopped))
    if states.stopped.any():  # exactly `patience` measurements after the best one
        end = int(np.argmax(states.stopped))
        assert end - states.best_params[end] == patience * every


LOSSES = [3.0, 1.0, 2.0, 1.5, 1.2, 0.1]


def trained(tx, update, losses=LOSSES):
    """Parameters that count the steps; the update is given with its state, parameters and value."""
    params, state, path = jnp.zeros(2), tx.init(jnp.zeros(2)), []
    for loss in losses:
        updates, state = update(-jnp.ones(2), state, params, value=loss)
        params = gx.apply_updates(params, updates)
        path.append(float(params[0]))
    return path, state


@pytest.mark.parametrize("way", [jax.jit, lambda update: update], ids=["jit", "eager"])
def test_in_a_chain_the_parameters_stay_where_they_were_when_it_stopped(way):
    tx = gx.chain(gx.sgd(1.0, momentum=0.9), gx.early_stopping(3))
    path, state = trained(tx, way(tx.update))
    assert path[:4] == pytest.approx([1.0, 2.9, 5.61, 9.049])
    assert path[4:] == path[3:4] * 2
    np.testing.assert_array_equal(gx.best_parameters(state), [1.0, 1.0])  # of the second step, whose loss was 1.0
    assert state[1].best_value == 1.0  # and not the 0.1 measured afterwards


@pytest.mark.parametrize("way", [jax.jit, lambda update: update], ids=["jit", "eager"])
def test_driven_alone_once_per_epoch(way):
    stopper = gx.early_stopping(patience=2)
    params = {"w": jnp.zeros(3), "frozen": None}
    stopping, update, epochs = stopper.init(params), way(stopper.update), 0
    for loss in LOSSES:
        epochs += 1
        params = {"w": params["w"] + 1.0, "frozen": None}
        nothing, stopping = update(None, stopping, params, value=loss)
        assert nothing is None
        if stopping.stopped:
            break
    assert epochs == 4
    np.testing.assert_array_equal(gx.best_parameters(stopping)["w"], [2.0, 2.0, 2.0])


def test_the_best_parameters_hold_those_without_an_update_too():
    tx = gx.early_stopping()
    params = {"w": jnp.ones(2), "b": jnp.ones(1)}
    _, state = tx.update(
        {"w": jnp.ones(2), "b": None}, tx.init(params), {"w": 2 * params["w"], "b": 3 * params["b"]}, value=1.0
    )
    np.testing.assert_array_equal(gx.best_parameters(state)["b"], [3.0])


def test_nan_updates_become_zeros_too():
    tx = gx.early_stopping(1)
    w = jnp.ones(2)
    updates, state = tx.update(jnp.full(2, jnp.nan), tx.init(w), w, value=jnp.nan)
    np.testing.assert_array_equal(updates, jnp.zeros(2))
    assert state.stopped


def test_with_several_values_to_a_measurement_the_last_parameters_are_kept():
    _, states = followed(gx.early_stopping(2, every=3), jnp.array([6.0, 1.0, 2.0, 2.0, 2.0, 1.0] * (STEPS // 6)))
    assert states.best_value[2:6].tolist() == [3.0, 3.0, 3.0, pytest.approx(5 / 3)]
    assert states.best_params[:6].tolist() == [-1.0, -1.0, 2.0, 2.0, 2.0, 5.0]


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32, jnp.complex64])
def test_the_best_parameters_are_exact_copies(dtype):
    tx = gx.chain(gx.sgd(0.1), gx.early_stopping())
    w = jax.random.normal(jax.random.key(0), (5,), dtype)
    _, state = tx.update(w, tx.init(jnp.zeros_like(w)), w, value=1.0)
    best = gx.best_parameters(state)
    assert best.dtype == dtype
    np.testing.assert_array_equal(best, w)
    jax.jit(lambda s: s, donate_argnums=0)(state)
    np.testing.assert_array_equal(best, w)  # still there


def test_the_best_parameters_are_found_wherever_they_stand():
    w = jnp.ones(2)
    inside = gx.chain(gx.early_stopping(gx.constant(3)), gx.scale(1.0))
    around: list[Any] = [inside, optax.chain(optax.scale(1.0), inside), optax.apply_if_finite(inside, 3)]
    for tx in around:
        state = tx.init(w)
        with refused(ValueError, "best_parameters: no measurement was good so far; there is no best before the first"):
            gx.best_parameters(state)
        _, bad = tx.update(w, state, w, value=jnp.nan)
        with refused(ValueError, "best_parameters: no measurement was good so far"):
            gx.best_parameters(bad)
        _, state = tx.update(w, state, 2 * w, value=1.0)
        np.testing.assert_array_equal(gx.best_parameters(state), 2 * w)
        np.testing.assert_array_equal(jax.jit(gx.best_parameters)(state), 2 * w)


def test_what_holds_none_or_several_is_refused():
    w = jnp.ones(2)
    with refused(ValueError, "best_parameters: the state must hold one EarlyStoppingState, got none"):
        gx.best_parameters(gx.adam(0.1).init(w))
    two = gx.chain(gx.early_stopping(), gx.early_stopping(maximize=True)).init(w)
    with refused(ValueError, "must hold one EarlyStoppingState, got 2; hand in the one that is meant"):
        gx.best_parameters(two)


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        (None, ValueError, "update needs the parameters: call update(updates, state, params)"),
        ({"w": jnp.ones(3)}, ValueError,
         "params['w'] is float64[3], in the state's best_params it is float64[2]; call init with the parameters that"),
        ({"w": jnp.ones(2, complex)}, ValueError, "params['w'] is complex128[2], in the state's best_params it is"),
        ({"w": jnp.ones(2, int)}, TypeError, "params['w'] must be floating-point or complex, got int64; to freeze it"),
        ({"v": jnp.ones(2)}, ValueError, "the state's best_params['w'] has no counterpart in params"),
        ({"w": jnp.ones(2), "v": jnp.ones(2)}, ValueError, "the state's best_params lack ['v'], which is in params"),
        ([jnp.ones(2)], ValueError, "the tree of the state's best_params is of type dict, in params it is list"),
    ],
)  # fmt: skip
def test_parameters_that_do_not_fit(params, error, message):
    tx = gx.early_stopping()
    with refused(error, f"early_stopping: {message}"):
        tx.update(None, tx.init({"w": jnp.ones(2)}), params, value=1.0)
    with refused(TypeError, "early_stopping: the state is an EmptyState, expected EarlyStoppingState"):
        tx.update(None, gx.scale(1.0).init(None), params, value=1.0)


def test_of_many_at_once_one_measurement_is_enough():
    tx, params = gx.early_stopping(2), jnp.arange(3.0)
    states = jax.vmap(tx.init)(params)
    with pytest.raises(ValueError, match="no measurement was good so far"):
        gx.best_parameters(states)

    def measured(state, p, value):
        return tx.update(None, state, p, value=value)[1]

    states = jax.vmap(measured)(states, params + 10.0, jnp.array([1.0, jnp.nan, 2.0]))
    np.testing.assert_array_equal(gx.best_parameters(states), [10.0, 1.0, 12.0])


def test_behind_a_soft_threshold_nothing_moves_once_it_has_stopped():
    tx, w = gx.chain(gx.sgd(0.1), gx.soft_threshold(1.0, 0.1), gx.early_stopping(1)), jnp.array(5.0)
    state = tx.init(w)
    for value in (1.0, 2.0):
        updates, state = tx.update(jnp.array(1.0), state, w, value=value)
    assert state[-1].stopped
    assert updates == 0.0
