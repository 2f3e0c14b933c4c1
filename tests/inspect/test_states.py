"""Finding one's way in states: names, find, metrics, record."""

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import gradtx as gx
from tests.budgets import cost

untyped: Any = gx


def tree():
    return {"w": jnp.full((2, 3), 2.0), "b": jnp.full(3, -1.0), "frozen": None}


# ---- named parts ----


def test_named_parts_have_names_everywhere():
    tx = gx.chain(clip=gx.clip_by_norm(1.0), adam=gx.adam(gx.linear(0.1, 0.0, 10)))
    state = tx.init(tree())
    assert state.keys() == {"clip", "adam"}
    assert tx.adam == gx.adam(gx.linear(0.1, 0.0, 10))
    assert list(gx.hyperparameters(tx))[:2] == ["clip.max_norm", "adam.learning_rate"]
    assert jax.tree_util.keystr(jax.tree.leaves_with_path(tx)[0][0]) == ".clip.max_norm"
    assert repr(tx.clip) in repr(tx)
    assert tx != gx.chain(tx.clip, tx.adam)
    plain = gx.chain(tx.clip, tx.adam)
    updates, _ = tx.update(tree(), state)
    expected, _ = plain.update(tree(), plain.init(tree()))
    jax.tree.map(np.testing.assert_array_equal, updates, expected)


def test_a_named_chain_stays_a_part_of_another():
    inner = gx.chain(clip=gx.clip_by_norm(1.0), descent=gx.sgd(0.1))
    assert gx.chain(gx.scale(2.0), inner).parts == (gx.scale(2.0), inner)
    outer = gx.chain(inner=inner, after=gx.scale(2.0))
    state = outer.init(tree())
    _, state = outer.update(tree(), state)
    assert int(state["inner"]["descent"].count) == 1


def test_names_that_can_not_be():
    with pytest.raises(TypeError, match="chain: either every part has a name or none, got 1 without beside 'b'"):
        gx.chain(gx.identity(), b=gx.identity())
    with pytest.raises(TypeError, match="chain: update can't be a part's name: values have an attribute of that name"):
        gx.chain(update=gx.identity())
    with pytest.raises(TypeError, match="chain: parts can't be a part's name"):
        gx.chain(parts=gx.identity())
    with pytest.raises(TypeError, match="chain: clip must be a transformation, got float"):
        untyped.chain(clip=1.0)
    tx = gx.chain(a=gx.scale(1.0), b=gx.scale(1.0))
    with pytest.raises(ValueError, match=r"chain: the state must be a dict of \['a', 'b'\], got \['a'\]"):
        tx.update(tree(), {"a": optax.EmptyState()})


def test_an_error_names_the_part():
    tx = gx.chain(decay=gx.add_decayed_weights(0.1), descent=gx.sgd(0.1))
    with pytest.raises(ValueError, match="update needs the parameters") as caught:
        tx.update(tree(), tx.init(tree()))
    assert "in part 'decay' of a chain, add_decayed_weights(weight_decay=0.1)" in caught.value.__notes__


def test_names_are_words():
    for name in ("a b", "class", "a.b", "1"):
        with pytest.raises(ValueError, match="can't be a part's name: it must be a word, and none of Python's"):
            gx.chain(**{name: gx.identity()})


@gx.transformation
def broken():
    def formula(g):
        raise ValueError("it is broken")

    return gx.stateless(formula)


def test_an_error_blames_no_other_part():
    """A formula runs when a later part wants its updates; that part has no share in its error."""
    for tx, notes in (
        (gx.chain(broken(), gx.clip_by_global_norm(1.0)), ["in part 0 of a chain, broken()"]),
        (
            gx.chain(gx.parallel(broken(), gx.identity(), join=lambda a, b: a), gx.clip_by_global_norm(1.0)),
            ["in branch 0 of a parallel, broken()", "in part 0 of a chain, parallel("],
        ),
        (gx.chain(broken(), gx.only(optax.scale(1.0), gx.by_path("w"))), ["in part 0 of a chain, broken()"]),
    ):
        with jax.disable_jit(), pytest.raises(ValueError, match="it is broken") as caught:
            tx.update(tree(), tx.init(tree()))
        assert len(caught.value.__notes__) == len(notes)
        assert all(note.startswith(start) for note, start in zip(caught.value.__notes__, notes, strict=True))
    groups = gx.partition((gx.by_path("w"), gx.chain(gx.freeze(gx.by_path("none")))), default=gx.identity())
    with pytest.raises(ValueError, match=r"freeze: where, by_path.*, matches no array") as caught:
        groups.init(tree())
    assert caught.value.__notes__[-1].startswith("in group 0 of a partition, chain(")


# ---- find ----


def test_find_by_name_or_path():
    tx = gx.chain(direction=gx.scale_by_adam(), rate=gx.scale_by_learning_rate(0.1))
    _, state = tx.update(tree(), tx.init(tree()))
    assert gx.find(state, "mu") is state["direction"].mu
    assert gx.find(state, "rate/count") is state["rate"].count
    assert gx.find(state, "direction") is state["direction"]
    np.testing.assert_allclose(gx.find(state, "mu/w"), 0.2, rtol=1e-6)
    assert gx.find(state, "mu/frozen") is None
    masked = gx.only(tx, gx.by_path("w")).init(tree())
    assert gx.find(masked, "nu")["b"] is None


@pytest.mark.parametrize("tx", [gx.sgd(0.1), optax.sgd(0.1)])
@pytest.mark.parametrize("look", [lambda tx: gx.find(tx, "count"), gx.metrics], ids=["find", "metrics"])
def test_a_transformation_is_no_state(look, tx):
    remedy = "give the state of it"
    with pytest.raises(
        TypeError, match=rf"(find|metrics): state must be what init or update returned, got .*; {remedy}"
    ):
        look(tx)


def test_find_lists_candidates():
    state = gx.adam(0.1).init(tree())
    with pytest.raises(ValueError, match=r"find: the state has several 'count', candidates are: 0/count, 1/count$"):
        gx.find(state, "count")
    with pytest.raises(ValueError, match=r"find: the state has no 'velocity', candidates are: 0, 1, 0/count, 0/mu"):
        gx.find(state, "velocity")
    with pytest.raises(ValueError, match="candidates are: none"):
        gx.find((), "mu")
    with pytest.raises(TypeError, match="find: name must be a string, got int"):
        gx.find(state, 0)  # pyright: ignore[reportArgumentType]


# ---- metrics ----


def test_the_count_the_rate_and_the_norms_are_at_one_known_place():
    for optimizer in (gx.sgd, gx.adam, gx.adagrad, gx.lion, gx.rmsprop):
        tx = gx.chain(gx.clip_by_global_norm(1.0), optimizer(gx.linear(0.5, 0.0, 4)))
        state, params = tx.init(tree()), tree()
        for _ in range(3):
            _, state = tx.update(tree(), state, params)
        seen = gx.metrics(state)
        assert list(seen) == ["norm", "clipped_norm", "clipped", "count", "learning_rate"]
        assert (int(seen["count"]), float(seen["learning_rate"])) == (3, 0.25)
        np.testing.assert_allclose(seen["norm"], np.sqrt(27.0), rtol=1e-6)
        assert float(seen["clipped_norm"]) == 1.0
        assert bool(seen["clipped"])


CLIPS = {
    "by value": (gx.clip_by_value(1.5), 2.0, 1.5),
    "by norm": (gx.clip_by_norm(3.0), np.sqrt(24.0), 3.0),
    "by global norm": (gx.clip_by_global_norm(3.0), np.sqrt(27.0), 3.0),
    "by group norm": (gx.clip_by_group_norm(3.0), np.sqrt(27.0), 3.0),
}


@pytest.mark.parametrize(("tx", "before", "after"), CLIPS.values(), ids=CLIPS)
def test_clipping_says_what_it_did(tx, before, after):
    state = tx.init(tree())
    assert {name: float(x) for name, x in gx.metrics(state).items()} == dict(norm=0.0, clipped_norm=0.0, clipped=0.0)
    _, state = tx.update(tree(), state)
    np.testing.assert_allclose(list(gx.metrics(state).values()), [before, after, 1.0], rtol=1e-6)
    gentle = jax.tree.map(lambda x: 0.1 * x, tree())
    updates, state = tx.update(gentle, state)
    jax.tree.map(np.testing.assert_array_equal, updates, gentle)
    np.testing.assert_allclose(list(gx.metrics(state).values()), [0.1 * before, 0.1 * before, 0.0], rtol=1e-6)


def test_clipping_says_what_it_did_to_what_is_not_finite():
    for tx in (gx.clip_by_norm(1.0), gx.clip_by_global_norm(1.0)):
        for g in ([jnp.inf, 1.0], [jnp.nan, 1.0], [1e38, 3e38]):
            _, state = tx.update(jnp.array(g, jnp.float32), tx.init(jnp.zeros(2)))
            assert np.isnan(gx.metrics(state)["clipped_norm"])
    tx = gx.clip_by_value(1.0)
    updates, state = tx.update(jnp.array([jnp.inf, 0.5]), tx.init(jnp.zeros(2)))
    assert (updates[0], gx.metrics(state)["clipped_norm"]) == (1.0, 1.0)


def test_metrics_of_a_framework_are_arrays():
    model = nnx.Linear(2, 1, rngs=nnx.Rngs(0))
    tx = gx.chain(gx.clip_by_norm(1.0), gx.sgd(gx.linear(0.5, 0.0, 5)))
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    optimizer.update(model, nnx.grad(lambda m: jnp.sum(m(jnp.ones(2))))(model))
    seen = gx.metrics(optimizer.opt_state)
    assert all(isinstance(x, jax.Array) for x in seen.values())
    assert (int(seen["count"]), float(seen["learning_rate"])) == (1, 0.5)
    now = gx.hyperparameters(tx, optimizer.opt_state)["parts[1].learning_rate"]
    np.testing.assert_allclose(now, 0.4, rtol=1e-6)


def test_names_that_several_have_come_with_their_paths():
    tx = gx.chain(gx.clip_by_norm(1.0), gx.chain(late=gx.clip_by_value(1.0)), gx.sgd(0.1))
    assert [name for name in gx.metrics(tx.init(tree())) if "norm" in name] == [
        "0/norm",
        "0/clipped_norm",
        "1/late/norm",
        "1/late/clipped_norm",
    ]
    groups = gx.partition((gx.by_path("w"), gx.sgd(0.1)), default=gx.sgd(0.2))
    assert float(gx.metrics(groups.init(tree()))["1/learning_rate"]) == 0.2


def test_metrics_keep_their_form_in_scan_and_go_into_a_log():
    tx = gx.chain(gx.clip_by_global_norm(1.0), gx.record("step", gx.global_norm), gx.adam(0.1))

    def body(state, g):
        _, state = tx.update(g, state)
        return state, gx.metrics(state)

    g = jnp.array([[3.0, 4.0], [0.3, 0.4]])
    state = tx.init(g[0])
    _, history = jax.lax.scan(body, state, g)
    assert history.keys() == gx.metrics(state).keys()
    np.testing.assert_allclose(history["step"], [1.0, 0.5], rtol=1e-6)
    np.testing.assert_array_equal(history["clipped"], [True, False])
    json.dumps({name: float(x[-1]) for name, x in history.items()})


# ---- record ----


def test_record_sees_the_updates_where_it_stands():
    ratio = gx.record("ratio", lambda updates, params: gx.global_norm(updates) / gx.global_norm(params))
    tx = gx.chain(gx.record("gradient", lambda g: g["b"][0]), gx.sgd(0.5), ratio)
    state = tx.init(tree())
    assert (float(gx.metrics(state)["gradient"]), float(gx.metrics(state)["ratio"])) == (0.0, 0.0)
    updates, state = tx.update(tree(), state, tree())
    np.testing.assert_allclose(updates["w"], -1.0)
    assert float(gx.metrics(state)["gradient"]) == -1.0
    np.testing.assert_allclose(gx.metrics(state)["ratio"], 0.5, rtol=1e-6)


def test_record_inside_of_a_group_sees_its_arrays():
    tx = gx.only(gx.chain(gx.record("size", gx.global_norm), gx.sgd(0.1)), gx.by_path("b"))
    _, state = tx.update(tree(), tx.init(tree()), tree())
    np.testing.assert_allclose(gx.metrics(state)["size"], np.sqrt(3.0), rtol=1e-6)


@pytest.mark.skipif(jax.__version_info__ < (0, 10), reason="older XLA makes temporaries in plain sums")
@pytest.mark.usefixtures("float32")
def test_what_is_always_measured_is_cheap():
    """Bytes per parameter: a norm that is needed anyway costs nothing, the largest element one read."""
    plain = cost(gx.adam(0.1).init, gx.adam(0.1).update)[0]
    for clip in (gx.clip_by_global_norm(1.0), gx.clip_by_norm(1.0), gx.clip_by_value(1.0)):
        tx = gx.chain(clip, gx.adam(0.1))
        accessed, temporary, _ = cost(tx.init, tx.update)
        assert accessed <= plain + 4.1
        assert temporary < 0.1


def test_what_record_refuses():
    g = tree()
    for message, name, function in (
        ("name must be a string, got int 3", 3, gx.global_norm),
        ("name must be a word, of letters, digits and _, got ''", "", gx.global_norm),
        ("function must be a function of the updates, or of the updates and the parameters, got float", "a", 0.5),
        (r"got <lambda>\(a, b, c\)", "a", lambda a, b, c: 0.0),
    ):
        with pytest.raises((TypeError, ValueError), match="record: .*" + message):
            untyped.record(name, function)
    for name in ("a b", "0/norm"):
        with pytest.raises(ValueError, match="record: name must be a word, of letters, digits and _, got"):
            gx.record(name, gx.global_norm)
    tx = gx.record("nan", lambda g: jnp.isnan(g["w"]).any())
    assert float(gx.metrics(tx.update(g, tx.init(g))[1])["nan"]) == 0.0
    with pytest.raises(ValueError, match="record: the state records nan, expected size"):
        gx.record("size", gx.global_norm).update(g, tx.init(g))
    tx = gx.record("sum", lambda g: g["w"])
    with pytest.raises(ValueError, match=r"record: what 'sum' records must be a real scalar, got float.*; give one"):
        tx.update(g, tx.init(g))
    tx = gx.record("ratio", lambda g, p: 0.0)
    with pytest.raises(ValueError, match="record: update needs the parameters"):
        tx.update(g, tx.init(g))
