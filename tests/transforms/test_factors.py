"""Rates by array and by unit: against groups by hand, swept, learned, scheduled, and what is refused."""

import pickle
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import gradtx as gx
from gradtx.core import transformation
from tests.refusals import refused

compiled_update: Any = transformation.compiled_update
untyped: Any = gx
PARAMS: dict[str, Any] = {
    "embed": jnp.ones((5, 2)),
    "blocks": [{"w": jnp.ones((2, 2)), "b": jnp.ones(2)} for _ in range(3)],
    "head": jnp.ones((2, 3)),
}


def equal(one, other):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), one, other)


def walked(tx, loss, params, steps):
    """The parameters after some steps down a loss."""

    def body(carry, _):
        params, state = carry
        updates, state = tx.update(jax.grad(loss)(params), state, params)
        return (gx.apply_updates(params, updates), state), None

    return jax.lax.scan(body, (params, tx.init(params)), length=steps)[0][0]


def quartic(params):
    return sum(jnp.sum((x - 0.3) ** 4) for x in jax.tree.leaves(params))


def test_a_prefix_a_full_tree_and_groups_by_hand_are_the_same():
    prefix = {"embed": 0.1, "blocks": [1.0, 0.5, 0.25], "head": 2.0}
    full = jax.tree.map(lambda c, own: jax.tree.map(lambda _: c, own), prefix, PARAMS)
    groups = [(gx.by_path(f"blocks/{i}"), gx.adamw(0.1 * c)) for i, c in enumerate(prefix["blocks"])]
    by_hand = gx.partition((gx.by_path("embed"), gx.adamw(0.01)), *groups, default=gx.adamw(0.2))
    expected = walked(by_hand, quartic, PARAMS, 4)
    for factors in (prefix, full, jax.tree.map(np.float32, prefix), jax.tree.map(jnp.asarray, full)):
        equal(walked(gx.chain(gx.adamw(0.1), gx.scale_by_tree(factors)), quartic, PARAMS, 4), expected)


def test_factors_from_widths_as_in_mup():
    """Adam's rate of a hidden matrix goes with the inverse of its fan-in, that of the embedding does not."""

    def model(width):
        return {"embed": jnp.ones((7, width)), "hidden": jnp.ones((width, width)), "bias": jnp.ones(width)}

    factors = jax.tree.map(lambda base, x: base.shape[0] / x.shape[0] if x.ndim == 2 else 1.0, model(8), model(32))
    tx = gx.chain(gx.scale_by_adam(), gx.scale_by_tree(factors), gx.scale_by_learning_rate(0.1))
    updates, _ = tx.update(model(32), tx.init(model(32)), model(32))
    assert {name: round(float(x.ravel()[0]), 4) for name, x in updates.items()} == {
        "embed": -0.1, "hidden": -0.025, "bias": -0.1,
    }  # fmt: skip


def test_one_factor_per_unit_broadcasts():
    units, layers = jnp.array([1.0, 2.0, 4.0]), jnp.array([1.0, 0.5]).reshape(2, 1, 1)
    g = {"w": jnp.ones((2, 3)), "stacked": jnp.ones((2, 4, 3)), "z": 1j * jnp.ones((2, 3))}
    tx = gx.scale_by_tree({"w": units, "stacked": layers, "z": units})
    updates, _ = tx.update(g, tx.init(g))
    by_unit = np.broadcast_to(units, (2, 3))
    equal(updates, {"w": by_unit, "stacked": np.broadcast_to(layers, (2, 4, 3)), "z": 1j * by_unit})
    assert {name: x.dtype for name, x in updates.items()} == {name: x.dtype for name, x in g.items()}
    half = {"w": jnp.ones((2, 3), jnp.bfloat16)}
    assert gx.scale_by_tree(units).update(half, tx.init(g))[0]["w"].dtype == jnp.bfloat16


def test_in_frameworks():
    model: Any = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
    tx = gx.chain(gx.sgd(1.0), gx.scale_by_tree({"kernel": 0.5, "bias": jnp.array([1.0, 2.0, 3.0])}))
    optimizer = nnx.Optimizer(model, optax.GradientTransformation(*tx), wrt=nnx.Param)
    bias, kernel = (jnp.copy(x[...]) for x in (model.bias, model.kernel))
    optimizer.update(model, nnx.grad(lambda m: jnp.sum(m(jnp.ones(2))))(model))
    np.testing.assert_allclose(model.bias[...] - bias, [-1.0, -2.0, -3.0], rtol=1e-6)
    np.testing.assert_allclose(model.kernel[...] - kernel, -0.5 * np.ones((2, 3)), rtol=1e-6)
    halves = jax.tree.map(lambda x: 0.5, nnx.state(model, nnx.Param))
    assert gx.scale_by_tree(halves) == gx.scale_by_tree({"bias": 0.5, "kernel": 0.5})


def test_other_factors_compile_nothing():
    compiled_update.clear_cache()  # JAX keeps so many programs in all, and lets go of the oldest
    tx = gx.chain(gx.sgd(0.1), gx.scale_by_tree({"a": 0.5, "b": jnp.ones(2)}))
    g = {"a": jnp.ones(2), "b": jnp.ones(2)}
    state, before = tx.init(g), compiled_update._cache_size()
    for factors in ({"a": 0.5, "b": jnp.ones(2)}, {"a": 2.0, "b": jnp.array([3.0, 4.0])}):
        updates, state = tx.replace(factors=factors).update(g, state, g)
        equal(updates, {name: -0.1 * jnp.ones(2) * factors[name] for name in g})
    assert compiled_update._cache_size() == before + 1


def test_it_is_a_value():
    tx = gx.scale_by_tree({"a": 1, "b": {"c": np.float32(0.5), "d": None}})
    assert repr(tx) == "scale_by_tree(factors=(('a', 1.0), ('b/c', np.float32(0.5))))"
    assert tx == gx.scale_by_tree((("a", 1.0), ("b/c", np.float32(0.5))))
    assert tx != gx.scale_by_tree({"a": 1, "b": {"e": np.float32(0.5)}})
    assert gx.from_config(gx.to_config(tx)) == tx
    assert gx.hyperparameters(tx) == {"factors[0][1]": 1.0, "factors[1][1]": np.float32(0.5)}
    assert tx.replace(**{"factors[0][1]": 3.0}) == tx.replace(factors={"a": 3.0, "b": {"c": np.float32(0.5)}})
    source = np.ones(3)
    arrays = gx.scale_by_tree({"a": source, "b": jnp.ones((2, 1))})
    assert repr(arrays) == "scale_by_tree(factors=(('a', float64[3]), ('b', float64[2, 1])))"
    assert pickle.loads(pickle.dumps(arrays)) == arrays
    assert len(jax.tree.leaves(arrays)) == 2
    source[0] = 7.0  # which is a copy's, not the value's
    assert arrays == gx.scale_by_tree({"a": np.ones(3), "b": jnp.ones((2, 1))})
    with refused(TypeError, "to_config: factors[0][1] is float64[3], for which no plain data can stand; hand it in"):
        gx.to_config(arrays)
    named = {"units": np.ones(3), "layers": np.ones((2, 1))}
    assert gx.from_config(gx.to_config(arrays, named), named) == arrays


def test_a_sweep_over_factors():
    swept = {"a": jnp.array([0.1, 1.0, 2.0]), "b": jnp.ones((3, 2)) * jnp.array([[1.0], [2.0], [3.0]])}
    g = {"a": jnp.ones(2), "b": jnp.ones(2)}

    def moved(factors):
        tx = gx.chain(gx.sgd(0.1, momentum=0.9), gx.scale_by_tree(factors))
        return walked(tx, quartic, g, 3)

    together = jax.vmap(moved)(swept)
    for i in range(3):
        equal(jax.tree.map(lambda x, i=i: x[i], together), moved(jax.tree.map(lambda x, i=i: x[i], swept)))


def test_learned_rates():
    """The gradient of the loss behind some steps with respect to the factors, of which one is an array."""
    g = {"a": jnp.array([1.0, 2.0]), "b": jnp.array([1.0, -1.0])}
    factors = {"a": jnp.array(0.7), "b": jnp.array([0.5, 1.5])}

    def after(factors):
        return quartic(walked(gx.chain(gx.sgd(0.01, momentum=0.5), gx.scale_by_tree(factors)), quartic, g, 3))

    slopes = jax.jit(jax.grad(after))(factors)
    for name, i in (("a", ()), ("b", 0), ("b", 1)):
        high, low = ({**factors, name: factors[name].at[i].add(h)} for h in (1e-5, -1e-5))
        np.testing.assert_allclose(slopes[name][i], (after(high) - after(low)) / 2e-5, rtol=1e-6)
        assert slopes[name][i] < 0


def test_a_factor_may_be_a_schedule_or_live_in_the_state():
    tx = gx.scale_by_tree({"a": gx.linear(1.0, 0.0, 4), "b": 3.0, "c": gx.controlled(0.5)})
    g = {name: jnp.ones(1) for name in "abc"}
    state = gx.set_hyperparameters(tx, tx.init(g), **{"factors[2][1]": 2.0})
    for _ in range(3):
        updates, state = tx.update(g, state)
    assert {name: float(x[0]) for name, x in updates.items()} == {"a": 0.5, "b": 3.0, "c": 2.0}
    assert gx.find(state, "hyperparams/a") == 0.5
    now = gx.hyperparameters(tx, state)
    assert [float(x) for x in now.values()] == [0.25, 3.0, 2.0]
    alone = gx.scale_by_tree(lambda t: 1.0 / (t + 1))
    _, state = alone.update(g, alone.init(g))
    assert gx.hyperparameters(alone, state)["factors"] == 0.5


def test_frozen_arrays_have_no_factor_to_be_named():
    g = {"a": jnp.ones(2), "frozen": None}
    tx = gx.scale_by_tree({"a": 0.5, "frozen": None})
    equal(tx.update(g, tx.init(g))[0]["a"], 0.5 * g["a"])
    inside = gx.masked(gx.scale_by_tree({"a": 0.5, "b": 3.0}), gx.by_path("a"))
    both = {"a": jnp.ones(2), "b": jnp.ones(2)}
    equal(inside.update(both, inside.init(both))[0], {"a": 0.5 * both["a"], "b": both["b"]})


TREES = {
    "scale_by_tree: the tree of factors has nothing for b/w; it has a": {"a": 1.0},
    "scale_by_tree: the tree of factors has nothing for a; it has no place": {},
    "scale_by_tree: the tree of factors has c, at which there is no array": {"a": 1.0, "b": 1.0, "c": 1.0},
    "scale_by_tree: the factor at b is of shape (3,), which does not broadcast to (4, 2), that of b/w": {
        "a": 1.0, "b": jnp.ones(3),
    },
    "scale_by_tree: the factor at a is of shape (2, 1), which does not broadcast to (1,), that of a": {
        "a": jnp.ones((2, 1)), "b": 1.0,
    },
}  # fmt: skip


@pytest.mark.parametrize("message", TREES)
def test_trees_that_do_not_fit(message):
    tx, params = gx.scale_by_tree(TREES[message]), {"a": jnp.ones(1), "b": {"w": jnp.ones((4, 2))}}
    with refused(ValueError, message):
        tx.init(params)
    with refused(ValueError, message):
        jax.jit(tx.update)(params, gx.scale_by_tree(1.0).init(params))


NUMBERS = {
    "scale_by_tree: factors at a must be a number, a scalar array or a schedule, got str 'x'": {"a": "x"},
    "scale_by_tree: factors at a/0 must be a number, a scalar array or a schedule, got bool True": {"a": [True]},
    "scale_by_tree: factors must be finite, got nan": np.nan,
    "scale_by_tree: factors at a must be finite, got float64[2] with NaN or infinity in it": {
        "a": np.array([1.0, np.inf]),
    },
    "scale_by_tree: factors at a must be an array of real numbers, got complex128[2]": {"a": np.ones(2, complex)},
    "scale_by_tree: factors at a must be an array of real numbers, got bool[2]": {"a": np.ones(2, bool)},
    "scale_by_tree: the schedule given for factors at a must return a real scalar": {"a": lambda t: "x"},
    "scale_by_tree: factors must be a number, a scalar array or a schedule, got str 'encoder'": "encoder",
}  # fmt: skip


@pytest.mark.parametrize("message", NUMBERS)
def test_what_is_no_factor(message):
    with refused((TypeError, ValueError), message):
        untyped.scale_by_tree(NUMBERS[message])


def test_a_state_of_another_tree_is_refused():
    g = {"a": jnp.ones(1)}
    tx = gx.scale_by_tree({"a": gx.constant(1.0)})
    with refused(TypeError, "scale_by_tree: the state is an EmptyState, expected ScheduledState"):
        tx.update(g, gx.scale_by_tree({"a": 1.0}).init(g))
    with refused(ValueError, "scale_by_tree: the state holds all, expected a: it was made by another optimizer"):
        tx.update(g, gx.scale_by_tree(gx.constant(1.0)).init(g))


def test_explain_shows_the_factors():
    shown = str(gx.explain(gx.scale_by_tree({"embed": 0.1, "blocks": jnp.ones(2), "head": gx.constant(2.0)}), PARAMS))
    assert re.search(r"embed +\(5, 2\) +times 0.1\n", shown)
    assert re.search(r"blocks/0/b +\(2,\) +times float64\[2\]\n", shown)
    assert re.search(r"head +\(2, 3\) +times constant\(value=2.0\)$", shown)
