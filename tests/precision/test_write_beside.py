"""What is written exactly stays so, whatever other arrays pass through."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx as gx

PARAMS = {"matrix": jnp.ones((4, 4), jnp.bfloat16), "bias": jnp.full(3, 1.5, jnp.bfloat16)}
GRADS = {"matrix": jnp.eye(4, dtype=jnp.bfloat16), "bias": jnp.array([1e-3, -2e-3, 3e-4], jnp.bfloat16)}


@pytest.mark.parametrize("compiled", [True, False])
def test_a_group_beside_rules_for_matrices(compiled):
    """These ask for their arrays as wide as they were computed, in the middle of a chain."""
    written = gx.chain(gx.sgd(1.0), gx.write_from_master())
    matrices = gx.chain(gx.scale_by_muon(), gx.scale_by_learning_rate(0.1))
    tx = gx.partition((gx.by_path("bias"), written), default=matrices)
    step = jax.jit(tx.update) if compiled else tx.update
    params, state = PARAMS, tx.init(PARAMS)
    for _ in range(40):
        updates, state = step(GRADS, state, params)
        assert updates["bias"].dtype == jnp.float32
        params = gx.apply_updates(params, updates)
    alone, own = PARAMS["bias"], written.init(PARAMS["bias"])
    for _ in range(40):
        updates, own = written.update(GRADS["bias"], own, alone)
        alone = gx.apply_updates(alone, updates)
    np.testing.assert_array_equal(params["bias"], alone)


@pytest.mark.parametrize("factor", [0.5, np.float64(0.5)], ids=["float", "float64"])
def test_a_number_behind_it_decides_no_dtype(factor):
    tx = gx.chain(gx.sgd(1.0), gx.write_from_master(), gx.scale(factor))
    updates, _ = tx.update(GRADS, tx.init(PARAMS), PARAMS)
    assert {u.dtype for u in updates.values()} == {np.dtype("float32")}
