"""What wraps any transformation, around AdamW, Lion and Muon: beside Optax's wrapper around the same, or NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx
from tests.printed import GRADS_M, GRADS_V, TREE, loss
from tests.reference import over_any

pytestmark = pytest.mark.slow

RATE, STEPS = 0.1, 9
grad = jax.grad(loss)
OPTIMIZERS = {
    "adamw": gx.adamw(RATE, weight_decay=0.1),
    "lion": gx.lion(RATE),
    "muon": gx.muon(RATE, others=gx.adamw(RATE)),
}
DIRECTIONS = {
    "adamw": gx.chain(gx.scale_by_adam(), gx.add_decayed_weights(0.1)),
    "lion": gx.scale_by_lion(),
    "muon": gx.partition((gx.by_ndim(at_least=2), gx.scale_by_muon()), default=gx.scale_by_adam()),
}


def down(tx, start=TREE, fast=lambda params: params, extra=lambda params: {}):
    """The parameters on the way down the loss, and the last state."""

    @jax.jit
    def run(params):
        def step(carry, _):
            params, state = carry
            updates, state = tx.update(grad(fast(params)), state, params, **extra(params))
            params = optax.apply_updates(params, updates)
            return (params, state), params

        (_, state), seen = jax.lax.scan(step, (params, tx.init(params)), None, STEPS)
        return seen, state

    return run(jax.tree.map(jnp.asarray, start))


def assert_equal(ours, theirs, rtol=1e-9):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol, 1e-12), ours, theirs)


@pytest.mark.parametrize("inner", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_lookahead_is_optaxs(inner):
    theirs, _ = down(
        optax.lookahead(inner, 3, 0.4), optax.LookaheadParams.init_synced(TREE), lambda params: params.fast
    )
    tx = gx.lookahead(inner, 3, 0.4)
    ours, state = down(tx)
    assert_equal(ours, theirs.fast)
    assert_equal(gx.evaluation_parameters(tx, state, TREE), jax.tree.map(lambda x: x[-1], theirs.slow))


@pytest.mark.parametrize("direction", DIRECTIONS.values(), ids=DIRECTIONS)
def test_schedule_free_is_optaxs_at_a_constant_rate(direction):
    theirs, their_state = down(
        optax.contrib.schedule_free(gx.chain(direction, gx.scale_by_learning_rate(RATE)), RATE, 0.8)
    )
    tx = gx.schedule_free(direction, RATE, 0.8)
    ours, state = down(tx)
    assert_equal(ours, theirs)
    last = jax.tree.map(lambda x: x[-1], ours)
    expected = optax.contrib.schedule_free_eval_params(their_state, last)
    assert_equal(gx.evaluation_parameters(tx, state, last), expected)


@pytest.mark.parametrize("transparent", [False, True], ids=["opaque", "transparent"])
@pytest.mark.parametrize("inner", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_sam_is_optaxs(inner, transparent):
    up = optax.chain(optax.contrib.normalize(), optax.sgd(0.3))
    peer = optax.contrib.sam(inner, up, sync_period=3, opaque_mode=not transparent)
    theirs, _ = down(peer, extra=lambda params: dict(grad_fn=lambda params, i: grad(params)))
    ours, _ = down(gx.sam(inner, 0.3, 2, transparent=transparent), extra=lambda params: dict(grad_fn=grad))
    assert_equal(ours, theirs)


@pytest.mark.parametrize("inner", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_mechanize_is_optaxs(inner):
    theirs, their_state = down(optax.contrib.mechanize(inner, s_init=0.1, weight_decay=0.5, num_betas=3))
    ours, state = down(gx.mechanize(inner, 0.5, s_init=0.1, num_betas=3))
    assert_equal(ours, theirs)
    for name in ("r", "m", "v", "s"):
        assert_equal(getattr(state, name), getattr(their_state, name))


@pytest.mark.parametrize("direction", DIRECTIONS.values(), ids=DIRECTIONS)
def test_cautious_masks_array_by_array(direction):
    plain, tx = direction, gx.cautious(direction)
    params = jax.tree.map(jnp.asarray, TREE)
    plain_state, state = plain.init(params), tx.init(params)
    update, plain_update = jax.jit(tx.update), jax.jit(plain.update)
    some = 0
    grads = [{"m": m, "v": v} for m, v in zip(GRADS_M, GRADS_V, strict=True)]
    for g in [*grads, jax.tree.map(lambda x: -0.01 * x, grads[0])]:  # which a memory outweighs
        u, plain_state = plain_update(g, plain_state, params)
        masked, state = update(g, state, params)
        assert_equal(masked, jax.tree.map(over_any.masked_direction, u, g))
        some += sum(int((np.asarray(x) == 0).any()) for x in masked.values())
    assert some
    assert jax.tree.structure(state) == jax.tree.structure(plain_state)  # one can go on from the other's
