"""Loss scaling: the walk of the scale, that powers of two change no bit, and what an overflow leaves as it was."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import gradtx as gx
from tests.devices.placed import mesh_with
from tests.precision.test_write import bf16, f16, f32, same_bits
from tests.refusals import refused

INF = float("inf")


def walk(tx, kinds, w=None):
    """The scale behind each step, one of gradients that are finite where there is a dot."""
    w = jnp.ones(2) if w is None else w
    state, scales = tx.init(w), []
    update = jax.jit(tx.update)
    for kind in kinds:
        _, state = update(jnp.full(2, 1.0 if kind == "." else INF), state, w)
        scales.append(float(gx.loss_scale(state)))
    return scales, state


# ---- the walk of the scale ----


def test_it_doubles_after_so_many_steps_in_a_row_and_halves_at_once():
    tx = gx.scale_loss(gx.sgd(0.1), 1024.0, every=3)
    scales, state = walk(tx, "..x...x....xx......")
    assert scales == [
        *(1024.0, 1024.0, 512.0),  # two are not three, and count no more
        *(512.0, 512.0, 1024.0, 512.0),
        *(512.0, 512.0, 1024.0, 1024.0, 512.0, 256.0),
        *(256.0, 256.0, 512.0, 512.0, 512.0, 1024.0),
    ]
    assert (int(state.good), int(state.total), int(state.in_a_row), bool(state.skipped)) == (0, 4, 0, False)


def test_with_the_defaults_as_torch_walks():
    """By its recipe: 65536, halved by a skipped step, doubled when 2000 in a row were not."""
    tx = gx.scale_loss(gx.sgd(0.1))
    finite = jnp.ones(6010, bool).at[jnp.array([4, 5, 4007])].set(False)

    def body(state, ok):
        _, state = tx.update(jnp.where(ok, jnp.ones(2), INF), state)
        return state, gx.loss_scale(state)

    scales = np.asarray(jax.lax.scan(body, tx.init(jnp.ones(2)), finite)[1])
    changes = {i: scales[i] for i in range(len(scales)) if scales[i] != (scales[i - 1] if i else 65536.0)}
    # Steps 6 to 2005 are 2000 in a row, 2006 to 4005 too, 4008 to 6007 after one that was skipped.
    assert changes == {4: 32768, 5: 16384, 2005: 32768, 4005: 65536, 4007: 32768, 6007: 65536}


def test_it_stays_within_its_bounds():
    assert walk(gx.scale_loss(gx.sgd(0.1), 2.0), "xxx")[0] == [1.0, 1.0, 1.0]
    assert walk(gx.scale_loss(gx.sgd(0.1), 2.0**23, every=1), "...")[0] == [2.0**24, 2.0**24, 2.0**24]
    assert walk(gx.scale_loss(gx.sgd(0.1), 6.0, 10.0, 0.25, 1, 100.0), "..xx")[0] == [60.0, 100.0, 25.0, 6.25]


def test_it_is_found_wherever_it_stands_and_among_the_metrics():
    w = {"w": jnp.ones(2)}
    scaled = gx.scale_loss(gx.adam(0.1), 8.0)
    for tx in (scaled, gx.chain(gx.identity(), scaled), gx.accumulate(scaled, 2), optax.chain(scaled)):
        assert float(gx.loss_scale(tx.init(w))) == 8.0
    _, state = scaled.update({"w": jnp.full(2, jnp.nan)}, scaled.init(w))
    found = {name: float(x) for name, x in gx.metrics(state).items()}
    assert found == found | {"loss_scale": 4.0, "skipped": 1.0, "skipped_total": 1.0, "skipped_in_a_row": 1.0}
    with refused(ValueError, "loss_scale: the state must hold one ScaleLossState, got none"):
        gx.loss_scale(gx.adam(0.1).init(w))
    two = gx.partition((gx.by_path("w"), scaled), default=gx.scale_loss(gx.sgd(0.1)))
    with refused(ValueError, "loss_scale: the state must hold one ScaleLossState, got 2; hand in the one"):
        gx.loss_scale(two.init(w | {"b": jnp.ones(1)}))


# ---- what comes out ----

INNER = {
    "adamw": gx.adamw(0.01),
    "clipped": gx.chain(gx.clip_by_global_norm(1.0), gx.sgd(0.1, momentum=0.9)),
    "windows": gx.accumulate(gx.adam(0.01), 2),
    "Optax": optax.adam(0.01),
    "written": gx.chain(gx.adamw(0.01), gx.write_split()),
    "drawn": gx.chain(gx.adamw(0.01), gx.write_stochastically(0)),
}


@pytest.mark.parametrize("dtype", [f32, bf16])
@pytest.mark.parametrize("name", [x for x in INNER if x != "Optax"])  # whose rules are a program of their own
def test_with_powers_of_two_it_is_the_run_without_to_the_bit(name, dtype):
    """The gradients are those of scaled losses, and the scale changes on the way. The run without has a guard too: a
    branch is a program of its own, in which XLA may fuse what it does not fuse elsewhere.
    """
    plain, scaled = gx.skip_nonfinite(INNER[name]), gx.scale_loss(INNER[name], every=3)
    w = {
        "a": jax.random.normal(jax.random.key(0), (50,), dtype),
        "b": jax.random.normal(jax.random.key(1), (7,), dtype),
    }
    runs = []
    for tx in (plain, scaled):
        params, state = w, tx.init(w)
        update = jax.jit(tx.update)
        for i in range(8):
            g = {name: jax.random.normal(jax.random.key(i), p.shape, dtype) for name, p in params.items()}
            if tx is scaled:
                g = jax.tree.map(lambda g: g * gx.loss_scale(state).astype(dtype), g)  # noqa: B023
            u, state = update(g, state, params)
            params = gx.apply_updates(params, u)
        runs.append((params, u, state.inner_state))
    assert float(gx.loss_scale(state)) == 65536.0 * 4
    for one, other in zip(jax.tree.leaves(runs[0]), jax.tree.leaves(runs[1]), strict=True):
        same_bits(one, other)


@pytest.mark.parametrize("inside", [gx.sgd(1.0), gx.chain(gx.clip_by_global_norm(1e3), gx.sgd(1.0)), optax.sgd(1.0)])
@pytest.mark.parametrize("around", [lambda tx: tx, lambda tx: gx.accumulate(tx, 1)], ids=["plain", "window"])
def test_small_gradients_in_float16_reach_parameters_in_float32(inside, around):
    """2^-30 is none of float16; divided in float16 it would be a zero for whatever stands behind the scale."""
    tx = gx.scale_loss(around(inside), 2.0**20)
    w = jnp.zeros(3, f32)
    for update in (tx.update, jax.jit(tx.update)):
        u, _ = update(jnp.full(3, 2.0**-10, f16), tx.init(w), w)
        np.testing.assert_array_equal(u, -(2.0**-30))
    # Multiplied by a rate of many, it is a number of float16 again.
    many = gx.scale_loss(around(gx.chain(inside, gx.scale(2.0**20))), 2.0**20)
    u, _ = many.update(jnp.full(3, 2.0**-10, f16), many.init(w.astype(f16)), w.astype(f16))
    np.testing.assert_array_equal(u, -(2.0**-10))
    assert u.dtype == f16


@pytest.mark.parametrize("name", INNER)
@pytest.mark.parametrize("bad", [INF, -INF, jnp.nan])
def test_an_overflow_anywhere_leaves_all_as_it_was(name, bad):
    tx = gx.scale_loss(INNER[name], every=2)
    w: Any = {"a": jnp.ones(3, bf16), "b": jnp.ones((4, 2), bf16)}
    _, state = tx.update(w, tx.init(w), w)
    for path in w:
        g = w | {path: w[path].at[1].set(bad)}
        for update in (tx.update, jax.jit(tx.update)):
            u, after = update(g, state, w)
            assert not any(np.any(x) for x in jax.tree.leaves(u))
            assert u["a"].dtype == (f32 if name in ("written", "drawn") else bf16)
            for one, other in zip(jax.tree.leaves(state.inner_state), jax.tree.leaves(after.inner_state), strict=True):
                same_bits(one, other)
            assert (float(after.scale), int(after.good), int(after.total)) == (32768.0, 0, 1)


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_an_overflow_on_one_device_is_one_for_all(kind):
    mesh, tx = mesh_with(kind, data=8), gx.scale_loss(gx.adamw(0.1))
    place = NamedSharding(mesh, PartitionSpec("data", None))
    w = jax.device_put(jnp.ones((16, 4)), place)
    with jax.set_mesh(mesh):
        for row in (0, 9, 15):
            g = jax.device_put(jnp.ones((16, 4)).at[row, 2].set(INF), place)
            u, state = jax.jit(tx.update)(g, tx.init(w), w)
            np.testing.assert_array_equal(u, 0.0)
            assert float(gx.loss_scale(state)) == 32768.0


def test_inside_of_shard_map_the_flag_is_that_of_all_parts():
    mesh, tx = mesh_with(AxisType.Auto, data=8), gx.across(gx.scale_loss(gx.adam(0.1)), "data")
    spec = PartitionSpec("data")

    def step(w, g):
        u, state = tx.update(g, tx.init(w), w)
        return u, gx.loss_scale(state)

    run = jax.jit(jax.shard_map(step, mesh=mesh, in_specs=(spec, spec), out_specs=(spec, PartitionSpec())))
    for g, scale in ((jnp.ones(16), 65536.0), (jnp.ones(16).at[11].set(INF), 32768.0)):
        u, found = run(jnp.ones(16), g)
        assert float(found) == scale
        assert np.any(u) == (scale == 65536.0)


# ---- what is refused ----


def test_refusals():
    inner = gx.sgd(0.1)
    with refused(ValueError, "scale_loss: initial must be in (0, inf), got 0"):
        gx.scale_loss(inner, 0.0)
    with refused(ValueError, "scale_loss: factor must be in (0, inf), got -2"):
        gx.scale_loss(inner, factor=-2.0)
    with refused(ValueError, "scale_loss: backoff must be in [0, 1], got 2"):
        gx.scale_loss(inner, backoff=2.0)
    with refused(ValueError, "scale_loss: every must be a whole number in [1, 2147483647], got 0"):
        gx.scale_loss(inner, every=0)
    with refused(TypeError, "scale_loss: tx must be a transformation, got"):
        gx.scale_loss(gx.sgd)  # pyright: ignore[reportArgumentType]
    with refused(TypeError, "scale_loss: the state is an array, expected ScaleLossState"):
        gx.scale_loss(inner).update(jnp.ones(2), jnp.ones(2))
