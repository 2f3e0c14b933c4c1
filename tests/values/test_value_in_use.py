"""Values in rougher hands: odd arguments, donation, functions that come and go, other people's wrappers."""

import functools
import gc
import weakref
from typing import Any

import cloudpickle
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import gradtx as gx
from gradtx.core import transformation

compiled_update: Any = transformation.compiled_update


@gx.transformation
def centre(axis: int | bool | None = 0):
    return gx.stateless(lambda g: g - jnp.mean(g, axis=None if axis is False else axis, keepdims=True))


def test_zero_and_false_are_different_static_arguments():
    g = jnp.array([[1.0, 2.0], [3.0, 4.0]])
    assert centre(0) != centre(False)
    assert repr(centre(False)) == "centre(axis=False)"
    by_column, whole = (centre(axis).update(g, centre(axis).init(g))[0] for axis in (0, False))
    np.testing.assert_allclose(by_column, [[-1, -1], [1, 1]])
    np.testing.assert_allclose(whole, [[-1.5, -0.5], [0.5, 1.5]])
    structures = [jax.tree.structure(centre(axis)) for axis in (0, 0, False, None)]
    assert structures[0] == structures[1]
    assert len({*structures}) == 3
    assert structures[2].unflatten([]) == centre(False)


@gx.transformation
def multiplied(by: jax.Array):
    return gx.stateless(lambda g: by * g)


def test_an_array_argument_is_a_leaf():
    rows = jnp.arange(6.0).reshape(2, 3)
    tx = multiplied(rows[1])
    assert len(jax.tree.leaves(tx)) == 1
    assert tx == multiplied(rows[1])
    assert tx != multiplied(rows[0])
    made_inside = jax.jit(multiplied)(rows[1])
    np.testing.assert_allclose(made_inside.update(jnp.ones(3), made_inside.init(jnp.ones(3)))[0], rows[1])
    key = multiplied(jax.random.key(0))
    assert hash(key) == hash(multiplied(jax.random.key(0)))
    assert key != multiplied(jax.random.key(1))
    assert multiplied(jnp.zeros(2, jnp.float32)) != multiplied(jnp.zeros(2, jnp.int32))


def test_the_state_never_aliases_a_hyperparameter():
    rate = jnp.float64(0.1)
    for tx in (gx.sgd(rate), gx.sgd(gx.constant(rate)), gx.sgd(lambda t: rate)):

        @functools.partial(jax.jit, donate_argnums=0, keep_unused=True)
        def step(state, g, tx=tx):
            return tx.update(g, state)[1]

        step(tx.init(jnp.ones(2)), jnp.ones(2))
        assert float(rate) == 0.1


def test_a_numpy_hyperparameter_is_not_changed_from_outside():
    number = np.array(0.5)
    tx = gx.scale(number)
    number[...] = 2.0
    assert tx == gx.scale(np.float64(0.5))


def test_functions_in_values_go_with_them():
    def once():
        schedule = lambda t: 0.1  # noqa: E731
        tx = gx.sgd(schedule)
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)))
        return weakref.ref(schedule)

    compiled_update.clear_cache()  # JAX keeps so many programs in all, and lets go of the oldest
    before = compiled_update._cache_size()
    gone = once()
    gc.collect()
    assert gone() is None
    assert compiled_update._cache_size() == before


def test_a_schedule_that_closes_over_a_tracer_leaks_nothing():
    def step(rate):
        tx = gx.sgd(lambda t: rate * 0.5**t)
        return tx.update(jnp.ones(2), tx.init(jnp.ones(2)))[0][0]

    with jax.checking_leaks():
        np.testing.assert_allclose(jax.grad(step)(0.1), -1.0)


def test_python_bools_among_the_extra_arguments_stay_python():
    @gx.transformation
    def zero_unless_last():
        def update(updates, state, params=None, *, last):
            return (updates if last else jax.tree.map(jnp.zeros_like, updates)), state

        return lambda params: (), update

    tx = gx.chain(gx.scale(2.0), zero_unless_last())
    for last in (True, False):
        updates, _ = tx.update(jnp.ones(2), tx.init(jnp.ones(2)), last=last)
        np.testing.assert_allclose(updates, 2.0 * last)


def test_a_positional_extra_argument_is_one_too():
    @gx.transformation
    def scale_by_value():
        def update(updates, state, params=None, value=None):
            return jax.tree.map(lambda u: u * value, updates), state

        return lambda params: (), update

    tx = gx.chain(scale_by_value())
    np.testing.assert_allclose(tx.update(jnp.ones(2), tx.init(jnp.ones(2)), value=3.0)[0], 3.0)


def test_an_extra_argument_reaches_a_transformation_with_a_schedule():
    @gx.transformation
    def scale_by_loss(power: gx.Scalar = 1.0):
        def update(updates, state, params=None, *, loss):
            return jax.tree.map(lambda u: u * loss**power, updates), state

        return lambda params: (), update

    tx = gx.chain(gx.scale(1.0), scale_by_loss(gx.linear(1.0, 2.0, 1)))
    state = tx.init(jnp.ones(2))
    for expected in (3.0, 9.0):
        updates, state = tx.update(jnp.ones(2), state, loss=3.0)
        np.testing.assert_allclose(updates, expected)


def test_a_factory_that_builds_others_takes_a_schedule():
    @gx.transformation
    def twice(decay: gx.Decay = 0.9):
        average = gx.ema(decay)

        def update(updates, state, params=None):
            updates, state = average.update(updates, state, params)
            return jax.tree.map(lambda u: 2.0 * u, updates), state

        return average.init, update

    tx = twice(gx.constant(0.5))
    np.testing.assert_allclose(tx.update(jnp.ones(2), tx.init(jnp.ones(2)))[0], 1.0)


def test_a_formula_may_have_defaults_and_a_rule_is_a_pair():
    pair: Any = gx.stateless(lambda g, c=0.5: c * g)
    init, update = pair
    np.testing.assert_allclose(update(jnp.ones(2), init(None), jnp.full(2, 7.0))[0], 0.5)
    tx: Any = optax.chain(gx.stateless(jax.lax.rsqrt))
    np.testing.assert_allclose(tx.update(jnp.full(2, 4.0), tx.init(None))[0], 0.5)


def test_values_made_in_functions_survive_cloudpickle():
    @gx.transformation
    def halved(by: gx.Positive = 2.0):
        return gx.stateless(lambda g: g / by)

    tx = cloudpickle.loads(cloudpickle.dumps(gx.chain(halved(4.0))))
    np.testing.assert_allclose(tx.update(jnp.ones(2), tx.init(jnp.ones(2)))[0], 0.25)


def test_tuple_methods_do_not_take_a_value_apart():
    tx, w = gx.sgd(0.1), jnp.ones(2)
    other = tx._replace(init=lambda params: "fresh")  # as Optax's wrappers do: a plain pair
    assert type(other) is optax.GradientTransformationExtraArgs
    assert other.init(w) == "fresh"
    np.testing.assert_allclose(jax.tree.leaves(other.update(w, tx.init(w))[0])[0], -0.1)
    with pytest.raises(TypeError, match="learning_rate stands inside of another one that is replaced"):
        gx.chain(gx.sgd(0.1)).replace(**{"parts[0]": gx.sgd(0.2), "parts[0].learning_rate": 0.9})


def test_flax_nnx_takes_arrays_for_hyperparameters():
    nnx.Optimizer(nnx.Linear(2, 2, rngs=nnx.Rngs(0)), gx.adam(jnp.float32(0.1)), wrt=nnx.Param)


def test_float8_updates_keep_their_dtype():
    g = jnp.array([1.0, -2.0], jnp.float8_e4m3fn)
    updates, _ = gx.sgd(0.5).update(g, gx.sgd(0.5).init(g))
    assert updates.dtype == jnp.float8_e4m3fn
    np.testing.assert_allclose(updates.astype(jnp.float32), [-0.5, 1.0])


def test_optax_inject_hyperparams_and_tree_map_params():
    tx: Any = optax.inject_hyperparams(gx.adamw)(learning_rate=0.1)
    state = tx.init(jnp.ones(2))
    state.hyperparams["learning_rate"] = jnp.asarray(0.2)
    updates, _ = tx.update(jnp.ones(2), state, jnp.ones(2))
    np.testing.assert_allclose(updates, -0.2, rtol=1e-3)
    marked: Any = optax.tree_map_params(gx.adam(0.1), lambda x: "p", gx.adam(0.1).init({"w": jnp.ones(2)}))
    assert marked[0].mu == {"w": "p"}
