"""Where a transformation acts: selectors over all kinds of trees, masks, frozen parts, groups."""

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import gradtx as gx


def params():
    return {
        "encoder": {"kernel": jnp.ones((3, 4)), "bias": jnp.ones(4)},
        "head": {"kernel": 2.0 * jnp.ones((4, 2)), "bias": jnp.ones(2)},
        "frozen": None,
    }


def chosen(selector, tree):
    """The paths that a selector means."""
    return {path for path, yes in zip(paths(tree), jax.tree.leaves(selector.mask(tree)), strict=True) if yes}


def paths(tree):
    return [
        jax.tree_util.keystr(keys, simple=True, separator="/").removesuffix("/value")
        for keys, _ in jax.tree_util.tree_leaves_with_path(tree)
    ]


# ---- selectors ----


def test_selectors_and_their_operators():
    tree = params()
    bias, wide = gx.by_path(r"bias$"), gx.by_ndim(at_least=2)
    assert chosen(bias, tree) == {"encoder/bias", "head/bias"}
    assert chosen(wide, tree) == {"encoder/kernel", "head/kernel"}
    assert chosen(~bias, tree) == {"encoder/kernel", "head/kernel"}
    assert chosen(bias | gx.by_path("^head"), tree) == {"encoder/bias", "head/bias", "head/kernel"}
    assert chosen(~bias & gx.by_path("^head"), tree) == {"head/kernel"}
    assert chosen(bias & {"encoder": True, "head": False, "frozen": None}, tree) == {"encoder/bias"}
    assert chosen(gx.by(lambda path, x: path.startswith("head") and x.size > 2), tree) == {"head/kernel"}
    assert bias.mask(tree)["frozen"] is None


def test_selectors_are_values():
    where = ~gx.by_path("bias$") & gx.by_ndim(at_least=2) | gx.by_path("head")
    assert repr(where) == "((~by_path(pattern='bias$') & by_ndim(at_least=2)) | by_path(pattern='head'))"
    assert eval(repr(where), dict(vars(gx))) == where
    assert hash(where) == hash(where.replace())
    assert where.replace(at_least=3) != where
    assert jax.tree.leaves(where) == []


@jax.tree_util.register_dataclass
@dataclass
class Layer:
    kernel: jax.Array
    bias: jax.Array


class Network(nnx.Module):
    def __init__(self):
        self.dense = nnx.Linear(2, 3, rngs=nnx.Rngs(0))


TREES = {
    "dict": {"dense": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}},
    "dataclass": {"dense": Layer(jnp.ones((2, 3)), jnp.ones(3))},
    "flax": nnx.state(Network(), nnx.Param),
    "pure flax": nnx.to_pure_dict(nnx.state(Network(), nnx.Param)),
}


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
def test_the_same_rules_serve_every_kind_of_tree(tree):
    assert chosen(gx.by_path("^dense/bias$"), tree) == {"dense/bias"}
    tx = gx.only(gx.sgd(0.5), gx.by_path("^dense/bias$"))
    ones = jax.tree.map(jnp.ones_like, tree)
    updates, _ = tx.update(ones, tx.init(tree), tree)
    assert jax.tree.structure(updates) == jax.tree.structure(tree)
    by_path = dict(zip(paths(updates), jax.tree.leaves(updates), strict=True))
    np.testing.assert_array_equal(by_path["dense/bias"], -0.5)
    np.testing.assert_array_equal(by_path["dense/kernel"], 0.0)


def test_a_callable_model_is_a_tree_like_any_other():
    model = eqx.nn.MLP(2, 1, 4, depth=1, key=jax.random.key(0))
    weights = eqx.filter(model, eqx.is_inexact_array)
    tx = gx.partition((gx.by_path(r"layers/0/"), gx.sgd(1.0)), (gx.by_path("bias"), gx.sgd(2.0)), default=gx.sgd(3.0))
    updates, _ = tx.update(jax.tree.map(jnp.ones_like, weights), tx.init(weights), weights)
    rates = [float(-u.ravel()[0]) for u in jax.tree.leaves(updates)]
    assert rates == [1.0, 1.0, 3.0, 2.0]
    assert callable(updates)

    where = eqx.tree_at(lambda m: m.layers[1], jax.tree.map(lambda _: False, weights), replace_fn=lambda _: True)
    assert callable(where)  # and still a tree of booleans, not a function of path and array
    updates, _ = (tx := gx.only(gx.sgd(1.0), where)).update(weights, tx.init(weights), weights)
    assert [bool(jnp.any(u != 0)) for u in jax.tree.leaves(updates)] == [False, False, True, True]


def test_a_field_called_value_is_no_variable():
    @jax.tree_util.register_dataclass
    @dataclass
    class Attention:
        query: jax.Array
        value: jax.Array

    tree = {"attention": Attention(jnp.ones(2), jnp.ones(2))}
    assert chosen(gx.by_path("attention/value"), tree) == {"attention"}  # as this test shortens it
    tx = gx.only(gx.sgd(1.0), {"attention": Attention(False, True)})  # pyright: ignore[reportArgumentType]
    updates, _ = tx.update(tree, tx.init(tree), tree)
    assert (float(updates["attention"].query[0]), float(updates["attention"].value[0])) == (0.0, -1.0)


# ---- masked, only, freeze ----


def test_masked_leaves_the_others_as_they_are():
    tree = params()
    decay = gx.masked(gx.add_decayed_weights(0.5), gx.by_ndim(at_least=2))
    tx = gx.chain(gx.scale_by_momentum(0.9), decay, gx.scale_by_learning_rate(0.1))
    updates, _ = tx.update(tree, tx.init(tree), tree)
    np.testing.assert_allclose(updates["head"]["kernel"], -0.1 * (2.0 + 0.5 * 2.0), rtol=1e-6)
    np.testing.assert_allclose(updates["head"]["bias"], -0.1, rtol=1e-6)


def test_only_keeps_no_state_elsewhere_and_moves_nothing():
    tree = params()
    tx = gx.only(gx.adam(0.1), gx.by_path("^head"))
    state = tx.init(tree)
    assert gx.find(state, "mu")["encoder"] == {"kernel": None, "bias": None}
    updates, state = tx.update(jax.tree.map(lambda x: x * jnp.nan, tree), state, tree)
    np.testing.assert_array_equal(updates["encoder"]["kernel"], 0.0)  # not NaN times zero
    assert updates["frozen"] is None


def test_rates_of_groups_without_a_second_optimizer():
    tree = params()
    tx = gx.chain(gx.adam(0.1), gx.masked(gx.scale(0.01), gx.by_path("^encoder")))
    alone = gx.adam(0.1)
    expected, _ = alone.update(tree, alone.init(tree), tree)
    updates, _ = tx.update(tree, tx.init(tree), tree)
    np.testing.assert_allclose(updates["encoder"]["bias"], 0.01 * expected["encoder"]["bias"], rtol=1e-6)
    np.testing.assert_array_equal(updates["head"]["bias"], expected["head"]["bias"])


def test_integers_are_frozen():
    tree = {"w": jnp.ones(2), "steps": jnp.array(3)}
    g = jax.grad(lambda tree: jnp.sum(tree["w"] ** 2), allow_int=True)(tree)
    rule = gx.by_path("^w$")
    several = gx.chain(gx.masked(gx.scale(-0.1), rule), gx.freeze(~rule))
    for tx in (gx.only(gx.sgd(0.1), rule), several, gx.partition((rule, gx.sgd(0.1)), default=gx.freeze(~rule))):
        updates, _ = tx.update(g, tx.init(tree), tree)
        moved = gx.apply_updates(tree, updates)
        assert moved["steps"] is tree["steps"]
        np.testing.assert_allclose(moved["w"], 0.8)
    tx = gx.masked(gx.scale(0.1), rule)
    assert tx.update(g, tx.init(tree), tree)[0]["steps"] is None
    with pytest.raises(TypeError, match=r"masked: updates\['steps'\] must be floating-point"):
        tx.update(tree, tx.init(tree), tree)


def test_optax_inside_a_group_gets_its_arrays_alone():
    tree = params()
    where = gx.by_path("^head")
    tx = gx.only(optax.adamw(0.1, weight_decay=0.5), where)
    theirs = optax.adamw(0.1, weight_decay=0.5)
    expected, _ = theirs.update(tree["head"], theirs.init(tree["head"]), tree["head"])
    updates, _ = tx.update(tree, tx.init(tree), tree)
    jax.tree.map(np.testing.assert_array_equal, updates["head"], expected)
    np.testing.assert_array_equal(updates["encoder"]["bias"], 0.0)
    around = optax.masked(gx.adam(0.1), where.mask)
    around.update(tree, around.init(tree), tree)


# ---- groups ----


def test_groups_are_as_if_each_were_alone():
    tree = params()
    parts = {"encoder": gx.adamw(gx.linear(0.1, 0.0, 5)), "head": gx.chain(gx.clip_by_group_norm(1.0), gx.sgd(0.5))}
    tx = gx.partition(*((gx.by_path("^" + name), part) for name, part in parts.items()))
    state, alone = tx.init(tree), {name: part.init(tree[name]) for name, part in parts.items()}
    for seed in range(3):
        g = jax.tree.map(lambda p, seed=seed: jax.random.normal(jax.random.key(seed), p.shape), tree)
        updates, state = tx.update(g, state, tree)
        for name, part in parts.items():
            expected, alone[name] = part.update(g[name], alone[name], tree[name])
            jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), updates[name], expected)


def test_groups_agree_with_optax():
    tree, labels = params(), {"encoder": "a", "head": "b", "frozen": None}
    ours = gx.partition((gx.by_path("^encoder"), gx.adam(0.1)), default=gx.sgd(0.2))
    theirs = optax.partition({"a": optax.adam(0.1), "b": optax.sgd(0.2)}, labels)
    updates, _ = ours.update(tree, ours.init(tree), tree)
    expected, _ = theirs.update(tree, theirs.init(tree), tree)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), updates, expected)


def test_the_first_rule_takes_an_array():
    tree = params()
    tx = gx.partition((gx.by_path("bias"), gx.sgd(1.0)), (gx.by_path("encoder"), gx.sgd(2.0)), default=gx.sgd(3.0))
    updates, _ = tx.update(tree, tx.init(tree), tree)
    assert [float(-u.ravel()[0]) for u in jax.tree.leaves(updates)] == [1.0, 2.0, 1.0, 6.0]


def test_a_norm_says_by_its_name_whose_it_is():
    tree = {"a": jnp.array([3.0]), "b": jnp.array([4.0])}
    where = gx.by_path("b")
    group = gx.masked(gx.clip_by_group_norm(1.0), where)
    updates, state = group.update(tree, group.init(tree))
    assert (float(updates["a"][0]), float(updates["b"][0])) == (3.0, 1.0)
    assert float(gx.metrics(state)["norm"]) == 4.0
    whole = gx.chain(gx.clip_by_global_norm(1.0), gx.masked(gx.identity(), where))
    np.testing.assert_allclose(whole.update(tree, whole.init(tree))[0]["b"], 0.8, rtol=1e-6)
    remedy = "put it ahead of what selects them, or take clip_by_group_norm"
    clipped = gx.chain(gx.clip_by_global_norm(1.0), gx.sgd(0.1))
    for tx in (gx.masked(gx.clip_by_global_norm(1.0), where), gx.only(gx.parallel(clipped, join=jnp.negative), where)):
        with pytest.raises(
            ValueError, match=f"clip_by_global_norm: only some arrays of the tree are in sight here; {remedy}"
        ):
            tx.update(tree, tx.init(tree))
    with pytest.raises(ValueError, match="clip_by_global_norm: only some arrays"):
        gx.partition((where, clipped), default=gx.sgd(0.1)).update(tree, (clipped.init(tree), gx.sgd(0.1).init(tree)))
