"""Flat states of random keys, of dtypes that NumPy does not keep, and inside of `jit`."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx
from tests.refusals import refused

W = {"w": jnp.linspace(0.0, 1.0, 6, dtype="float32").reshape(2, 3), "b": jnp.ones(3, "float32")}


def trained(tx, params=W):
    return tx.update(params, tx.init(params), params)[1]


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_random_keys_are_saved_as_their_data(impl, tmp_path):
    tx = gx.chain(optax.add_noise(0.1, 0.5, jax.random.key(3, impl=impl)), gx.sgd(0.1))
    state = trained(tx)
    flat = gx.to_flat(tx, state)
    assert flat["add_noise/rng_key"].dtype == np.uint32
    np.savez(tmp_path / "state.npz", **flat)
    with np.load(tmp_path / "state.npz") as saved:
        taken = gx.from_flat(gx.skip_nonfinite(tx), W, saved).inner_state
    assert taken[0].rng_key.dtype == state[0].rng_key.dtype
    for a, b in zip(tx.update(W, taken, W)[0].values(), tx.update(W, state, W)[0].values(), strict=True):
        np.testing.assert_array_equal(a, b)
    shapes = jax.eval_shape(lambda: W)
    template = gx.to_flat(tx, jax.eval_shape(tx.init, W))
    assert (template["add_noise/rng_key"].shape, template["add_noise/rng_key"].dtype) == (
        flat["add_noise/rng_key"].shape,
        np.uint32,
    )
    assert gx.from_flat(tx, shapes, template)[0].rng_key.dtype == state[0].rng_key.dtype


def test_keys_of_another_kind():
    one, other = (optax.add_noise(0.1, 0.5, jax.random.key(3, impl=x)) for x in ("threefry2x32", "rbg"))
    with refused(ValueError, "add_noise/rng_key is uint32[2], expected uint32[4]"):
        gx.from_flat(gx.chain(other), W, gx.to_flat(gx.chain(one), gx.chain(one).init(W)))


@pytest.mark.parametrize(
    ("before", "after"), [("bfloat16", "float32"), ("bfloat16", "bfloat16"), ("bfloat16", "float16")]
)
def test_bfloat16_of_numpys_files_may_have_become_another_float(before, after, tmp_path):
    tx = gx.ema(0.5)
    np.savez(tmp_path / "state.npz", x=np.arange(3.0).astype("bfloat16"))
    with np.load(tmp_path / "state.npz") as saved:
        assert saved["x"].dtype.str == "|V2"
        flat = {"version": 1, "ema/ema/b": saved["x"]}
    params = {"b": jnp.ones(3, after)}
    ema = gx.from_flat(tx, params, flat).ema["b"]
    assert ema.dtype == tx.init(params).ema["b"].dtype
    np.testing.assert_array_equal(np.asarray(ema, float), [0.0, 1.0, 2.0])


def test_one_byte_may_be_many_kinds():
    x = np.ones(3, jnp.float8_e4m3fn).view("V1")
    words = "ema/ema/b is |V1[3], expected float32[3] (of which dtype, NumPy has not kept: view it as that first)"
    with refused(ValueError, words):
        gx.from_flat(gx.ema(0.5), {"b": W["b"]}, {"version": 1, "ema/ema/b": x})
    viewed = {"version": 1, "ema/ema/b": x.view(jnp.float8_e4m3fn)}
    np.testing.assert_array_equal(gx.from_flat(gx.ema(0.5), {"b": W["b"]}, viewed).ema["b"], np.ones(3))


def test_inside_of_jit():
    before = gx.chain(optax.add_noise(0.1, 0.5, jax.random.key(3)), gx.adamw(0.1))
    after = gx.skip_nonfinite(gx.chain(optax.add_noise(0.1, 0.5, jax.random.key(3)), gx.adamw(gx.linear(0.1, 0.0, 9))))
    state = trained(before)
    flat = gx.to_flat(before, state)
    expected = gx.from_flat(after, W, flat)
    ways = [
        jax.jit(lambda params, flat: gx.from_flat(after, params, flat))(W, flat),
        jax.jit(lambda flat: gx.from_flat(after, W, flat))(flat),
        jax.jit(lambda params: gx.from_flat(after, params, flat))(W),
        jax.jit(lambda state: gx.from_flat(after, W, gx.to_flat(before, state)))(state),
    ]
    for taken in ways:
        assert jax.tree.structure(taken) == jax.tree.structure(expected)
        for a, b in zip(jax.tree.leaves(taken), jax.tree.leaves(expected), strict=True):
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            if not jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
                assert a.weak_type == b.weak_type
                np.testing.assert_array_equal(a, b)


def test_numbers_of_groups_inside_of_jit_go_to_their_group_and_to_no_other():
    tx = gx.partition((gx.by_path("w"), gx.sgd(gx.controlled(0.1))), default=gx.sgd(gx.controlled(0.5)))
    turned = gx.partition((gx.by_path("b"), gx.sgd(gx.controlled(0.5))), default=gx.sgd(gx.controlled(0.1)))
    take = jax.jit(lambda flat: gx.from_flat(turned, W, flat))
    b, w = take(gx.to_flat(tx, tx.init(W), W))
    assert (float(b.learning_rate), float(w.learning_rate)) == (0.5, 0.1)
    with refused(ValueError, "partition: nothing in tx takes scale_by_learning_rate/controlled/learning_rate@by_path("):
        take(gx.to_flat(tx, tx.init(W)))


def test_numbers_that_take_the_dtype_of_others_do_so_inside_of_jit():
    tx = optax.scale_by_backtracking_linesearch(5)
    fresh = tx.init(W)
    flat = {key: np.asarray(x) for key, x in gx.to_flat(tx, fresh).items()}
    assert any(x.weak_type for x in jax.tree.leaves(fresh))
    taken = jax.jit(lambda params: gx.from_flat(tx, params, flat))(W)
    assert [x.weak_type for x in jax.tree.leaves(taken)] == [x.weak_type for x in jax.tree.leaves(fresh)]
