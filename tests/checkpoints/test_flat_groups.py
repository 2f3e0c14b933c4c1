"""The numbers that each group of a partition has for itself, in a flat state."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx
from tests.refusals import refused

W = {"dense": {"w": jnp.ones((2, 3)), "b": jnp.ones(3)}, "scale": jnp.array(0.5)}
KERNEL, REST = gx.by_path("dense/w"), gx.by_path("dense/b|scale")
RATE = "scale_by_learning_rate/controlled/learning_rate"
IS_RENAMED = "what another group is to have is renamed behind its @"


class Params(NamedTuple):
    w: jax.Array
    b: jax.Array
    rest: jax.Array


def rate(x):
    return gx.sgd(gx.controlled(x))


A = gx.partition((KERNEL, rate(0.1)), default=rate(0.5))
TURNED = gx.partition((REST, rate(0.5)), default=rate(0.1))


def state_of_a(kernel=0.01, rest=0.05):
    first, second = A.init(W)
    return tuple(x._replace(learning_rate=jnp.array(r, float)) for x, r in ((first, kernel), (second, rest)))


def rates(state):
    return [float(x) for x in jax.tree.leaves(state) if x.dtype.kind == "f"]


def keys(tx, params=None):
    return sorted(gx.to_flat(tx, tx.init(W), params))


def test_a_group_is_named_by_its_arrays_or_by_what_takes_them():
    found = [key for key in keys(A, W) if "count" in key]
    assert found == [f"scale_by_learning_rate/count@{name}" for name in ("dense/b,scale", "dense/w")]
    found = [key for key in keys(A) if "count" in key]
    takes = ("by_path(pattern='dense/w')", "~by_path(pattern='dense/w')")
    assert found == [f"scale_by_learning_rate/count@{name}" for name in takes]
    assert {key.rpartition("@")[2] for key in keys(TURNED, W)} == {"version", "dense/b,scale", "dense/w"}


def test_groups_inside_of_others_have_the_names_of_what_is_left_of_them():
    inner = gx.skip_nonfinite(gx.partition((gx.by_path("b$|scale"), rate(0.2)), default=rate(0.3)))
    tx = gx.partition((gx.by_path("dense"), inner), default=rate(1.0))

    def groups(*params):
        return {key.partition("@")[2] for key in keys(tx, *params) if RATE in key}

    assert groups(W) == {"dense/b", "dense/w", "scale"}
    dense, bias = "by_path(pattern='dense')", "by_path(pattern='b$|scale')"
    assert groups() == {f"({dense} & {bias})", f"({dense} & ~{bias})", f"~{dense}"}
    frozen = gx.only(gx.partition((gx.by_path("dense"), rate(0.2)), default=rate(0.3)), ~KERNEL)
    assert {key.partition("@")[2] for key in keys(frozen, W) if RATE in key} == {"dense/b", "scale"}


def test_what_takes_very_many_arrays_has_a_short_name():
    mask = {f"layer{i}": i % 2 == 0 for i in range(100)}
    params = {name: jnp.ones(1) for name in mask}
    tx = gx.partition((mask, rate(0.1)), default=rate(0.2))
    flat = gx.to_flat(tx, tx.init(params))
    assert max(map(len, flat)) < 130
    assert rates(gx.from_flat(tx, params, flat)) == pytest.approx([0.1, 0.2])


def test_numbers_follow_the_arrays_of_their_group():
    flat = gx.to_flat(A, state_of_a(), W)
    assert rates(gx.from_flat(TURNED, W, flat)) == pytest.approx([0.05, 0.01])
    assert rates(gx.from_flat(gx.chain(all=gx.skip_nonfinite(TURNED)), W, flat)) == pytest.approx([0.05, 0.01])
    for again in (flat, gx.to_flat(A, state_of_a())):
        assert rates(gx.from_flat(A, W, again)) == pytest.approx([0.01, 0.05])
    shapes = jax.eval_shape(lambda: W)
    assert list(gx.to_flat(A, jax.eval_shape(A.init, W), shapes)) == list(flat)


def test_numbers_that_differ_are_no_other_groups():
    takes = ", ".join(f"{RATE}@{name}" for name in ("by_path(pattern='dense/w')", "~by_path(pattern='dense/w')"))
    with refused(ValueError, f"partition: nothing in tx takes {takes}; what is to be left behind is deleted from the"):
        gx.from_flat(TURNED, W, gx.to_flat(A, state_of_a()))
    with refused(ValueError, IS_RENAMED):
        gx.from_flat(rate(0.1), W, gx.to_flat(A, state_of_a(), W))
    other = gx.partition((gx.by_path("dense"), rate(0.1)), default=rate(0.5))
    with refused(ValueError, f"nothing in tx takes {RATE}@dense/w, {RATE}@dense/b,scale; what"):
        gx.from_flat(other, W, gx.to_flat(A, state_of_a(), W))


def test_numbers_that_all_groups_agree_on_are_everybodys():
    flat = gx.to_flat(A, state_of_a(0.25, 0.25))
    assert rates(gx.from_flat(TURNED, W, flat)) == [0.25, 0.25]
    assert rates(gx.from_flat(rate(0.1), W, flat)) == [0.25]
    assert rates(gx.from_flat(TURNED, W, gx.to_flat(rate(0.25), rate(0.25).init(W)))) == [0.25, 0.25]


def test_the_number_of_one_group_alone_is_no_other_groups():
    one = gx.partition((KERNEL, rate(0.01)), default=gx.sgd(0.5))
    flat = gx.to_flat(one, one.init(W), W)
    for tx in (gx.partition((KERNEL, gx.sgd(0.5)), default=rate(0.5)), rate(0.5)):
        with refused(ValueError, f"nothing in tx takes {RATE}@dense/w; what is to be left"):
            gx.from_flat(tx, W, flat)
    assert rates(gx.from_flat(A, W, flat)) == pytest.approx([0.01, 0.5])  # where it has one


def test_counts_that_are_not_the_same():
    adam = gx.scale_by_adam()
    two = gx.partition((KERNEL, adam), default=adam)
    flat = gx.to_flat(two, two.init(W), W)
    gx.from_flat(adam, W, flat)
    over = "nothing in tx takes scale_by_adam/count@dense/w, scale_by_adam/count@dense/b,scale"
    with refused(ValueError, f"it lacks scale_by_adam/count; {over}; what starts anew is named in fresh=['scale_by"):
        gx.from_flat(adam, W, flat | {"scale_by_adam/count@dense/w": np.int32(7)})
    turned = gx.partition((REST, adam), default=adam)
    state = gx.from_flat(turned, W, flat | {"scale_by_adam/count@dense/w": np.int32(7)})
    assert [int(x.count) for x in state] == [0, 7]


def test_memories_of_pairs_follow_their_group():
    lbfgs = gx.scale_by_lbfgs(2)
    groups = gx.partition((KERNEL, lbfgs), default=lbfgs)
    lacks = "scale_by_lbfgs/weights_memory@dense/w, scale_by_lbfgs/weights_memory@dense/b,scale"
    with refused(ValueError, f"partition: it lacks {lacks}; nothing in tx takes scale_by_lbfgs/weights_memory"):
        gx.from_flat(groups, W, gx.to_flat(lbfgs, lbfgs.init(W)))
    first, second = groups.init(W)
    state = first._replace(weights_memory=jnp.array([1.0, 2.0])), second
    turned = gx.from_flat(gx.partition((REST, lbfgs), default=lbfgs), W, gx.to_flat(groups, state, W))
    assert [x.weights_memory.tolist() for x in turned] == [[0.0, 0.0], [1.0, 2.0]]


def test_a_memory_that_nobody_takes_is_left_over_though_it_is_like_another():
    lbfgs = gx.scale_by_lbfgs(2)
    groups = gx.partition((KERNEL, lbfgs), default=lbfgs)
    flat = gx.to_flat(groups, groups.init(W), W)
    one = {key: x for key, x in flat.items() if not key.endswith(("dense/b", "/scale"))}
    with refused(ValueError, "partition: nothing in tx takes scale_by_lbfgs/weights_memory@dense/b,scale; what is"):
        gx.from_flat(gx.partition((KERNEL, lbfgs), default=gx.scale(0.1)), W, one)


def test_the_order_of_arrays_makes_no_name():
    params = Params(w=jnp.ones(2), b=jnp.ones(3), rest=jnp.ones(1))
    tx = gx.partition((gx.by_path("w|b"), rate(0.1)), default=rate(0.5))
    found = {key.partition("@")[2] for key in gx.to_flat(tx, tx.init(params), params) if RATE in key}
    assert found == {"b,w", "rest"}


def test_parameters_that_are_one_array():
    one, adam = jnp.ones(3), gx.adam(0.1)
    group = gx.partition((gx.by_path(""), adam))
    for before, after in ((adam, group), (group, adam), (group, group)):
        state = before.update(one, before.init(one))[1]
        taken = gx.from_flat(after, one, gx.to_flat(before, state, one))
        jax.tree.map(np.testing.assert_array_equal, jax.tree.leaves(taken), jax.tree.leaves(state))


def test_what_one_group_has_less_of_keeps_its_name():
    value = gx.accumulate(gx.chain(gx.sgd(0.1), gx.reduce_on_plateau()), 2)
    both, one = gx.partition((KERNEL, value), default=value), gx.partition((KERNEL, value), default=gx.scale(0.1))
    state = both.update(W, both.init(W), W, value=3.0)[1]
    flat = gx.to_flat(both, state, W)
    kept = {key: x for key, x in flat.items() if not key.endswith(("dense/b,scale", "dense/b", "/scale"))}
    assert "accumulate/acc_extra/value@dense/w" in kept
    jax.tree.map(np.testing.assert_array_equal, gx.from_flat(one, W, kept)[0], state[0])


def test_windows_of_groups_follow_their_arrays():
    ways = gx.accumulate(rate(0.1), 2), gx.accumulate(rate(0.5), 3)
    tx = gx.partition((KERNEL, ways[0]), default=ways[1])
    turned = gx.partition((REST, ways[1]), default=ways[0])
    state = tx.init(W)
    for _ in range(7):
        _, state = tx.update(W, state, W)
    taken = gx.from_flat(turned, W, gx.to_flat(tx, state, W))
    assert [(int(x.mini_step), int(x.count)) for x in taken] == [(1, 2), (1, 3)]
    jax.tree.map(np.testing.assert_array_equal, taken, state[::-1])


def test_groups_of_optaxs_have_their_labels():
    labels = {"dense": "x", "scale": "y"}
    tx = optax.multi_transform({"x": optax.adam(0.1), "y": optax.adam(0.2)}, labels)
    assert [key for key in keys(tx) if "count" in key] == ["scale_by_adam/count@x", "scale_by_adam/count@y"]
    turned = optax.multi_transform({"y": optax.adam(0.1), "x": optax.adam(0.2)}, labels)
    flat = gx.to_flat(tx, tx.init(W)) | {"scale_by_adam/count@y": np.int32(7)}
    states = gx.from_flat(turned, W, flat).inner_states
    assert {name: int(gx.find(x, "count")) for name, x in states.items()} == {"x": 0, "y": 7}
