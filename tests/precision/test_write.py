"""How parameters of 16 bits are written: what a thousand small steps come to, and every bit of a single one."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx

bf16, f16, f32 = jnp.bfloat16, jnp.float16, jnp.float32
WRITERS = {
    "stochastic": gx.write_stochastically(0),
    "compensated": gx.write_compensated(),
    "master": gx.write_from_master(),
    "split": gx.write_split(),
    "8 bits": gx.write_residual(0),
    "16 bits": gx.write_residual(0, bits=16),
}
BOTH = [(name, dtype) for name in WRITERS for dtype in (bf16, f16) if (name, dtype) != ("split", f16)]
APPLY = {"gradtx": gx.apply_updates, "optax": optax.apply_updates}


@jax.jit
def walked(tx, params, gradients):
    """The last parameters and the last state."""

    def body(carry, g):
        params, state = carry
        u, state = tx.update(g, state, params)
        return (gx.apply_updates(params, u), state), None

    return jax.lax.scan(body, (params, tx.init(params)), gradients)[0]


def bits(x):
    x = np.asarray(x)
    return x.view({1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}[x.dtype.itemsize])


def same_bits(expected, got):
    """Equal to the bit; a negative zero, which nothing can be added to a number for, is a zero."""
    expected, got = np.asarray(expected), np.asarray(got)
    assert expected.dtype == got.dtype
    apart = (bits(expected) != bits(got)) & ~((expected == 0) & (got == 0))
    assert not apart.any(), (expected[apart][:3], got[apart][:3])


def doubles(x):
    return np.asarray(x).astype(np.float64)


# ---- a thousand steps of 0.001 from 1 to 2 ----


def thousand(tx, dtype):
    w, state = walked(tx, jnp.ones(1024, dtype), jnp.full((1000, 1024), 1e-3, f32))
    return w, state, np.float64(walked(gx.identity(), jnp.ones((), f32), jnp.full(1000, 1e-3, f32))[0])


def test_nearest_numbers_never_move():
    assert set(doubles(thousand(gx.identity(), bf16)[0])) == {1.0}


def test_stochastic_rounding_arrives_on_average():
    w, _, truth = thousand(gx.write_stochastically(0), bf16)
    assert abs(doubles(w).mean() - truth) < 4 * 0.085 / 1024**0.5
    assert 0.075 < doubles(w).std() < 0.095


def test_a_residue_of_16_bits_arrives_but_for_its_own_rounding():
    w, state, _ = thousand(gx.write_compensated(), bf16)
    assert set(doubles(w)) == {2.0}
    np.testing.assert_allclose(doubles(state.residue), 0.0031, atol=5e-5)


@pytest.mark.parametrize("dtype", [bf16, f16])
def test_a_copy_in_float32_takes_the_steps_of_float32(dtype):
    w, state, truth = thousand(gx.write_from_master(), dtype)
    assert set(doubles(state.master)) == {truth}
    same_bits(state.master.astype(dtype), w)


def test_the_halves_of_float32_take_the_steps_of_float32():
    w, state, truth = thousand(gx.write_split(), bf16)
    assert set(doubles(joined(w, state.low))) == {truth}


def joined(w, low):
    return ((bits(w).astype(np.uint32) << 16) | np.asarray(low)).view(np.float32)


@pytest.mark.parametrize("dtype", [bf16, f16])
@pytest.mark.parametrize(("width", "parts"), [(8, 127), (16, 32767)])
def test_a_residue_of_whole_numbers_arrives_within_their_rounding(width, parts, dtype):
    w, state, _ = thousand(gx.write_residual(3, bits=width), dtype)
    truth = 1 + 1000 * float(np.float32(1e-3))  # a float32 has lost 5e-5 of it
    unit = float(jnp.finfo(dtype).eps)  # in the last place of numbers from 1 to 2
    half = np.where(doubles(w) < 2, unit, 2 * unit) / 2
    reached = doubles(w) + doubles(state.residue) * half / parts
    deviation = 1000**0.5 * unit / 2 / parts / 2  # at most, of one weight
    assert np.abs(reached - truth).max() < 5 * deviation
    assert abs(reached.mean() - truth) < 4 * deviation / 1024**0.5


@pytest.mark.parametrize("tx", [gx.write_from_master(), gx.write_split()], ids=repr)
def test_with_an_optimizer_ahead_the_numbers_are_those_of_float32(tx):
    w = jax.random.normal(jax.random.key(0), (2000,), bf16)
    gradients = jax.random.normal(jax.random.key(1), (30, 2000), bf16)
    ours, state = walked(gx.chain(gx.adam(0.01), tx), w, gradients)
    expected, _ = walked(gx.adam(0.01), w.astype(f32), gradients.astype(f32))
    own = state[-1]
    same_bits(expected, own.master if isinstance(own, gx.WriteFromMasterState) else joined(ours, own.low))


# ---- one step, to the bit ----

N = 120_000


def pairs(dtype, seed=0):
    """Parameters of all magnitudes but the smallest, whose sums XLA may take for zero, and updates of any beside."""
    source = np.random.default_rng(seed)
    limit = 90 if dtype == bf16 else 13
    w = np.exp2(source.integers(-limit, limit, N)) * source.uniform(1, 2, N) * source.choice([-1, 1], N)
    w = np.asarray(jnp.asarray(w, dtype))
    u = doubles(w) * np.exp2(source.integers(-20, 17, N)) * source.uniform(0.5, 2, N) * source.choice([-1, 1], N)
    falls = source.uniform(size=N) < 0.2  # to a small part of itself
    u = np.where(falls, doubles(w) * (np.exp2(-source.integers(1, 24, N)) - 1), u)
    limits = float(jnp.finfo(dtype).max) / 4
    return w, np.clip(u, -limits, limits).astype(np.float32)


def towards_zero(x):
    return (x.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32).astype(bf16)


def expected_next(name, dtype, w, u):
    near = lambda x: x.astype(np.float32).astype(dtype)  # noqa: E731  # NumPy's cast rounds to nearest even
    total = w.astype(np.float32) + u
    if name == "compensated":
        return near(w.astype(np.float32) + near(u).astype(np.float32))
    return towards_zero(total) if name == "split" else near(total)


def neighbours(dtype, x):
    """The largest number of the dtype up to each element, and the smallest from it on."""
    near = x.astype(dtype)
    up, down = (np.nextafter(near, near.dtype.type(end)) for end in (np.inf, -np.inf))
    return np.where(near <= x, near, down), np.where(near >= x, near, up)


@pytest.mark.parametrize(("name", "dtype"), BOTH)
@pytest.mark.parametrize("apply", APPLY.values(), ids=APPLY)
def test_adding_the_update_makes_the_next_parameter_to_the_bit(name, dtype, apply):
    w, u = pairs(dtype)
    params = jnp.asarray(w)
    update, _ = WRITERS[name].update(jnp.asarray(u), WRITERS[name].init(params), params)
    assert update.dtype == f32
    got = np.asarray(apply(params, update))
    assert got.dtype == w.dtype
    if name == "stochastic":
        low, high = neighbours(dtype, w.astype(np.float32) + u)
        assert ((got == low) | (got == high)).all()
        assert 0.05 < (got == high)[low != high].mean() < 0.95
    else:
        same_bits(expected_next(name, dtype, w, u), got)


@pytest.mark.parametrize("apply", APPLY.values(), ids=APPLY)
def test_so_it_does_from_a_state_with_lower_bits(apply):
    """Also where it falls to a small part of itself: what is left is a multiple of the last place of what was."""
    w, _ = pairs(bf16)
    low = np.random.default_rng(1).integers(0, 2**16, N).astype(np.uint16)
    master, fall = joined(w, low), np.exp2(-np.random.default_rng(2).uniform(1, 24, N))
    u = jnp.asarray(master * (fall - 1), f32)
    for name, before in (("split", w), ("master", np.asarray(jnp.asarray(master).astype(bf16)))):
        state = (
            gx.WriteSplitState(jnp.asarray(low)) if name == "split" else gx.WriteFromMasterState(jnp.asarray(master))
        )
        update, after = WRITERS[name].update(u, state, jnp.asarray(before))
        got, total = apply(jnp.asarray(before), update), master + np.asarray(u)
        assert (np.abs(total) < 2.0**-16 * np.abs(master)).mean() > 0.25
        same_bits(towards_zero(total) if name == "split" else total.astype(bf16), got)
        same_bits(total, joined(got, after.low) if name == "split" else after.master)


def test_parameters_replaced_from_outside_come_back_to_the_copy():
    w = jnp.asarray(pairs(bf16)[0][:1000])
    tx, nothing = gx.write_from_master(), jnp.zeros(1000, bf16)
    state, replaced = tx.init(w), w * 2
    update, state = tx.update(nothing, state, replaced)
    same_bits(w, gx.apply_updates(replaced, update))
    fresh = state._replace(master=replaced.astype(f32))
    same_bits(replaced, gx.apply_updates(replaced, tx.update(nothing, fresh, replaced)[0]))


@pytest.mark.parametrize(("name", "dtype"), BOTH)
def test_both_ways_to_add_agree_over_many_steps(name, dtype):
    tx = gx.chain(gx.scale(-0.1), WRITERS[name])
    w = jnp.asarray(pairs(dtype)[0][:4000])
    gradients = [w * x for x in jax.random.normal(jax.random.key(2), (6, 4000), dtype)]
    runs = []
    for apply in APPLY.values():
        params, state = w, tx.init(w)
        for g in gradients:
            u, state = jax.jit(tx.update)(g, state, params)
            params = apply(params, u)
        runs.append((params, state))
    for one, other in zip(jax.tree.leaves(runs[0]), jax.tree.leaves(runs[1]), strict=True):
        same_bits(one, other)
    assert (runs[0][0] != w).mean() > 0.9


@pytest.mark.parametrize(("name", "dtype"), BOTH)
def test_two_steps_in_one_program_are_two_programs_of_one(name, dtype):
    """XLA may drop a narrowing cast in front of a widening one, and with it what rounding is for."""
    tx = gx.chain(gx.scale(-1e-3), WRITERS[name])
    w = jax.random.normal(jax.random.key(0), (5000,), dtype)

    def step(params, state):
        u, state = tx.update(params, state, params)
        return optax.apply_updates(params, u), state

    apart = jax.jit(step)(*jax.jit(step)(w, tx.init(w)))
    together = jax.jit(lambda *args: step(*step(*args)))(w, tx.init(w))
    for one, other in zip(jax.tree.leaves(apart), jax.tree.leaves(together), strict=True):
        same_bits(one, other)


@pytest.mark.parametrize("name", WRITERS)
def test_the_compiled_program_rounds_by_what_xla_may_not_drop(name):
    tx, w = WRITERS[name], jnp.ones(8, bf16)
    text: Any = jax.jit(tx.update).lower(w, tx.init(w), w).compile().as_text()
    rounds = {"stochastic": "bitcast-convert", "split": "bitcast-convert"}.get(name, "reduce-precision(")
    assert rounds in text
    assert " and(" in text or rounds == "reduce-precision("


# ---- rounding at random ----


@pytest.mark.parametrize("dtype", [bf16, f16])
@pytest.mark.parametrize("x", [1 + 2.0**-12, 1 + 2.0**-10, -np.pi, 1 + 2.0**-8, 1.0, -0.5, 2.0**-15 + 2.0**-27])
def test_the_mean_over_steps_is_right_and_only_neighbours_occur(x, dtype):
    n, w = 2**16, jnp.asarray([x / 2], dtype)
    u = jnp.asarray([x - float(w[0])], f32)
    tx = gx.write_stochastically(jax.random.key(7))
    total = np.float32(w[0]) + np.asarray(u)
    low, high = (float(side[0]) for side in neighbours(dtype, total))

    def written(count):
        return gx.apply_updates(w, tx.update(u, gx.WriteStochasticallyState(count), w)[0])[0]

    got = doubles(jax.jit(jax.vmap(written))(jnp.arange(n)))
    assert set(got) == {low, high}
    share = (float(total[0]) - low) / (high - low) if high > low else 0.0
    assert abs(got.mean() - float(total[0])) <= 4 * (high - low) * (share * (1 - share) / n) ** 0.5


def test_the_elements_of_an_array_are_drawn_apart():
    w, tx = jnp.ones((64, 1024), bf16), gx.write_stochastically(5)
    up = doubles(tx.update(jnp.full(w.shape, 2.0**-9, f32), tx.init(w), w)[0]) > 0
    assert abs(up.mean() - 0.25) < 4 * (0.25 * 0.75 / up.size) ** 0.5
    assert abs(np.corrcoef(up[:, :-1].ravel(), up[:, 1:].ravel())[0, 1]) < 4 / up.size**0.5
    assert abs(np.corrcoef(up[:-1].ravel(), up[1:].ravel())[0, 1]) < 4 / up.size**0.5


@pytest.mark.parametrize("make", [gx.write_stochastically, gx.write_residual])
def test_keys_steps_and_arrays_are_drawn_apart(make):
    w: Any = {"a": jnp.ones(512, bf16), "b": jnp.ones(512, bf16)}
    u = jax.tree.map(lambda p: jnp.full(p.shape, 2.0**-9 + 2.0**-17, f32), w)

    def drawn(tx, state):
        update, after = tx.update(u, state, w)
        return np.asarray(jax.tree.leaves(after)[1:] if make is gx.write_residual else jax.tree.leaves(update)), after

    tx = make(0)
    first, state = drawn(tx, tx.init(w))
    again, _ = drawn(tx, tx.init(w))
    second, _ = drawn(tx, tx.init(w)._replace(count=state.count))
    other, _ = drawn(make(1), tx.init(w))
    same_key, _ = drawn(make(jax.random.key(0)), tx.init(w))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, same_key)
    for apart in (first[1], second[0], other[0]):
        assert 0.1 < (first[0] != apart).mean() < 0.9
