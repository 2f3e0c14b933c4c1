"""NumPy's arrays, Python's numbers and shapes in the place of JAX's arrays: a restored state, one that is written into,
parameters of floats, `init` without any memory.
"""

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx
from gradtx.core.transformation import run_update
from gradtx.testing.excuses import holds_codes
from tests.catalogue import BLOCKS, TRANSFORMATIONS
from tests.trees import signature, tree

MEMBERS = [pytest.param(member, id=repr(member.tx), marks=pytest.mark.slow) for member in TRANSFORMATIONS]
WITHOUT_CODES = [param for param, member in zip(MEMBERS, TRANSFORMATIONS, strict=True) if not holds_codes(member)]
every_member = pytest.mark.parametrize("member", MEMBERS)
# Arrays are made of NumPy's and of numbers once for all formulas: a factory's further options change nothing of that.
every_block = pytest.mark.parametrize("member", [param for param in MEMBERS if param.id in {x.id for x in BLOCKS}])


def assert_equal(got, expected):
    assert signature(got) == signature(expected)
    jax.tree.map(np.testing.assert_array_equal, got, expected)


def as_written(member, updates, state, params, extra):
    """As it runs where a function is among the extra arguments."""
    return run_update(member.tx, updates, state, params, extra)


def without_jit(tx):
    return lambda updates, state, params: run_update(tx, updates, state, params, {})


def as_number(x):
    return x.item() if x.ndim == 0 else np.asarray(x)


@every_block
def test_a_restored_state_of_numpy_arrays(member):
    params, g = tree(), tree(seed=1)
    extra = member.extra(g, params)
    _, state = member.step(g, member.tx.init(params), params)
    restored, numpy_params = jax.tree.map(np.asarray, (state, params))
    expected = as_written(member, g, state, params, extra)
    assert_equal(as_written(member, g, restored, numpy_params, extra), expected)
    assert_equal(member.step(g, restored, numpy_params), member.step(g, state, params))


@every_block
def test_a_state_of_pythons_numbers(member):
    """As from JSON: numbers of no array's dtype, in a step and as what a loop carries."""
    params, g = ({"a": x["a"]} for x in (tree(), tree(seed=1)))  # in which no parameter is a number
    extra = member.extra(g, params)
    _, state = member.step(g, member.tx.init(params), params)
    written = jax.tree.map(as_number, state)
    expected, _ = as_written(member, g, state, params, extra)
    got, _ = as_written(member, g, written, params, extra)
    jax.tree.map(np.testing.assert_array_equal, got, expected)
    expected, _ = member.step(g, member.step(g, state, params)[1], params)

    def body(state: Any, _: Any) -> Any:
        return member.update(g, state, params)[::-1]

    _, several = jax.lax.scan(body, written, length=2)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x[1], y, rtol=1e-6, atol=1e-7), several, expected)


@every_block
def test_python_floats_as_parameters(member):
    floats, g = {"a": 1.5, "b": -0.5, "w": jnp.ones(3)}, {"a": 0.1, "b": -0.3, "w": jnp.array([0.3, 0.2, -0.4])}
    params, arrays = jax.tree.map(lambda x: jnp.asarray(x, jnp.result_type(x)), (floats, g))
    extra = member.extra(arrays, params)
    state = member.tx.init(floats)
    assert_equal(state, member.tx.init(params))
    expected = as_written(member, arrays, state, params, extra)
    got = as_written(member, g, state, floats, extra)
    jax.tree.map(np.testing.assert_array_equal, got, expected)
    assert signature(got[1]) == signature(state)
    got = member.step(g, state, floats)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-7), got, expected)


@every_member
def test_shapes_give_what_eval_shape_gives(member):
    params = tree()
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), params)
    state = member.tx.init(shapes)
    assert {type(x) for x in jax.tree.leaves(state)} <= {jax.ShapeDtypeStruct}
    assert jax.tree.structure(state) == jax.tree.structure(member.tx.init(params))
    assert signature(state) == signature(member.tx.init(params))


def test_shapes_beside_arrays_and_what_else_a_model_holds():
    tx = gx.only(gx.adam(0.1), gx.by_path("^w"))
    model = {"activation": jnp.tanh, "w0": jax.ShapeDtypeStruct((2, 3), jnp.bfloat16), "w1": jnp.ones(2), "w2": 1.0}
    mu = gx.find(tx.init(model), "mu")
    assert mu["activation"] is None
    assert [mu[name].shape for name in ("w0", "w1", "w2")] == [(2, 3), (2,), ()]


def test_a_rate_written_into_the_state_is_in_force():
    w = jnp.ones(2)
    tx = gx.sgd(gx.controlled(0.1))
    state = tx.init(w)._replace(learning_rate=0.5)
    for update in (tx.update, jax.jit(tx.update), without_jit(tx)):
        updates, after = update(w, state, w)
        np.testing.assert_allclose(updates, -0.5, rtol=1e-6)
        assert float(after.learning_rate) == 0.5
    theirs: Any = optax.inject_hyperparams(optax.sgd)(0.1)
    written = theirs.init(w)
    written.hyperparams["learning_rate"] = 0.5
    np.testing.assert_allclose(updates, theirs.update(w, written, w)[0], rtol=1e-6)


def test_a_count_written_into_the_state_is_where_a_schedule_goes_on():
    w, tx = jnp.ones(2), gx.sgd(gx.linear(1.0, 0.0, 10))
    state = tx.init(w)._replace(count=json.loads("4"))
    for update in (tx.update, jax.jit(tx.update), without_jit(tx)):
        updates, after = update(w, state, w)
        np.testing.assert_allclose(updates, -0.6, rtol=1e-6)
        assert int(after.count) == 5


def test_a_numpy_state_is_not_written_into_nor_shared():
    tx = gx.skip_nonfinite(gx.sgd(0.1, momentum=0.9))
    state = jax.tree.map(np.array, tx.init(jnp.ones(3)))
    _, after = run_update(tx, jnp.full(3, jnp.nan), state, None, {})
    gx.find(state, "trace")[:] = 7.0
    np.testing.assert_array_equal(gx.find(after, "trace"), 0.0)


def test_what_is_no_number_in_numpy_stays():
    params = {"name": np.array(["a"]), "w": 1.0}
    tx = gx.sgd(0.1, momentum=0.9)
    updates, state = tx.update({"name": None, "w": 1.0}, tx.init(params), params)
    assert updates["name"] is None
    assert gx.find(state, "trace")["name"] is None
    with pytest.raises(TypeError, match=r"sgd: updates\['name'\] must be an array, got ndarray; to freeze it"):
        tx.update(params, tx.init(params), params)


def test_a_window_is_closed_from_a_restored_state():
    """A function among the arguments keeps it from compiling, and what comes from a checkpoint are NumPy's arrays."""
    w = jnp.array([1.0, -2.0])
    loss = lambda w: jnp.sum((w - 3.0) ** 2)  # noqa: E731
    tx = gx.accumulate(gx.lbfgs(), 4)
    value, g = jax.value_and_grad(loss)(w)
    _, state = tx.update(g, tx.init(w), w, value=value, grad=g, value_fn=loss)
    restored = jax.tree.map(np.asarray, state)
    means = gx.find(state, "acc_extra")
    expected, _ = gx.flush(tx, state, w, value_fn=loss, **means)
    updates, _ = gx.flush(tx, restored, np.asarray(w), value_fn=loss, **means)
    np.testing.assert_allclose(updates, expected, rtol=1e-6)


# ---- placeholders and empty trees ----


@pytest.mark.parametrize("member", WITHOUT_CODES)
def test_optaxs_map_params_finds_the_parameters(member):
    """Every array of a state that it takes for a parameter has the parameter's shape at its end, but for those of rules
    that keep less of each. In codes it finds none.
    """
    params = tree()
    state = member.tx.init(params)
    found: list[Any] = []

    def look(x, p):
        if x is not None:
            assert member.factored or x.shape[x.ndim - p.ndim :] == p.shape
            found.append(x)

    optax.tree.map_params(member.tx, look, state, params, is_leaf=lambda x: x is None)
    matrices = [x for x in jax.tree.leaves(state) if x.shape[-2:] == (3, 4)]
    assert set(map(id, matrices)) <= set(map(id, found))


BOOLEANS = {"b": False, "w": True}


@pytest.mark.parametrize(
    "tx",
    [
        gx.masked(gx.scale_by_momentum(), BOOLEANS),
        gx.only(gx.sgd(0.1, momentum=0.9), BOOLEANS),
        gx.chain(
            gx.freeze(BOOLEANS), gx.only(gx.sgd(0.1, momentum=0.9), gx.by_tree(("w",), ("b",)) & ~gx.by_path("b"))
        ),
        gx.partition((BOOLEANS, gx.sgd(0.1, momentum=0.9)), default=gx.sgd(0.1)),
        optax.chain(gx.masked(gx.masked(gx.scale_by_momentum(), gx.by_path("w")), BOOLEANS), optax.scale(1.0)),
    ],
    ids=["masked", "only", "freeze", "partition", "optax"],
)
def test_optaxs_map_params_below_trees_of_booleans(tx):
    """Partition specs for a state, as users of many devices make them."""
    params, specs = {"b": jnp.zeros(2), "w": jnp.zeros((2, 2))}, {"b": "of b", "w": "of w"}
    is_none = lambda x: x is None  # noqa: E731
    mapped = optax.tree.map_params(
        tx, lambda x, spec: None if x is None else spec, tx.init(params), specs, is_leaf=is_none
    )
    assert gx.find(mapped, "trace") == {"b": None, "w": "of w"}


@every_member
def test_an_empty_tree_has_a_state_and_updates(member):
    state = member.tx.init({})
    updates, after = member.tx.update({}, state, {}, **member.extra({}, {}))
    assert updates == {}
    assert signature(after) == signature(state)


@pytest.mark.parametrize(("where", "params"), [(True, {}), ({}, {}), (False, []), ((), ()), ({"a": {}}, {"a": {}})])
def test_empty_trees_and_empty_masks(where, params):
    for tx in (gx.masked(gx.scale(2.0), where), gx.only(gx.sgd(0.1), where), gx.chain(gx.freeze(where))):
        updates, _ = tx.update(params, tx.init(params), params)
        assert updates == params


def test_a_word_for_a_layer_without_parameters():
    params = {"dense": jnp.ones(2), "dropout": {}}
    where = {name: name == "dense" for name in params}
    theirs: Any = optax.masked(optax.scale(2.0), where)
    for tx in (gx.masked(gx.scale(2.0), where), theirs):
        updates, _ = tx.update(params, tx.init(params))
        np.testing.assert_array_equal(updates["dense"], 2.0)


def test_trees_of_booleans_for_other_parameters_are_refused():
    with pytest.raises(ValueError, match="the tree of booleans has dropuot, at which there is no array"):
        gx.masked(gx.scale(2.0), {"dense": True, "dropuot": True}).init({"dense": jnp.ones(2), "dropout": {}})
    with pytest.raises(ValueError, match="the tree of booleans has nothing for b; it has no place"):
        gx.masked(gx.scale(2.0), {}).init({"w": jnp.ones(2), "b": jnp.ones(2)})
