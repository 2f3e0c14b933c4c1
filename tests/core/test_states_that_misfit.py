"""A state in which something is damaged is refused with the place, whatever the rule does with what stands there."""

import jax
import jax.numpy as jnp
import pytest

import gradtx as gx
from tests.refusals import refused

W = {"w": jnp.ones(2)}
TX = gx.chain(gx.scale_by_adam(), gx.scale_by_learning_rate(gx.constant(0.1)))
STATE = TX.init(W)
MADE = "; it was not made by this optimizer's init for these parameters"


def with_count(x):
    return (STATE[0]._replace(count=x), STATE[1])


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (with_count(None), "chain: the state has None at [0].count, expected int32[]"),
        (with_count("three"), "chain: the state has str at [0].count, expected int32[]"),
        (with_count(1.5), "chain: the state has float at [0].count, expected int32[]"),
        (with_count(jnp.zeros(3, jnp.int32)), "chain: the state has int32[3] at [0].count, expected int32[]"),
        (with_count({"deeper": jnp.zeros(())}), "chain: the state lacks [0].count"),
    ],
)
@pytest.mark.parametrize("ways", [jax.disable_jit, jax.checking_leaks])
def test_the_place_is_named(state, message, ways):
    with ways(), refused(ValueError, message + MADE) as caught:
        TX.update(W, state, W)
    assert caught.value.__cause__ is not None  # what came up


def test_a_state_that_fits_is_not_blamed():
    def loss(w):
        raise RuntimeError("of the loss")

    tx = gx.scale_by_backtracking_linesearch(3)
    with pytest.raises(RuntimeError, match="of the loss"):
        tx.update(W, tx.init(W), W, value=1.0, grad=W, value_fn=loss)
