"""The visitor: every part of a transformation, with its path and its state."""

import jax
import jax.numpy as jnp
import optax
import pytest

import gradtx as gx
from gradtx.core.walk import state_at, walk, with_state_at
from gradtx.values.errors import Refusal
from gradtx.values.value import text_of
from tests.catalogue import TRANSFORMATIONS

W = {"a": jnp.ones(2), "b": jnp.ones((2, 3))}


def names(tx):
    return [(node.path, text_of(node.tx).partition("(")[0], node.keys) for node in walk(tx, tx.init(W))]


def test_a_composition_and_what_it_is_made_of_have_one_path_and_one_state():
    assert names(gx.adamw(0.1)) == [
        ("", "adamw", ()),
        ("", "chain", ()),
        ("parts[0]", "scale_by_adam", (0,)),
        ("parts[1]", "add_decayed_weights", (1,)),
        ("parts[2]", "scale_by_learning_rate", (2,)),
    ]


def test_wrappers_names_and_groups_lead_on():
    tx = gx.chain(
        guard=gx.skip_nonfinite(gx.ema(0.5)),
        groups=gx.partition((gx.by_ndim(2), optax.trace(0.9)), default=gx.every(gx.scale(0.5), gx.constant(2))),
    )
    assert names(tx) == [
        ("", "chain", ()),
        ("guard", "skip_nonfinite", ("guard",)),
        ("guard.tx", "ema", ("guard", "inner_state")),
        ("groups", "partition", ("groups",)),
        ("groups.rules[0][1]", "<optax.trace>", ("groups", 0)),
        ("groups.default", "every", ("groups", 1)),
        ("groups.default.tx", "scale", ("groups", 1, "inner_state", "inner_state")),  # within what the schedule adds
    ]


@pytest.mark.parametrize("member", TRANSFORMATIONS, ids=lambda m: text_of(m.tx))
def test_every_part_of_every_member_is_told_its_own_state(member):
    state = jax.eval_shape(member.tx.init, W)
    for node in walk(member.tx, state):
        assert state_at(state, node.keys) is node.state
        if node.rule and node.rule.numbers:
            assert node.state.count.dtype == jnp.int32
            for name, keys in node.rule.numbers.items():
                assert name in node.tx.arguments
                assert state_at(node.state, keys).shape == ()


def test_a_state_is_changed_at_one_place():
    state = gx.adamw(0.1).init(W)
    other = with_state_at(state, (2, "learning_rate"), jnp.float32(0.5))
    assert float(other[2].learning_rate) == 0.5
    assert other[0] is state[0]
    assert with_state_at({"x": [1, 2]}, ("x", 1), 3) == {"x": [1, 3]}
    with pytest.raises(Refusal, match="the state has no 'mu' in its ScaleByLearningRateState; it was made by another"):
        state_at(state, (2, "mu"))


def test_newton_is_made_of_blocks_like_the_others():
    lines = str(gx.describe(gx.newton())).splitlines()
    assert [line.split()[1] for line in lines if line.strip()[:2] in ("1.", "2.", "3.")] == [
        "scale_by_newton",
        "scale",
        "scale_by_zoom_linesearch",
    ]
    assert "scale_by_zoom_linesearch  state[2].learning_rate" in str(gx.summary(gx.newton(), W))
