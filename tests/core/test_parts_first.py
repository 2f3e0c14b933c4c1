"""A part that computes with its numbers, inside of every wrapper: nothing of it is left in a trace."""

import jax
import jax.numpy as jnp
import pytest

import gradtx as gx
from gradtx.core.transformation import takes
from gradtx.testing import problem
from tests.hard_days.chains import WRAPPERS, half_of_adam

PARAMS = {"w": jnp.ones((2, 2)), "v": jnp.ones((2, 3))}


SCHEDULED = {
    "a scheduled wrapper": lambda tx: gx.mechanize(tx, weight_decay=gx.constant(0.1)),
    "a scheduled guard": lambda tx: gx.skip_spikes(tx, gx.constant(5.0)),
    "one under the other": lambda tx: gx.accumulate(gx.lookahead(tx, 2, gx.constant(0.5)), 2),
}
OTHERS = {name: wrap for name, wrap in WRAPPERS.items() if name not in ("optax chain", "freeze", "zero_redundancy")}


@pytest.mark.parametrize("name", [*OTHERS, *SCHEDULED])
def test_no_tracer_is_left_in_a_part(name):
    part = half_of_adam(0.1)
    tx = OTHERS[name](part, 0) if name in OTHERS else SCHEDULED[name](part)
    state = tx.init(PARAMS)
    extra = {key: x for key, x in problem(PARAMS, PARAMS).items() if key in (takes(tx) or ())}
    with jax.checking_leaks():  # of a value that is an argument, whose parts are made inside
        jax.eval_shape(lambda tx, state: tx.update(PARAMS, state, PARAMS, **extra), tx, state)


@pytest.mark.parametrize("name", SCHEDULED)
def test_an_update_outside_of_jit(name):
    tx = SCHEDULED[name](half_of_adam(0.1))
    updates, _ = tx.update(PARAMS, tx.init(PARAMS), PARAMS)
    assert jax.tree.map(jnp.shape, updates) == {"w": (2, 2), "v": (2, 3)}
