"""Where norms tell nothing, where an array has one long axis, and what may stand in a mask."""

import chex
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx
from tests.refusals import refused

pytestmark = pytest.mark.slow


def test_norms_that_were_all_alike_make_no_spike():
    tx, g = gx.zclip(float("inf"), warmup_steps=2), jnp.array([3.0, 4.0])
    state = tx.init(g)
    for _ in range(2):
        _, state = tx.update(jnp.zeros(2), state)
    np.testing.assert_array_equal(tx.update(g, state)[0], g)


def test_an_array_with_one_long_axis_is_one_unit_as_in_optax():
    w, g = jnp.array([[3.0, 4.0]]), jnp.array([[6.0, 0.001]])
    ours, theirs = (
        tx.update(g, tx.init(w), w)[0] for tx in (gx.adaptive_grad_clip(0.1), optax.adaptive_grad_clip(0.1))
    )
    chex.assert_trees_all_close(ours, theirs, rtol=1e-12)


@pytest.mark.parametrize("tx", [gx.prodigy(), gx.dadapt_adamw(), gx.madgrad(), gx.ftrl(0.1), gx.cocob()], ids=repr)
def test_what_finds_its_rate_is_no_block(tx):
    with refused(ValueError, "masked: tx must be a block: "):
        gx.masked(tx, gx.by_ndim(at_least=2))
