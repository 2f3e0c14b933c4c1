"""The differences that the docstring of gradtx.optax lists, each beside what Optax does."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax as optax_itself
import pytest

import gradtx.optax as optax
from gradtx.testing import (
    check_transformation,
    differentiates,
    every_hyperparameter_matters,
    half_precision_computes_in_float32,
    second_call_traces_nothing,
    state_keeps_its_form,
    value_round_trips,
    vmap_sweeps_the_numbers,
)

real: Any = optax_itself


def first_update(tx, g, params, **extra):
    return tx.update(g, tx.init(params), params, **extra)


def test_moments_are_in_at_least_float32():
    w = jnp.ones(2, jnp.bfloat16)
    for module, dtype in ((optax, jnp.float32), (real, jnp.bfloat16)):
        updates, state = first_update(module.adam(0.1), w, w)
        assert (updates.dtype, state[0].nu.dtype) == (jnp.bfloat16, dtype)


def test_a_complex_array_is_a_pair_of_real_ones():
    g = jnp.array([3.0 + 4.0j])
    np.testing.assert_allclose(first_update(optax.scale_by_adam(), g, g)[0], [1.0 + 1.0j], rtol=1e-6)
    np.testing.assert_allclose(first_update(real.scale_by_adam(), g, g)[0], [0.6 + 0.8j], rtol=1e-6)


def test_what_is_refused():
    w = jnp.ones(2)
    with pytest.raises(TypeError, match="adam: the state is a ScaleByRmsState, expected ScaleByAdamState"):
        optax.adam(0.1).update(w, optax.rmsprop(0.1).init(w)[:2], w)
    with pytest.raises(ValueError, match=r"adam: updates has shape \(1,\), its parameter has \(2,\)"):
        first_update(optax.adam(0.1), jnp.ones(1), w)
    with pytest.raises(TypeError, match="sgd: updates must be floating-point or complex, got int64"):
        first_update(optax.sgd(0.1), jnp.array([1]), jnp.array([1]))
    for wrong in (real.rmsprop(0.1).init(w)[:2], real.adam(0.1).init(w)):
        np.testing.assert_allclose(real.sgd(0.1).update(w, wrong)[0], -0.1 * w)  # Optax goes on


def test_apply_updates_leaves_alone_what_has_none():
    assert optax.apply_updates({"w": 1.0, "key": "a"}, {"w": 1.0, "key": None}) == {"w": 2.0, "key": "a"}
    with pytest.raises(TypeError):
        real.apply_updates({"w": 1.0, "key": "a"}, {"w": 1.0, "key": None})


def test_each_array_has_its_own_hole():
    params = {"w": jnp.ones(2), "rest": {"a": jnp.ones(2), "b": jnp.ones(2)}}
    hole = optax.MaskedNode()
    for module, rest in ((optax, {"a": hole, "b": hole}), (real, hole)):
        state = module.masked(module.trace(0.9), {"w": True, "rest": False}).init(params)
        assert state.inner_state.trace["rest"] == rest


def test_a_plateau_of_negative_values():
    scales = []
    for module in (optax, real):
        tx = module.contrib.reduce_on_plateau(0.5, patience=1, rtol=0.1)
        state = tx.init(None)
        for value in (-10.0, -9.5):  # worse, but above -10 · (1 - 0.1) it is not
            _, state = tx.update(jnp.ones(1), state, value=value)
        scales.append(float(state.scale))
    assert scales == [0.5, 1.0]


def test_lbfgs_leaves_out_a_pair_without_curvature():
    after = []
    for module in (optax, real):
        tx, w = module.scale_by_lbfgs(3), jnp.array([1.0, 2.0])
        state = tx.init(w)
        for factor, step in ((1.0, 0.0), (2.0, 1.0), (-1.0, 1.0)):  # at last the gradient turns against the step
            w = w + step
            direction, state = tx.update(factor * w, state, w)
        after.append((float(direction @ (factor * w)), [*map(np.sign, state.weights_memory.tolist())]))
    (own, weights), (theirs, their_weights) = after
    assert own > 0.0 > theirs  # which leads uphill
    assert weights == [1, 0, 0]
    assert their_weights == [1, -1, 0]


@pytest.mark.parametrize(
    "tx",
    [
        optax.chain(optax.clip_by_global_norm(0.3), optax.adamw(0.1, weight_decay=0.1)),
        optax.rmsprop(0.1, momentum=0.9),
        optax.masked(optax.adam(0.1), True),
    ],
    ids=str,
)
def test_laws(tx):
    laws = [value_round_trips, state_keeps_its_form, second_call_traces_nothing, vmap_sweeps_the_numbers]
    laws += [every_hyperparameter_matters, half_precision_computes_in_float32, differentiates]
    check_transformation(tx, laws=laws, needs_params=True).raise_if_broken()
    assert jax.tree.leaves(tx)
