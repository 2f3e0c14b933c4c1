"""A part whose state changes its form can't stand where a step may be left out."""

import jax.numpy as jnp
import optax
import pytest

import gradtx as gx
from tests.refusals import refused

PARAMS = {"w": jnp.ones(2), "b": jnp.ones(3)}
REMEDY = "where a step may be left out; a state must keep its form: give an update for each array that init was given"


@pytest.mark.parametrize(
    ("tx", "name"),
    [
        (gx.skip_nonfinite(optax.trace(0.9)), "skip_nonfinite"),
        (gx.accumulate(optax.trace(0.9), 1), "accumulate"),
        (gx.every(optax.trace(0.9), 1), "every"),
    ],
)
def test_optax_has_no_state_where_there_is_no_gradient(tx, name):
    state = tx.init(PARAMS)
    with refused(ValueError, f"{name}: its state has lost .trace['b'], {REMEDY}"):
        tx.update({"w": jnp.ones(2), "b": None}, state, PARAMS)


def test_a_state_of_other_nodes():
    @gx.transformation
    def other_nodes():
        return lambda params: [jnp.zeros(1)], lambda updates, state, params=None: (updates, tuple(state))

    tx = gx.skip_nonfinite(other_nodes())
    with refused(ValueError, f"skip_nonfinite: its state has changed its nodes, {REMEDY}"):
        tx.update(PARAMS, tx.init(PARAMS), PARAMS)
