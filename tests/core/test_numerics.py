"""Where rounding, overflow and zero would show."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx as gx

HALF = [jnp.float16, jnp.bfloat16]


@pytest.mark.parametrize("dtype", HALF)
def test_a_norm_of_half_precision_does_not_overflow(dtype):
    tree = {"w": jnp.full((1000,), 300.0, dtype), "b": jnp.zeros(3, dtype)}
    assert gx.global_norm(tree).dtype == jnp.float32
    np.testing.assert_allclose(gx.global_norm(tree), 300.0 * 1000**0.5, rtol=1e-6)
    for clip in (gx.clip_by_norm(1.0), gx.clip_by_global_norm(1.0)):
        clipped, _ = clip.update(tree, clip.init(tree))
        np.testing.assert_allclose(gx.global_norm(clipped), 1.0, rtol=1e-2)


def test_the_norm_of_an_empty_tree_is_zero_and_so_is_the_gradient_at_zero():
    assert gx.global_norm({}) == 0.0
    assert (jax.grad(gx.global_norm)(jnp.zeros(3)) == 0.0).all()


def test_a_norm_beyond_float32_clips_to_zeros():
    g = jnp.full(4, 2e19, jnp.float32)
    tx = gx.clip_by_global_norm(1.0)
    assert (tx.update(g, tx.init(g))[0] == 0.0).all()


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize(
    "tx", [gx.adamw(0.1, weight_decay=0.3), gx.add_decayed_weights(0.3), gx.rmsprop(0.1)], ids=repr
)
def test_formulas_compute_in_float32_and_round_once(dtype, tx):
    g, p = (jax.random.normal(jax.random.key(i), (100,), dtype) for i in (0, 1))
    got, state = tx.update(g, tx.init(p), p)
    wide_g, wide_p = g.astype(jnp.float32), p.astype(jnp.float32)
    expected, wide_state = tx.update(wide_g, tx.init(wide_p), wide_p)
    np.testing.assert_array_equal(got, expected.astype(dtype))
    jax.tree.map(np.testing.assert_array_equal, state, wide_state)


def test_apply_updates_adds_in_the_wider_dtype():
    p, u = jnp.ones(1, jnp.bfloat16), jnp.array([0.00391], jnp.float32)  # half a unit in the last place, and a little
    assert gx.apply_updates(p, u) == jnp.array([1.0078125], jnp.bfloat16)
    assert gx.apply_updates(p, u).dtype == jnp.bfloat16


def test_states_of_weakly_typed_parameters_are_strongly_typed():
    tx, weak = gx.adam(0.1), {"w": jnp.asarray(1.0), "b": 2.0}
    assert not any(x.weak_type for x in jax.tree.leaves(tx.init(weak)))
    assert not any(x.weak_type for x in jax.tree.leaves(tx.update(weak, tx.init(weak), weak)))


def test_an_empty_tree_has_the_same_fields():
    assert gx.ema(0.9).init({}) == gx.EmaState({})
    assert gx.scale_by_rms(centered=True).init({})[1:] == ({}, {})
    assert gx.scale_by_rms().init({})[1:] == ({}, None)


@pytest.mark.usefixtures("float32")
def test_bias_correction_keeps_its_digits_in_float32():
    tx = gx.bias_correction(0.9999)
    got, _ = jax.jit(lambda g: tx.update(g, tx.init(g)))(jnp.ones(1))
    np.testing.assert_allclose(got, 1 / (1 - 0.9999), rtol=1e-6)


@pytest.mark.usefixtures("float32")
def test_a_centered_mean_square_of_a_constant_stays_finite():
    tx, g = gx.scale_by_rms(0.9, centered=True), jnp.linspace(0.1, 1.1, 101)
    _, updates = jax.lax.scan(lambda state, _: tx.update(g, state)[::-1], tx.init(g), None, 300)
    assert np.isfinite(updates).all()


def test_a_joint_hides_no_nan_in_the_gradient_of_what_follows():
    def early(x):
        return gx.constant(x).then(lambda t: jnp.sqrt(x + t), at=5)(0)

    assert jax.grad(early)(1.0) == 1.0
