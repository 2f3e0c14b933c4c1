"""LAMB, LARS and Fromage: what peers printed, Optax's paths, and which arrays have the ratio."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx
from tests.printed import GRADS_M, GRADS_V, TREE, fed

pytestmark = pytest.mark.slow  # formulas do not turn on versions

PRINTED = [
    (gx.lamb(0.1), (3.5607666655, 4.2060458180)),
    (gx.lamb(0.1, weight_decay=0.1), (3.6000380457, 4.0437823636)),
    (gx.lars(0.1), (7.7439986340, 5.9973494757)),
    (gx.lars(0.1, weight_decay=0.1, coefficient=1.0), (1.3395652930, 2.6766145424)),
    (gx.fromage(0.1), (4.7328099664, 4.3860540914)),
]


@pytest.mark.parametrize(("tx", "expected"), PRINTED, ids=[repr(tx) for tx, _ in PRINTED])
def test_numbers_that_peers_printed(tx, expected):
    np.testing.assert_allclose(fed(tx), expected, rtol=1e-10)


def test_lamb_with_the_eps_of_keras():
    np.testing.assert_allclose(fed(gx.lamb(0.1, eps=1e-7))[0], 3.5607642, rtol=1e-8)  # so many digits were printed


def path(tx, steps=40):
    def step(carry, t):
        params, state = carry
        g = {"m": jnp.asarray(GRADS_M)[t % 3], "v": jnp.asarray(GRADS_V)[t % 3]}
        updates, state = tx.update(g, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    start = jax.tree.map(jnp.asarray, TREE)
    return jax.jit(lambda: jax.lax.scan(step, (start, tx.init(start)), jnp.arange(steps))[1])()


MATRICES = gx.by_ndim(at_least=2)
DECAYED = {"m": True, "v": False}
FALLING = gx.linear(0.1, 0.01, 40)
AS_OPTAX = [
    (gx.lamb(0.1, weight_decay=0.1, mask=MATRICES), optax.lamb(0.1, weight_decay=0.1, mask=DECAYED)),
    (gx.lamb(FALLING), optax.lamb(FALLING)),
    (
        gx.lars(0.1, 0.8, True, coefficient=0.1, weight_decay=0.1, mask=MATRICES, eps=0.1),
        optax.lars(
            0.1,
            0.1,
            weight_decay_mask=DECAYED,
            trust_ratio_mask=DECAYED,
            trust_coefficient=0.1,
            eps=0.1,
            momentum=0.8,
            nesterov=True,
        ),
    ),
    (gx.fromage(0.1), optax.fromage(0.1)),
]


@pytest.mark.parametrize(("ours", "theirs"), AS_OPTAX, ids=[repr(tx) for tx, _ in AS_OPTAX])
def test_paths_of_optax(ours, theirs):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-11), path(ours), path(theirs))


def test_a_step_is_a_share_of_each_array():
    """Without decay, whatever the gradient's size."""
    w = {"a": jnp.array([3.0, 4.0]), "b": jnp.array([[1e-3]]), "c": jnp.zeros(2)}
    g = {"a": jnp.array([1e-5, 0.0]), "b": jnp.array([[1e5]]), "c": jnp.array([0.5, 0.0])}
    for tx, share in ((gx.lamb(0.1), 0.1), (gx.lars(0.1, coefficient=0.5), 0.05)):
        updates, _ = tx.update(g, tx.init(w), w)
        for name in "ab":
            lengths = np.linalg.norm(updates[name]), np.linalg.norm(w[name])
            np.testing.assert_allclose(lengths[0], share * lengths[1], rtol=1e-12)
        assert np.isfinite(updates["c"]).all()


def test_fromage_at_a_right_angle_keeps_the_norm():
    w, g = jnp.array([3.0, 4.0]), jnp.array([-40.0, 30.0])
    for rate in (0.0, 0.1, gx.linear(0.5, 0.1, 4)):
        tx = gx.fromage(rate)
        after = gx.apply_updates(w, tx.update(g, tx.init(w), w)[0])
        np.testing.assert_allclose(np.linalg.norm(after), 5.0, rtol=1e-15)
    tx, small = gx.renormalize(1e-4), jnp.ones(1, jnp.float32)  # 1 - 1e-8/2 is 1 in float32
    np.testing.assert_allclose(tx.update(jnp.zeros_like(small), tx.init(small), small)[0], -0.5e-8, rtol=1e-6)
