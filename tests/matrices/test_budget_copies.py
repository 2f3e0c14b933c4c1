"""What a step of Shampoo, Kron and a subspace copies of its state, in XLA's program for the CPU."""

import re

import jax
import jax.numpy as jnp
import pytest

import gradtx as gx
from tests.budgets import analysed, train

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("float32")]


def test_shampoo_copies_no_factors_and_no_roots():
    tx, p = gx.scale_by_shampoo(every=10), jnp.zeros((256, 128))
    text = train(tx.update).lower(p, tx.init(p), p).compile().as_text()
    assert text is not None
    assert "%state_left_root" in text
    assert not re.findall(r"copy\(%state_(left|right)\w*", text)


def test_kron_copies_no_factors():
    tx, p = gx.scale_by_kron(probability=0.1), jnp.zeros((256, 128))
    text = train(tx.update).lower(p, tx.init(p), p).compile().as_text()
    assert text is not None
    assert "%state_left" in text
    assert "copy(%state_left" not in text
    assert "copy(%state_right" not in text


@pytest.mark.skipif(jax.__version_info__ < (0, 10), reason="older XLA makes temporaries in plain sums")
def test_galore_copies_no_state():
    params = jnp.ones((256, 4096))
    held, temporary = [], []
    for rank in (1, 192):
        tx = gx.galore(0.1, rank)
        state = tx.init(params)
        held.append(sum(x.nbytes for x in jax.tree.leaves(state)) / params.size)
        temporary.append(analysed(train(tx.update).lower(params, state, params), params.size)[1])
    assert held[1] == pytest.approx(4 * 192 * (2 / 256 + 1 / 4096), rel=1e-3)
    # In the branch, the gradient, its singular vectors and what a loop reads and writes; behind it the updates.
    assert temporary[0] < 9.3
    assert temporary[1] < temporary[0] + 0.01
