"""Quantities in codes: which, where, how they go on, and that nothing else of a transformation changes."""

from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx
from gradtx.core.held import Held, decode_all, is_held
from gradtx.devices.offload import has_host
from tests.catalogue import BLOCKS, Member
from tests.catalogue.held import quantities_in
from tests.devices.placed import example
from tests.precision.held import BIG, NEAREST, W, steps
from tests.refusals import refused


def form(tree):
    return jax.tree.structure(tree), [(jnp.shape(x), x.dtype) for x in jax.tree.leaves(tree)]


HOLDABLE = [
    param
    for param, member in [(param, cast(Member, param.values[0])) for param in BLOCKS]
    if not member.factored and member.value.recipe not in (gx.hold, gx.offload) and quantities_in(member.tx, example())
]


def test_most_rules_with_a_state_hold_something():
    assert len(HOLDABLE) > 20


@pytest.mark.parametrize("member", HOLDABLE)
def test_every_quantity_of_every_rule_can_be_held(member):
    """The first update is that of the transformation where a fresh state is exact in codes; each quantity is then
    within a distance of two levels of what it was, and the state keeps its form.
    """
    params = example()
    names = quantities_in(member.tx, params)
    tx = gx.hold(member.tx, **dict.fromkeys(names, BIG))
    state = tx.init(params)
    (u, *_), after = steps(tx, params, 2, member.extra)
    assert form(after) == form(state)
    assert any(map(is_held, jax.tree.leaves(after, is_leaf=is_held)))
    assert all(
        np.isfinite(x).all() for x in jax.tree.leaves(decode_all(after)) if jnp.issubdtype(x.dtype, jnp.floating)
    )
    fresh = member.tx.init(params)
    exact = [
        np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (fresh, decode_all(state.inner_state))), strict=True)
    ]
    if all(exact):
        (own, *_), own_state = steps(member.tx, params, 1, member.extra)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6), u, own)
        _, once = steps(tx, params, 1, member.extra)
        for a, b in zip(*map(jax.tree.leaves, (decode_all(once.inner_state), own_state)), strict=True):
            np.testing.assert_allclose(a, b, atol=0.015 * max(float(jnp.abs(b).max(initial=0.0)), 1e-6), rtol=0)


# ---- which quantities ----


def test_a_quantity_says_how_it_is_rounded():
    tx = gx.hold(gx.adamw(1e-3), mu=gx.blocks(8), nu=gx.blocks(8))
    state = tx.init(W)
    assert repr(gx.find(state, "mu")["w"].codec) == "blocks(signed=True, stochastic=False)"
    assert repr(gx.find(state, "nu")["w"].codec) == "blocks(signed=False, stochastic=True)"
    assert gx.find(state, "nu")["b"].dtype == jnp.float32  # too small
    own = gx.hold(gx.adamw(1e-3), nu=gx.blocks(8, signed=True, stochastic=False)).init(W)
    assert repr(gx.find(own, "nu")["w"].codec) == "blocks(signed=True, stochastic=False)"


def test_slow_averages_are_rounded_at_random():
    for tx, name in (
        (gx.average_parameters(0.999), "average"),
        (gx.accumulate(gx.sgd(0.1), 4), "acc_grads"),
        (gx.adagrad(0.1), "sum_of_squares"),
        (optax.adam(0.1), "nu"),
    ):
        state = gx.hold(tx, **{name: gx.float8()}).init({"w": jnp.ones((64, 64))})
        assert "stochastic=True" in repr(gx.find(state, name)["w"]), name


def test_all_groups_of_a_partition_hold_theirs():
    tx = gx.partition((gx.by_path("w"), gx.adam(0.1)), (gx.by_path("b"), gx.scale_by_adam()))
    state = gx.hold(tx, mu=NEAREST).init(W)
    assert sorted(str(x.dtype) for x in jax.tree.leaves(state) if x.dtype == jnp.bfloat16) == ["bfloat16"] * 2


def test_where_spares_arrays():
    tx = gx.hold(gx.adam(0.1), mu=gx.bfloat16, where=gx.by_ndim(at_least=2))
    mu = gx.find(tx.init(W), "mu")
    assert (mu["w"].dtype, mu["b"].dtype) == (jnp.bfloat16, jnp.float32)
    steps(tx, W, 2)


def test_a_dtype_and_a_factory_stand_for_a_codec():
    assert gx.hold(gx.adam(0.1), mu=jnp.bfloat16) == gx.hold(gx.adam(0.1), mu=gx.bfloat16)
    assert gx.hold(gx.adam(0.1), mu="float16") == gx.hold(gx.adam(0.1), mu=gx.float16())


def test_without_random_rounding_the_state_is_that_of_the_transformation():
    tx = gx.hold(gx.adam(0.1), mu=NEAREST)
    assert type(tx.init(W)) is type(gx.adam(0.1).init(W))
    _, state = steps(tx, W, 3)
    (_, own), mu = steps(gx.adam(0.1), W, 3), gx.find(state, "mu")["w"]
    np.testing.assert_allclose(mu.astype(jnp.float32), gx.find(own, "mu")["w"], rtol=2e-2, atol=1e-3)


# ---- beside other wrappers ----


def test_a_skipped_step_leaves_the_codes():
    w = {"w": jnp.linspace(-1.0, 2.0, 64)}
    for tx in (
        gx.skip_nonfinite(gx.hold(gx.adam(0.1), mu=BIG, nu=BIG)),
        gx.hold(gx.skip_nonfinite(gx.adam(0.1)), mu=BIG, nu=BIG),
    ):
        _, state = steps(tx, w, 2)
        u, after = jax.jit(tx.update)({"w": jnp.full(64, jnp.nan)}, state, w)
        assert float(jnp.abs(u["w"]).max()) == 0.0
        for name in ("mu", "nu"):
            before, now = gx.find(state, name)["w"], gx.find(after, name)["w"]
            np.testing.assert_array_equal(before.codes, now.codes)
            np.testing.assert_array_equal(before.scale, now.scale)


def test_what_is_no_formula_for_one_array_finds_it_decode_all():
    quadratic = lambda w: sum(jnp.sum(x**2) for x in jax.tree.leaves(w))  # noqa: E731
    for tx, names in (
        (gx.scale_by_lbfgs(3), ("diff_params_memory", "diff_updates_memory")),
        (gx.accumulate(gx.adam(0.1), 2), ("acc_grads", "mu")),
        (gx.chain(gx.average_parameters(0.9), gx.sgd(0.1)), ("average",)),
        (optax.adam(0.1), ("mu", "nu")),
        (gx.adam(0.1, b1=gx.linear(0.8, 0.9, 10)), ("mu", "nu")),
        (gx.kron(0.1), ("mu",)),
    ):
        held = gx.hold(tx, **dict.fromkeys(names, gx.bfloat16(stochastic=False)))
        w = {"w": jnp.linspace(0.5, 2.0, 64).reshape(8, 8)}
        own, state, plain, own_state = w, held.init(w), w, tx.init(w)
        step = jax.jit(lambda g, s, p: held.update(g, s, p))  # noqa: B023  # called here
        for _ in range(4):
            u, state = step(jax.grad(quadratic)(own), state, own)
            v, own_state = tx.update(jax.grad(quadratic)(plain), own_state, plain)
            own, plain = gx.apply_updates(own, u), gx.apply_updates(plain, v)
        np.testing.assert_allclose(own["w"], plain["w"], rtol=5e-2, atol=5e-2)


def test_unchanged_quantities_keep_their_codes_whatever_their_sign():
    """A block whose largest element is negative would change with every round: there is no level -1."""
    tx = gx.hold(gx.accumulate(gx.chain(gx.ema(0.9), gx.average_parameters(0.5)), 3), average=BIG)
    w = {"w": jnp.linspace(-2.0, 1.0, 64)}
    state = tx.init(w)
    _, after = steps(tx, w, 2, state=state)
    before, now = gx.find(state, "average")["w"], gx.find(after, "average")["w"]
    np.testing.assert_array_equal(before.codes, now.codes)
    np.testing.assert_array_equal(before.scale, now.scale)


# ---- bytes ----


@pytest.mark.parametrize(
    ("codec", "most"), [(gx.blocks(8), 2.1), (gx.blocks(4, 128), 1.2), (gx.bfloat16, 4.01), (gx.float8, 2.1)], ids=repr
)
def test_bytes_of_adams_state(codec, most):
    params = {"w": jax.ShapeDtypeStruct((768, 3072), jnp.float32), "b": jax.ShapeDtypeStruct((3072,), jnp.float32)}
    state = gx.hold(gx.adamw(1e-3), mu=codec, nu=codec).init(params)
    count = sum(x.size for x in jax.tree.leaves(params))
    assert sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state)) / count <= most


# ---- checkpoints ----


def test_a_state_moves_from_one_codec_to_another(tmp_path):
    base = gx.adamw(1e-2)
    ways = [
        gx.hold(base, mu=gx.blocks(8), nu=gx.blocks(8)),
        gx.hold(base, mu=NEAREST, nu=gx.of_root(gx.blocks(4))),
        base,
        gx.hold(base, mu=gx.float8(2), nu=gx.float8),
    ]
    for i, tx in enumerate(ways):
        _, state = steps(tx, W, 2)
        np.savez(tmp_path / f"{i}.npz", **gx.to_flat(tx, state))
        with np.load(tmp_path / f"{i}.npz") as flat:
            for other in ways:
                moved = gx.from_flat(other, W, flat)
                assert form(moved) == form(other.init(W))
                if other is tx:
                    assert jax.tree.all(jax.tree.map(np.array_equal, moved, state))
                a, b = (gx.find(decode_all(x), "mu")["w"].astype(jnp.float32) for x in (moved, state))
                np.testing.assert_allclose(a, b, rtol=0, atol=0.14 * float(jnp.abs(b).max()))


# ---- refused ----


def test_bad_calls_are_refused():
    with refused(
        ValueError, "hold: it needs a quantity to hold; name some of the state's, as in hold(tx, mu=bfloat16)"
    ):
        gx.hold(gx.adam(0.1))
    with refused(ValueError, "hold: the state has no velocity; it has mu, nu, learning_rate"):
        gx.hold(gx.adam(0.1), velocity=gx.bfloat16).init(W)
    with refused(TypeError, "hold: count is int32[]; codecs are for averages and other floating-point numbers"):
        gx.hold(gx.adam(0.1), count=gx.bfloat16).init(W)
    with refused(TypeError, "hold: mu must be a codec such as bfloat16 or blocks(8), got 8"):
        gx.hold(gx.adam(0.1), mu=8)
    with refused(
        TypeError, "hold: mu must be a codec such as bfloat16 or blocks(8), got a factory; call it: of_root(…)"
    ):
        gx.hold(gx.adam(0.1), mu=gx.of_root)
    if has_host():
        with refused(ValueError, "hold: mu is in the host's memory; offload goes around: offload(hold(tx, …))"):
            gx.hold(gx.offload(gx.adam(0.1)), mu=gx.bfloat16).init(W)
    with refused(TypeError, "hold: key must be a whole number or a key such as jax.random.key(0), got 'a'"):
        gx.hold(gx.adam(0.1), mu=gx.bfloat16, key="a")
    eight, four = (gx.hold(gx.adam(0.1), mu=gx.blocks(bits)) for bits in (8, 4))
    with refused(ValueError, "from_flat moves a state from one codec to another"):
        four.update(W, eight.init(W), W)


def test_what_is_held_prints_what_it_stands_for():
    mu = gx.find(gx.hold(gx.adam(0.1), mu=gx.blocks(8)).init(W), "mu")["w"]
    assert isinstance(mu, Held)
    assert repr(mu) == "Held(float32[64, 64] in blocks(signed=True, stochastic=False))"
