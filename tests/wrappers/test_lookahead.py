"""`lookahead`: slow weights, what they are beside the fast ones, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx as gx
from tests.printed import GRADS_M, GRADS_V, M, V, checksum, fed, path, sums
from tests.reference import over_any
from tests.refusals import refused

pytestmark = pytest.mark.slow


def test_printed():
    tx = gx.lookahead(gx.sgd(0.1), 2, 0.5)
    np.testing.assert_allclose(fed(tx), (7.3125, 5.82), rtol=1e-12)
    grads = [{"m": m, "v": v} for m, v in zip(GRADS_M, GRADS_V, strict=True)]
    params, state = path(tx, lambda t, params: grads[t], 3)
    np.testing.assert_allclose(sums(gx.evaluation_parameters(tx, state, params)), (7.5125, 5.97), rtol=1e-12)


def weights(tx, steps=7):
    """The checksums of the weights and of the slow ones at each step."""
    w, update = jnp.asarray(V), jax.jit(tx.update)
    state = tx.init(w)
    for t in range(steps):
        updates, state = update(jnp.asarray(GRADS_V[t % 3]), state, w)
        w = gx.apply_updates(w, updates)
        yield checksum(w), checksum(gx.evaluation_parameters(tx, state, w))


def test_the_way_of_both():
    steps = [-0.1 * GRADS_V[t % 3] for t in range(7)]
    expected = [(checksum(w), checksum(slow)) for w, slow in over_any.slow_weights(V, steps, 3, 0.4)]
    np.testing.assert_allclose(list(weights(gx.lookahead(gx.sgd(0.1), 3, 0.4))), expected, rtol=1e-12)


def test_at_its_ends_it_is_the_optimizer_or_a_share_of_it():
    plain = [w for w, _ in weights(gx.lookahead(gx.sgd(0.1), 2**31 - 1))]
    np.testing.assert_allclose([w for w, _ in weights(gx.lookahead(gx.sgd(0.1), 3, 1.0))], plain, rtol=1e-12)
    share = [w for w, _ in weights(gx.lookahead(gx.sgd(0.1), 1, 0.25))]
    np.testing.assert_allclose(share, np.add(checksum(V), np.subtract(plain, checksum(V)) / 4), rtol=1e-12)


def test_a_schedule_of_the_period_ends_a_wait_that_is_long_enough():
    tx = gx.lookahead(gx.sgd(0.1), lambda n: jnp.where(n < 3, 4, 2), 0.5)
    seen = [slow for _, slow in weights(tx)]
    assert [i for i in range(1, 7) if seen[i] != seen[i - 1]] == [3, 5]


def test_half_precision_keeps_slow_weights_in_float32():
    tx, w = gx.lookahead(gx.sgd(1.0), 1, 2.0**-10), jnp.ones(1, jnp.bfloat16)
    state = tx.init(w)
    for _ in range(2):
        _, state = tx.update(jnp.full(1, -1.0, jnp.bfloat16), state, w)
    np.testing.assert_allclose(state.slow, 1.0 + 2.0**-9, rtol=1e-5)
    assert gx.evaluation_parameters(tx, state, w).dtype == jnp.bfloat16


def test_what_no_update_moves_stays():
    tx = gx.lookahead(gx.only(gx.sgd(0.1), gx.by_path("w")), 1)
    params = {"w": jnp.ones(2), "frozen": jnp.ones(2), "step": jnp.int32(3), "none": None}
    g = {"w": jnp.ones(2), "frozen": jnp.ones(2), "step": np.zeros((), jax.dtypes.float0), "none": None}
    updates, state = tx.update(g, tx.init(params), params)
    np.testing.assert_allclose(updates["w"], -0.05)
    assert not updates["frozen"].any()
    assert updates["step"] is None
    assert gx.evaluation_parameters(tx, state, params)["step"] == 3


def test_refusals():
    tx, w = gx.lookahead(gx.sgd(0.1)), {"w": jnp.asarray(M)}
    with refused(ValueError, "lookahead: update needs the parameters: call update(updates, state, params)"):
        tx.update(w, tx.init(w))
    wrong = "lookahead: updates['w'] does not fit the state, whose slow has shape (3,), expected (2, 3) there; "
    with refused(ValueError, wrong):
        tx.update(w, tx.init({"w": jnp.asarray(V)}), w)
