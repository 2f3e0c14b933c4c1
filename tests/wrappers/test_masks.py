"""Masks as users write them: a selector, a tree of booleans, a function of the parameters, on decay and elsewhere."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx
from tests.refusals import refused

PARAMS: Any = {"dense": {"kernel": jnp.ones((2, 3)), "bias": jnp.full(3, 2.0)}, "norm": {"scale": jnp.full(3, 0.5)}}
GRADS = jax.tree.map(lambda p: 0.1 * p, PARAMS)
TREE = {"dense": {"kernel": True, "bias": False}, "norm": {"scale": False}}


def matrices(params):
    """As Hugging Face's examples write it."""
    return jax.tree.map(lambda p: p.ndim > 1, params)


MASKS = {
    "selector": gx.by_ndim(at_least=2),
    "tree": TREE,
    "prefix": {"dense": {"kernel": True, "bias": False}, "norm": False},
    "function": matrices,
    "partial": functools.partial(jax.tree.map, lambda p: p.ndim > 1),
    "by": gx.by(matrices),
    "by path": lambda path, p: path.endswith("kernel"),
}


def steps(tx: Any) -> Any:
    params, state = PARAMS, tx.init(PARAMS)
    step = jax.jit(tx.update)
    for _ in range(3):
        updates, state = step(GRADS, state, params)
        params = optax.apply_updates(params, updates)
    return params


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS.keys())
@pytest.mark.parametrize("name", ["adamw", "nadamw", "lion"])
def test_decay_of_some_arrays(name, mask):
    ours = getattr(gx, name)(1e-2, weight_decay=0.3, mask=mask)
    theirs = getattr(optax, name)(1e-2, weight_decay=0.3, mask=matrices)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), steps(ours), steps(theirs))
    everywhere = steps(getattr(gx, name)(1e-2, weight_decay=0.3))
    assert not np.allclose(steps(ours)["norm"]["scale"], everywhere["norm"]["scale"])


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS.keys())
def test_wherever_a_selector_is_expected(mask):
    block = gx.add_decayed_weights(0.3)
    expected = steps(gx.chain(gx.masked(block, gx.by_ndim(2)), gx.sgd(0.1)))
    for tx in (gx.masked(block, mask), gx.add_decayed_weights(0.3, mask)):
        jax.tree.map(np.testing.assert_array_equal, steps(gx.chain(tx, gx.sgd(0.1))), expected)
    moved = steps(gx.only(gx.sgd(0.1), mask))
    assert [bool(jnp.any(x != y)) for x, y in zip(*map(jax.tree.leaves, (moved, PARAMS)), strict=True)] == [
        False,
        True,
        False,
    ]
    frozen = steps(gx.chain(gx.sgd(0.1), gx.freeze(mask)))
    np.testing.assert_array_equal(frozen["dense"]["kernel"], PARAMS["dense"]["kernel"])
    several = steps(gx.partition((mask, gx.sgd(0.1)), default=gx.sgd(0.0)))
    jax.tree.map(np.testing.assert_array_equal, several, moved)


def test_a_schedule_of_the_decay():
    tx = gx.adamw(1e-2, weight_decay=gx.linear(0.3, 0.0, 2), mask=matrices)
    free = gx.adamw(1e-2, weight_decay=0.0)
    got, plain = steps(tx), steps(free)
    np.testing.assert_allclose(got["dense"]["bias"], plain["dense"]["bias"], rtol=1e-6)
    assert not np.allclose(got["dense"]["kernel"], plain["dense"]["kernel"])
    assert "dense/kernel  (2, 3)  decayed" in str(gx.explain(tx, PARAMS))
    assert "norm/scale    (3,)    as it is" in str(gx.explain(tx, PARAMS))


def test_a_mask_is_part_of_the_value():
    tx = gx.adamw(1e-3, mask=TREE)
    where = gx.by_tree(("dense/kernel",), ("dense/bias", "norm/scale"))
    assert tx == gx.adamw(1e-3, mask=where)
    assert tx != gx.adamw(1e-3)
    assert repr(gx.adamw(1e-3, mask=gx.by_ndim(2))) == "adamw(learning_rate=0.001, mask=by_ndim(at_least=2))"
    assert gx.from_config(gx.to_config(tx)) == tx
    assert tx.replace(mask=None) == gx.adamw(1e-3)


def test_a_model_that_can_be_called_is_a_tree():
    """What decides is whether it is a tree, not whether it can be called."""
    model = eqx.nn.Linear(2, 3, key=jax.random.key(0))
    mask = eqx.tree_at(lambda m: m.bias, jax.tree.map(lambda _: True, model), replace=False)
    assert callable(mask)
    tx = gx.only(gx.sgd(0.1), mask)
    updates, _ = tx.update(model, tx.init(model), model)
    np.testing.assert_array_equal(updates.bias, 0.0)
    np.testing.assert_allclose(updates.weight, -0.1 * model.weight, rtol=1e-6)


def test_a_mask_that_means_nothing():
    """Most often that is a slip; where it is meant, `maybe` says so."""
    never = lambda params: jax.tree.map(lambda p: False, params)  # noqa: E731
    with refused(ValueError, "add_decayed_weights: mask, by(function=") as caught:
        gx.adamw(1e-3, mask=never).init(PARAMS)
    assert "matches no array of dense/bias" in str(caught.value)
    assert "write maybe(…) around it" in str(caught.value)
    plain = steps(gx.adamw(1e-2, weight_decay=0.0))
    for mask in (never, gx.by_path("adapter"), False, jax.tree.map(lambda p: False, PARAMS)):
        tx = gx.adamw(1e-2, weight_decay=0.3, mask=gx.maybe(mask))
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), steps(tx), plain)
        jax.tree.map(np.testing.assert_array_equal, steps(gx.only(gx.sgd(0.1), gx.maybe(mask))), PARAMS)
        frozen = gx.chain(gx.sgd(0.1), gx.freeze(gx.maybe(mask)))
        jax.tree.map(np.testing.assert_array_equal, steps(frozen), steps(gx.sgd(0.1)))
        groups = gx.partition((gx.maybe(mask), gx.sgd(0.0)), default=gx.sgd(0.1))
        jax.tree.map(np.testing.assert_array_equal, steps(groups), steps(gx.sgd(0.1)))


def test_what_a_function_may_return():
    for returned, message in {
        "x": "what the function returns must be a selector, a tree of booleans or a function, got str 'x'",
        3: "what the function returns must be a selector, a tree of booleans or a function, got int 3",
    }.items():
        with refused(TypeError, message):
            gx.adamw(1e-3, mask=lambda params: returned).init(PARAMS)  # noqa: B023
    with refused(TypeError, "by: the function must take a path and an array, or a tree, got one of 3 arguments"):
        gx.adamw(1e-3, mask=lambda a, b, c: True)


def test_a_part_of_a_selector_may_be_empty():
    lost, other, there = gx.by_path("lost"), gx.by_path("gone"), gx.by_path("norm")
    for where in (gx.maybe(lost) | gx.maybe(other), gx.maybe(lost) & there, there & gx.maybe(lost)):
        jax.tree.map(np.testing.assert_array_equal, steps(gx.only(gx.sgd(0.1), where)), PARAMS)
    for where in (gx.maybe(lost) | other, ~gx.maybe(gx.by_ndim(1))):
        with refused(ValueError, "matches no array of"):
            gx.only(gx.sgd(0.1), where).init(PARAMS)
    behind = gx.partition((there, gx.sgd(0.1)), (gx.maybe(there), gx.adam(0.1)), default=gx.sgd(0.1))
    jax.tree.map(np.testing.assert_array_equal, steps(behind), steps(gx.sgd(0.1)))
    with refused(ValueError, "takes nothing: rules before it take norm/scale"):
        gx.partition((there, gx.sgd(0.1)), (there, gx.adam(0.1)), default=gx.sgd(0.1)).init(PARAMS)


@pytest.mark.parametrize("function", [lambda path, x: x.ndim > 1, matrices], ids=["path and array", "tree"])
def test_functions_are_asked_about_arrays_alone(function):
    """A model has functions, words and keys in it, of which nobody asks the number of dimensions."""
    model = PARAMS | {"activation": jax.nn.relu, "name": "net", "key": jax.random.key(0)}
    grads = GRADS | {"activation": None, "name": None, "key": None}
    for tx in (
        gx.only(gx.sgd(0.1), function),
        gx.chain(gx.masked(gx.scale(0.5), function), gx.sgd(0.1)),
        gx.partition((function, gx.sgd(0.1)), default=gx.sgd(0.2)),
        gx.chain(gx.sgd(0.1), gx.freeze(function)),
        gx.adamw(0.1, mask=function),
    ):
        updates: Any = tx.update(grads, tx.init(model), model)[0]
        assert updates["activation"] is updates["key"] is None
        alone, _ = tx.update(GRADS, tx.init(PARAMS), PARAMS)
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), {k: updates[k] for k in PARAMS}, alone)


def test_names_with_a_slash_in_them():
    """As Haiku has them: a module and one inside of it stand side by side."""
    params = {"net": {"w": jnp.ones(2)}, "net/norm": {"scale": jnp.ones(2)}}
    tx = gx.only(gx.sgd(1.0), {"net": True, "net/norm": False})
    updates: Any = tx.update(params, tx.init(params), params)[0]
    np.testing.assert_array_equal(updates["net"]["w"], -1.0)
    np.testing.assert_array_equal(updates["net/norm"]["scale"], 0.0)
    factors = gx.scale_by_tree({"net": 2.0, "net/norm": 3.0})
    updates = factors.update(params, factors.init(params))[0]
    np.testing.assert_array_equal(updates["net"]["w"], 2.0)
    np.testing.assert_array_equal(updates["net/norm"]["scale"], 3.0)
    with refused(ValueError, "scale_by_tree: factors has several places that are written net/w"):
        gx.scale_by_tree({"net": {"w": 2.0}, "net/w": 3.0})
