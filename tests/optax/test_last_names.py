"""What the names of Optax that came last refuse, and where they do otherwise than Optax."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax as real
import pytest

import gradtx as gx
import gradtx.optax as optax
from gradtx.core.walk import walk
from gradtx.testing import (
    check_transformation,
    half_precision_computes_in_float32,
    second_call_traces_nothing,
    state_keeps_its_form,
    value_round_trips,
)
from tests.optax.runs import PARAMS, every_other, grads, loss

G = grads(0)
RNG = np.random.default_rng(3)


def is_own(tx: Any) -> bool:
    return all(isinstance(node.tx, gx.Transformation) for node in walk(tx))


LAWS = [value_round_trips, state_keeps_its_form, second_call_traces_nothing, half_precision_computes_in_float32]
ADAM = optax.adam(0.1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "tx",
    [
        optax.apply_every(2),
        optax.flatten(ADAM),
        optax.conditionally_mask(ADAM, every_other),
        optax.conditionally_transform(optax.trace(0.9), every_other),
        optax.contrib.sam(ADAM, ADAM),
        optax.contrib.split_real_and_imaginary(ADAM),
        optax.scale_by_distance_over_gradients(0.1),
        optax.scale_by_lbfgs(3),
    ],
    ids=str,
)
def test_laws(tx):
    check_transformation(tx, laws=LAWS, needs_params=True).raise_if_broken()


# ---- GaLore and SM3 ----


def test_several_matrices_are_projected_as_optax_projects_them():
    """Equal singular vectors, signs and all: those of one shape are a batch here, one by one there."""
    shapes = {"a": (6, 3), "b": (6, 3), "c": (3, 6), "d": (4, 2, 3), "e": (5,)}
    w = {name: jnp.asarray(RNG.normal(size=shape)) for name, shape in shapes.items()}
    numbers = {name: real.contrib.GaLoreDimensionNumbers(0, tuple(range(1, len(s)))) for name, s in shapes.items()}
    numbers = numbers | {"e": None}
    paths = []
    for m in (optax, real):
        tx = m.contrib.galore(0.1, 2, 2, 0.5, weight_decay=0.1, weight_dimension_numbers=numbers)

        def step(carry: Any, t: Any, tx: Any = tx) -> Any:
            params, state = carry
            g = jax.tree.map(lambda x: jnp.cos(x * (t + 2.0)), params)
            updates, state = tx.update(g, state, params)
            return (real.apply_updates(params, updates), state), params

        paths.append(jax.lax.scan(step, (w, tx.init(w)), jnp.arange(5.0)))
    assert is_own(optax.contrib.galore(0.1, weight_dimension_numbers=numbers))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11), *paths)


def test_what_galore_refuses():
    with pytest.raises(TypeError, match=r"rank must be a whole number, at least 1, got 2\.5"):
        optax.contrib.galore(0.1, 2.5)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="`rank` must be positive"):
        optax.contrib.scale_by_galore(0)
    with pytest.raises(TypeError, match=r"Optax's projection is of real matrices, got complex128\[2, 2\]; leave"):
        optax.contrib.scale_by_galore(1).init(jnp.ones((2, 2), complex))
    tx = optax.contrib.scale_by_galore(1, weight_dimension_numbers=real.contrib.GaLoreDimensionNumbers(0, 1))
    with pytest.raises(ValueError, match=r"axis 2 of an array of shape \(2, 2, 2\) has no part in it"):
        tx.init(jnp.ones((2, 2, 2)))
    tx = optax.contrib.scale_by_galore(1, base_optimizer=optax.add_decayed_weights(0.1))
    with pytest.raises(ValueError, match="update needs the parameters"):  # as in Optax it sees none
        tx.update(PARAMS, tx.init(PARAMS), PARAMS)
    tx = optax.contrib.scale_by_galore(1)
    with pytest.raises(ValueError, match=r"whose projection has shape \(2, 1\) there, expected \(3, 1\)"):
        tx.update({"w": jnp.ones((3, 2))}, tx.init({"w": jnp.ones((2, 2))}), {"w": jnp.ones((3, 2))})


def test_what_sm3_refuses():
    with pytest.raises(ValueError, match=r"params\['n'\]\['c'\] has no axes, and Optax's state has no place for it"):
        optax.sm3(0.1).init(PARAMS)
    with pytest.raises(ValueError, match="params is complex, and Optax's state has no place for it; leave it to"):
        optax.sm3(0.1).init(jnp.ones(2, complex))
    assert is_own(optax.scale_by_sm3(0.5))
    assert not is_own(optax.scale_by_sm3(0.5, b2=0.9))


# ---- Sophia ----


def test_what_sophia_refuses_and_leaves_to_optax():
    tx = optax.contrib.sophia(0.1)
    state = tx.init(PARAMS)
    with pytest.raises(TypeError, match=r"update needs obj_fn: call update\(updates, state, params, obj_fn=…\)"):
        tx.update(G, state, PARAMS)
    with pytest.raises(TypeError, match="obj_fn must be a function of the parameters, got an array"):
        tx.update(G, state, PARAMS, obj_fn=jnp.ones(1))
    with pytest.raises(ValueError, match="update needs the parameters"):
        tx.update(G, state, obj_fn=loss)
    with pytest.raises(TypeError, match="random_seed must be a whole number or a key"):
        optax.contrib.hutchinson_estimator_diag_hessian(jnp.ones(3))
    for options in (dict(verbose=True, print_win_rate_every_n_steps=1), dict(mu_dtype=jnp.bfloat16)):
        assert not is_own(optax.contrib.sophia(0.1, **options))


def test_estimates_are_optaxs_to_the_last_digits():
    for key in (None, jax.random.key(5), jax.random.PRNGKey(7)):
        own, theirs = (m.contrib.hutchinson_estimator_diag_hessian(key) for m in (optax, real))
        got, expected = (tx.update(G, tx.init(PARAMS), PARAMS, obj_fn=loss)[0] for tx in (own, theirs))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), got, expected)


# ---- conditions, and other forms of trees ----


def test_conditions_that_are_no_truth_values():
    for wrapper in (optax.conditionally_mask, optax.conditionally_transform):
        for wrong, got in ((lambda step: step, "int32"), (lambda step: jnp.array([True]), r"bool\[1\]")):
            tx = wrapper(optax.sgd(0.1), wrong)
            with pytest.raises(TypeError, match=f"should_transform_fn must return one truth value, got {got}"):
                tx.update(G, tx.init(PARAMS), PARAMS)
        tx = wrapper(optax.sgd(0.1), lambda step: True)
        np.testing.assert_allclose(tx.update(G, tx.init(PARAMS), PARAMS)[0]["b"], -0.1 * G["b"], rtol=1e-6)


def test_arrays_of_several_dtypes_in_one_vector():
    w = {"a": jnp.ones((2, 2), jnp.bfloat16), "b": None, "c": jnp.ones(3), "d": jnp.ones((), complex)}
    tx = optax.flatten(optax.scale(-0.5))
    updates, _ = tx.update(w, tx.init(w), w)
    for name in ("a", "c", "d"):
        assert (updates[name].shape, updates[name].dtype) == (w[name].shape, w[name].dtype)
        np.testing.assert_array_equal(updates[name], -0.5 * w[name])
    empty = optax.flatten(optax.adam(0.1))
    assert empty.update({}, empty.init({}), {})[0] == {}


def test_norms_see_all_arrays_as_one():
    tx = optax.flatten(optax.clip_by_block_rms(0.1))
    assert float(optax.global_norm(tx.update(G, tx.init(PARAMS), PARAMS)[0])) == pytest.approx(0.1 * 7**0.5)


def test_parts_of_a_complex_array_are_arrays_of_their_own():
    z = jnp.array([3.0 + 4.0j, 0.0 + 1.0j])
    for m in (optax, real):
        tx = m.contrib.split_real_and_imaginary(m.clip_by_block_rms(1.0))
        np.testing.assert_allclose(tx.update(z, tx.init(z), z)[0], [2**0.5 + 1.37199j, 0.342997j], rtol=1e-5)


# ---- line searches and averages ----


@pytest.mark.slow
def test_a_search_starts_anew_after_a_step_of_zero():
    def search(m: Any, state: Any, value_fn: Any) -> Any:
        w = jnp.array([2.0])
        value, g = jax.value_and_grad(value_fn)(w)
        tx = m.scale_by_backtracking_linesearch(5)
        return tx.update(-g, tx.init(w) if state is None else state, w, value=value, grad=g, value_fn=value_fn)

    for m, goes_on in ((optax, True), (real, False)):
        _, state = search(m, None, lambda w: jnp.where(w[0] == 2.0, jnp.sum(w), jnp.nan))
        assert float(state.learning_rate) == 0.0
        updates, state = search(m, state, lambda w: jnp.sum(w**2))
        assert (float(state.learning_rate) > 0.0) == goes_on == (float(updates[0]) < 0.0)


@pytest.mark.slow
def test_a_loss_and_its_gradient_are_read_from_the_state():
    for search in (optax.scale_by_zoom_linesearch(10), optax.scale_by_backtracking_linesearch(10, store_grad=True)):
        tx = optax.chain(optax.sgd(1.0), search)
        value, g = jax.value_and_grad(loss)(PARAMS)
        updates, state = tx.update(g, tx.init(PARAMS), PARAMS, value=value, grad=g, value_fn=loss)
        params = optax.apply_updates(PARAMS, updates)
        found = optax.value_and_grad_from_state(loss)(params, state=state)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), found, jax.value_and_grad(loss)(params))


def test_the_average_of_schedule_free():
    tx = optax.contrib.schedule_free_sgd(0.1)
    updates, state = tx.update(G, tx.init(PARAMS), PARAMS)
    params = optax.apply_updates(PARAMS, updates)
    own, theirs = (m.contrib.schedule_free_eval_params(state, params) for m in (optax, real))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), own, theirs)
    with pytest.raises(ValueError, match="must be a ScheduleFreeState, got tuple; of a chain hand in the part"):
        optax.contrib.schedule_free_eval_params((state,), params)


def test_names_that_optax_will_take_away_warn_as_there():
    for m in (optax, real):
        with pytest.warns(DeprecationWarning, match="`optimistic_adam` is deprecated, please use `optimistic_adam_v2`"):
            tx = m.optimistic_adam(0.1)
        with pytest.warns(DeprecationWarning, match="inject_stateful_hyperparams"):
            m.inject_stateful_hyperparams(m.sgd)
        tx.update(G, tx.init(PARAMS), PARAMS)  # which is no such call
    rate = optax.linear_schedule(0.1, 0.0, 3)
    with (
        pytest.warns(DeprecationWarning, match="use `optimistic_adam_v2`"),
        pytest.raises(ValueError, match="does not support learning rate schedules"),
    ):
        optax.optimistic_adam(rate)
