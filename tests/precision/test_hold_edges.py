"""Where a state in codes could go wrong unseen: chunks, keys, selectors, other people's states, checkpoints."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx
from gradtx.core import chunks
from gradtx.precision.rounding import keys_for
from tests.precision.held import BIG, NEAREST, W, steps
from tests.refusals import refused

EIGHT = gx.blocks(8, 16, min_size=0, stochastic=False)
ADAM = gx.hold(gx.scale_by_adam(), mu=EIGHT, nu=EIGHT)


class OwnState(NamedTuple):
    m: Any
    steps: Any


@gx.transformation
def with_a_number_for_each_array():
    return gx.per_array(
        OwnState,
        init=lambda p: dict(m=jnp.zeros_like(p), steps=jnp.zeros([], p.dtype)),
        update=lambda g, s: (s.m / (s.steps + 1.0), dict(m=0.9 * s.m + g, steps=s.steps + 1.0)),
    )


@gx.transformation
def by_formula(name: str):
    mask = jnp.linspace(0.0, 1.0, 32 * 64, dtype=jnp.float32).reshape(32, 64)
    return gx.stateless(
        dict(
            width=lambda g: g * (64.0 / g.shape[-1]),
            size=lambda g: g * g.size**-0.5,
            dimensions=lambda g: 2.0 * g if g.ndim == 2 else g,
            centered=lambda g: g - jnp.mean(g, axis=1, keepdims=True),
            masked=lambda g: g * mask,
            sorted=lambda g: jnp.sort(g, axis=0),
            plain=lambda g: jnp.tanh(g) * 2.0,
        )[name]
    )


@pytest.fixture
def one_device(monkeypatch):
    """As in a process with one device, where an array of 512 elements and more is cut."""
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    monkeypatch.setattr(chunks, "CHUNK", {jax.default_backend(): 256})


def is_cut(tx, params):
    return "scan[" in str(jax.make_jaxpr(tx.update)(params, tx.init(params), params))


@pytest.mark.usefixtures("one_device")
@pytest.mark.parametrize(
    ("tx", "cut"),
    [
        (ADAM, True),
        (gx.chain(gx.clip_by_global_norm(1.0), ADAM), True),
        (gx.chain(ADAM, by_formula("plain")), True),
        *[(gx.chain(ADAM, by_formula(name)), False) for name in ("width", "size", "dimensions", "centered", "masked")],
        (gx.chain(ADAM, by_formula("sorted")), False),
        (gx.chain(ADAM, gx.clip_by_norm(0.1)), False),
        (gx.hold(with_a_number_for_each_array(), m=EIGHT), False),
    ],
    ids=lambda x: repr(x),
)
def test_an_array_is_cut_only_where_that_changes_nothing(tx, cut, monkeypatch):
    params = {"w": jnp.zeros((32, 64), jnp.float32)}
    assert is_cut(tx, params) == cut
    in_chunks = steps(tx, params, 3)
    monkeypatch.setattr(chunks, "CHUNK", {jax.default_backend(): 2**30})
    whole = steps(tx, params, 3)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7), in_chunks, whole)


@pytest.mark.usefixtures("one_device")
@pytest.mark.parametrize("shape", [(33, 31), (30, 34), (2, 513), (1023,)])
def test_a_block_that_is_not_full_is_not_cut(shape):
    steps(ADAM, {"w": jnp.zeros(shape, jnp.float32)}, 2)


# ---- selectors ----


def test_where_asks_about_the_parameters_with_none_among_them():
    w = jnp.ones((64, 64), jnp.float32)
    mu = gx.find(gx.hold(gx.adam(0.1), mu=NEAREST, where=gx.by_path("b")).init({"a": None, "b": w, "c": w}), "mu")
    assert (mu["a"], mu["b"].dtype, mu["c"].dtype) == (None, jnp.bfloat16, jnp.float32)
    beside = gx.hold(gx.only(gx.adam(0.1), gx.by_path("w")), mu=NEAREST, where=gx.by_path("w"))
    assert gx.find(beside.init({"i": jnp.arange(3), "w": w}), "mu")["w"].dtype == jnp.bfloat16


# ---- keys ----


def test_no_two_arrays_share_their_bits():
    w = {"a": jnp.zeros(4096, jnp.float32), "b": jnp.zeros(4096, jnp.float32)}
    g = jax.tree.map(lambda x: jnp.linspace(0.1, 1.0, 4096, dtype=jnp.float32), w)
    own = gx.hold(gx.scale_by_rms(0.9), nu=gx.bfloat16)
    tx = gx.partition((gx.by_path("a"), own), (gx.by_path("b"), own))
    _, state = tx.update(g, tx.init(w), w)
    a, b = (x for x in jax.tree.leaves(state) if x.dtype == jnp.bfloat16)
    # With bits of their own two agree in p² + (1 - p)² of the cases, 2/3 over all p; with the same bits in all.
    assert float(jnp.mean(a == b)) == pytest.approx(2 / 3, abs=0.05)
    kinds = [keys_for(jax.random.key(0), 3, 2, purpose).tolist() for purpose in ("mu", "nu", "write", "")]
    assert len({str(key) for keys in kinds for key in keys}) == 8


# ---- other people's states ----


class Gaussian(NamedTuple):
    mu: Any
    sigma: Any


def test_states_of_optax_are_found_and_named_parameters_are_not():
    w = jnp.ones((64, 64), jnp.float32)
    several = optax.multi_transform({"a": optax.adam(1e-3), "b": optax.sgd(0.1, 0.9)}, {"w": "a", "b": "b"})
    state = gx.hold(several, mu=gx.float8).init({"w": w, "b": w})
    assert gx.find(state, "mu")["w"].codes.dtype == jnp.uint8
    state = gx.hold(optax.adam(1e-3), mu=BIG).init(Gaussian(w, w))
    mu, nu = gx.find(state, "0/mu"), gx.find(state, "0/nu")
    assert (type(mu.mu).__name__, type(mu.sigma).__name__, nu.mu.dtype) == ("Held", "Held", jnp.float32)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float64])
def test_what_optax_finds_decoded_has_its_dtype(dtype):
    tx = gx.hold(optax.apply_if_finite(optax.adam(1e-3), 3), mu=gx.bfloat16, nu=gx.bfloat16)
    w = jnp.ones(32, dtype)
    u, _ = tx.update(w, tx.init(w), w)
    own, _ = optax.adam(1e-3).update(w, optax.adam(1e-3).init(w), w)
    assert jnp.result_type(u) == jnp.result_type(own)


def test_copies_under_vmap_are_decoded_together():
    tx = gx.hold(gx.adam(0.1), mu=BIG, nu=BIG)
    state = jax.vmap(tx.init)(jnp.zeros((3, 8, 8), jnp.float32))
    assert gx.find(state, "nu").decode().shape == (3, 8, 8)


# ---- guards ----


@pytest.mark.parametrize("codec", [gx.bfloat16(stochastic=False), gx.bfloat16, BIG], ids=repr)
def test_a_guard_around_what_is_held_leaves_a_window_as_it_is(codec):
    """A step that is left out changes no code and counts none: the others are as if it had not been."""
    held = gx.hold(gx.accumulate(gx.adam(0.1), 3), acc_grads=codec, mu=codec, nu=codec)
    tx, params = gx.skip_nonfinite(held), {"w": jnp.linspace(-1.0, 2.0, 64, dtype=jnp.float32).reshape(8, 8)}
    grads = [jax.tree.map(lambda x, i=i: x + i, params) for i in range(7)]
    bad = jax.tree.map(lambda x: x * jnp.nan, params)
    state, plain = tx.init(params), held.init(params)
    step, alone = jax.jit(tx.update), jax.jit(held.update)
    for i, g in enumerate(grads):
        if i in (0, 2, 5):
            before = state.inner_state
            updates, state = step(bad, state, params)
            jax.tree.map(np.testing.assert_array_equal, state.inner_state, before)
            np.testing.assert_array_equal(updates["w"], 0.0)
        updates, state = step(g, state, params)
        expected, plain = alone(g, plain, params)
        jax.tree.map(np.testing.assert_array_equal, (updates, state.inner_state), (expected, plain))
    assert int(gx.find(state, "total")) == 3


# ---- edges of codecs ----


def test_one_number_in_4_bits_and_tiny_blocks_in_8():
    four = gx.blocks(4, min_size=0)
    assert float(four.decode(four.encode(jnp.float32(3.0)))) == 3.0
    for mantissa in (2, 3):
        codec = gx.float8(mantissa, min_size=0)
        x = jnp.array([1e-34, -1e-34, 0.0, 5e-35], jnp.float32)
        np.testing.assert_allclose(codec.decode(codec.encode(x)), x, rtol=1e-6)


# ---- checkpoints ----

KEY = "scale_by_adam/mu/w"


@pytest.mark.parametrize(
    "text", [b"", b"\xff", b"blocks(8) floaty 64 64", b"blocks(8) float32 a b", b"bfloat16", b"adam(0.1) float32 3"]
)
def test_a_text_that_names_no_codec_is_refused(text):
    tx = gx.hold(gx.adam(0.1), mu=BIG)
    flat = dict(gx.to_flat(tx, tx.init(W))) | {KEY + "/codec": np.frombuffer(text, np.uint8)}
    with refused(ValueError, f"from_flat: {KEY}/codec says"):
        gx.from_flat(gx.adam(0.1), W, flat)


def test_codes_that_do_not_fit_their_text_are_refused():
    tx = gx.hold(gx.adam(0.1), mu=BIG)
    flat = dict(gx.to_flat(tx, tx.init(W)))
    with refused(ValueError, f"from_flat: {KEY}: codes and scale are"):
        gx.from_flat(gx.adam(0.1), W, flat | {KEY + "/codes": flat[KEY + "/codes"].astype(jnp.int32)})
    bare = {key: x for key, x in flat.items() if key != KEY + "/codec"}
    with refused(ValueError, f"from_flat: {KEY}/codes has no {KEY}/codec, which says how to read it"):
        gx.from_flat(tx, W, bare)


@pytest.mark.parametrize("damaged", [3, None, "blocks(8)", np.ones(4), jax.random.key(0)], ids=str)
def test_what_is_no_codec_and_what_are_no_codes(damaged):
    tx = gx.hold(gx.adam(0.1), mu=BIG)
    flat = dict(gx.to_flat(tx, tx.init(W)))
    with refused(
        TypeError, f"from_flat: {KEY}/codec must be the bytes of a text, uint8[n] as to_flat makes them, got "
    ):
        gx.from_flat(tx, W, flat | {KEY + "/codec": damaged})
    with refused(ValueError, f"from_flat: {KEY}: codes and scale are"):
        gx.from_flat(gx.adam(0.1), W, flat | {KEY + "/codes": damaged})


@pytest.mark.parametrize("damaged", [3, None, "w", np.array(["w"]), jax.random.key(0)], ids=str)
def test_what_can_not_be_encoded(damaged):
    plain = gx.adam(0.1)
    flat = dict(gx.to_flat(plain, plain.init(W)))
    with refused(TypeError, f"from_flat: {KEY} must be an array of numbers, got "):
        gx.from_flat(gx.hold(plain, mu=BIG), W, flat | {KEY: damaged})
