"""Parameters of 16 bits written inside of wrappers, on several devices, beside others, and what is refused."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import gradtx as gx
from tests.devices.placed import mesh_with
from tests.precision.test_write import BOTH, WRITERS, bf16, bits, f16, f32, same_bits
from tests.refusals import refused

A, B = jax.random.split(jax.random.key(0))
W: Any = {"a": jax.random.normal(A, (40, 8), bf16), "b": jax.random.normal(B, (9,), bf16)}
STEPS = 6


def gradient(i):
    """As large as the parameters are: their differences are no numbers of 16 bits."""
    keys = iter(jax.random.split(jax.random.key(100 + i), 2))
    return {name: jax.random.normal(next(keys), x.shape, bf16) for name, x in W.items()}


GRADIENTS = [gradient(i) for i in range(STEPS)]


def run(tx, gradients=GRADIENTS, params=W, apply=gx.apply_updates):
    """The parameters after each step, and the last state."""
    state, seen = tx.init(params), []
    update = jax.jit(tx.update)
    for g in gradients:
        u, state = update(g, state, params)
        params = apply(params, u)
        seen.append(params)
    return seen, state


def same_trees(expected, got):
    assert jax.tree.structure(expected) == jax.tree.structure(got)
    for one, other in zip(jax.tree.leaves(expected), jax.tree.leaves(got), strict=True):
        same_bits(one, other)


def sgd(tx):  # whose product is exact, so that it is no matter whether XLA fuses it with the sum behind it
    return gx.chain(gx.scale(-0.375), tx)


AROUND = {
    "skip_nonfinite": gx.skip_nonfinite,
    "skip_spikes": gx.skip_spikes,
    "scale_loss": lambda tx: gx.scale_loss(tx, 1.0),
    "accumulate": lambda tx: gx.accumulate(tx, 1),
    "both": lambda tx: gx.skip_nonfinite(gx.accumulate(tx, 1)),
    "all of it": lambda tx: gx.scale_loss(gx.accumulate(tx, 1), 1.0),
    "only": lambda tx: gx.only(tx, gx.by_path(".")),
    "partition": lambda tx: gx.partition((gx.by_path("."), tx)),
    "switch": lambda tx: gx.switch(gx.identity(), tx, choice=1),
    "over": lambda tx: gx.over(((gx.by_ndim(at_least=2), gx.matrices()),), tx),
    "parallel": lambda tx: gx.parallel(gx.identity(), tx, join=lambda _, u: u),
    "every": lambda tx: gx.chain(gx.sgd(1.0), gx.every(gx.chain(gx.scale(-1.0), tx), 1)),
    "offload": gx.offload,
    "zero_redundancy": lambda tx: gx.zero_redundancy(tx, "data"),
    "across": lambda tx: gx.across(tx, "data"),
    "a schedule": lambda tx: gx.skip_spikes(tx, gx.constant(5.0)),
    "Optax in front": lambda tx: gx.chain(optax.identity(), tx),
    "Optax's chain": lambda tx: optax.chain(optax.identity(), tx),
}


@pytest.mark.parametrize("tx", [WRITERS["stochastic"], WRITERS["master"], WRITERS["split"]], ids=repr)
@pytest.mark.parametrize("around", AROUND)
def test_wrappers_hand_on_every_bit(around, tx):
    expected, _ = run(sgd(tx))
    for apply in (gx.apply_updates, optax.apply_updates):
        same_trees(expected, run(AROUND[around](sgd(tx)), apply=apply)[0])


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("guard", [gx.skip_nonfinite, lambda tx: gx.scale_loss(tx, 1.0)], ids=["skip", "scale"])
def test_a_skipped_step_leaves_parameters_and_state_to_the_bit(guard, name):
    bad = jax.tree.map(lambda g: g.at[0].set(jnp.nan), GRADIENTS[0])
    tx = guard(sgd(WRITERS[name]))
    expected, whole = run(tx)
    seen, state = run(tx, [*GRADIENTS[:3], bad, *GRADIENTS[3:]])
    same_trees(seen[2], seen[3])
    same_trees(expected, seen[:3] + seen[4:])
    same_trees(whole.inner_state, state.inner_state)
    assert int(state.total) == 1


@pytest.mark.parametrize("name", ["master", "split"])
def test_windows_move_the_copy_as_they_move_float32(name):
    tx = gx.accumulate(sgd(WRITERS[name]), 2)
    seen, state = run(tx, GRADIENTS[:5])
    wide = jax.tree.map(lambda x: x.astype(f32), (W, GRADIENTS))
    expected, _ = run(gx.accumulate(gx.scale(-0.375), 2), wide[1][:5], wide[0])
    same_trees(seen[1], seen[2])
    assert not np.array_equal(seen[2]["a"], seen[3]["a"])
    if name == "master":
        same_trees(expected[3], gx.find(state, "master"))
    updates, state = gx.flush(tx, state, seen[4])
    flushed = gx.apply_updates(seen[4], updates)
    expected, _ = run(gx.scale(-0.375), [wide[1][4]], expected[3])
    half = (lambda x: x.astype(bf16)) if name == "master" else cut
    same_trees(jax.tree.map(half, expected[0]), flushed)


def cut(x):
    return jax.lax.bitcast_convert_type((bits(x) >> 16).astype(np.uint16), bf16)


@pytest.mark.parametrize("name", WRITERS)
def test_arrays_that_are_not_meant_stay(name):
    both, _ = run(sgd(WRITERS[name]))
    for tx in (gx.only(sgd(WRITERS[name]), gx.by_path("a")), gx.chain(gx.freeze(gx.by_path("b")), sgd(WRITERS[name]))):
        seen, state = run(tx)
        same_trees([x["a"] for x in both], [x["a"] for x in seen])
        same_bits(W["b"], seen[-1]["b"])
        assert all(x.shape != W["b"].shape for x in jax.tree.leaves(state)) or tx.recipe is gx.chain


# ---- beside others ----


def test_wider_parameters_and_what_is_no_array_are_left_alone():
    params: Any = {"half": W["a"], "f32": jnp.ones(3), "f64": jnp.ones(2, jnp.float64), "c": jnp.ones(2, jnp.complex64)}
    params |= {"f16": jnp.ones(2, f16), "step": 3, "none": None}
    g = jax.tree.map(lambda p: p * 0.3, params) | {"step": None}
    for tx in WRITERS.values():
        if tx.recipe is gx.write_split:
            params, g = ({name: x for name, x in tree.items() if name != "f16"} for tree in (params, g))
        state = tx.init(params)
        assert not [x for x in jax.tree.leaves(state) if x.shape in ((3,),) or x.dtype == jnp.complex64]
        u, after = tx.update(g, state, params)
        assert jax.tree.structure(state) == jax.tree.structure(after)
        for name in ("f32", "f64", "c"):
            np.testing.assert_array_equal(u[name], g[name])
            assert u[name].dtype == params[name].dtype
        assert u["half"].dtype == f32
        assert u["step"] is u["none"] is None


@pytest.mark.parametrize("name", WRITERS)
def test_updates_of_64_bits_stay_so_and_write_the_same(name):
    tx, u = WRITERS[name], jax.random.normal(jax.random.key(3), (40, 8), f32)
    one, _ = tx.update({"a": u}, tx.init({"a": W["a"]}), {"a": W["a"]})
    other, _ = tx.update({"a": u.astype(jnp.float64)}, tx.init({"a": W["a"]}), {"a": W["a"]})
    assert other["a"].dtype == jnp.float64
    same_trees(*[gx.apply_updates({"a": W["a"]}, x) for x in (one, other)])


@pytest.mark.parametrize(("name", "dtype"), BOTH)
def test_what_is_not_finite_goes_through_and_spoils_no_other(name, dtype):
    w, u = jnp.ones(4, dtype), jnp.asarray([jnp.nan, jnp.inf, -jnp.inf, 0.5], f32)
    first, second = run(WRITERS[name], [u, jnp.zeros(4, f32)], w)[0]
    np.testing.assert_array_equal(first.astype(f32), np.asarray([np.nan, np.inf, -np.inf, 1.5], np.float32))
    np.testing.assert_array_equal(jnp.isfinite(second), [False, False, False, True])


def test_a_smallest_float16_is_a_number():
    w = jnp.asarray([3e-5, 6e-8, 0.0], f16)
    for name in ("compensated", "master", "8 bits", "16 bits"):
        got = run(WRITERS[name], [jnp.asarray([1e-6, 6e-8, -2e-7], f32)], w)[0][0]
        np.testing.assert_array_equal(got, np.asarray([3.1e-5, 1.2e-7, -2e-7], np.float16))


@pytest.mark.parametrize("name", WRITERS)
def test_the_derivative_is_that_of_the_update(name):
    def loss(tx, apply):
        params, state = W["b"].astype(f32) if apply is optax.apply_updates else W["b"], tx.init(W["b"])
        for g in (W["b"], W["b"] * 3):
            u, state = tx.update(g, state, params)
            params = apply(params, u)
        return jnp.sum(params.astype(f32))

    wide = jax.grad(loss)(gx.adam(0.1), optax.apply_updates).learning_rate
    half = jax.grad(loss)(gx.chain(gx.adam(0.1), WRITERS[name]), gx.apply_updates).parts[0].learning_rate
    assert abs(float(wide)) > 1
    np.testing.assert_allclose(half, wide, rtol=1e-2)


@pytest.mark.parametrize("name", WRITERS)
def test_in_16_bits_too_it_runs_under_strict_settings(name):
    tx, w = gx.chain(gx.adamw(0.01), WRITERS[name]), W["b"]  # one array: without `jit` each operation compiles
    state = jax.device_put(tx.init(w))
    expected = tx.update(w, state, w)
    with jax.disable_jit(), jax.debug_nans(True), jax.numpy_dtype_promotion("strict"):
        written = tx.update(w, state, w)
    assert jax.tree.map(jnp.result_type, expected) == jax.tree.map(jnp.result_type, written)
    one, other = (gx.apply_updates(w, u).astype(f32) for u, _ in (expected, written))
    np.testing.assert_allclose(one, other, rtol=2.0**-7)  # the next number, at most
    value = jax.device_put(tx)
    with jax.transfer_guard("disallow"):
        value.update(w, state, w)
    with jax.checking_leaks():
        jax.eval_shape(tx.update, w, state, w)


@pytest.mark.parametrize("name", WRITERS)
def test_one_pass_over_each_array(name):
    """The formulas ahead and the writing are one program, traced once for arrays of one shape."""
    tx = gx.chain(gx.adamw(1e-3), WRITERS[name])
    params = [jnp.ones((5, 3), bf16)] * 3
    program = jax.make_jaxpr(tx.update)(params, tx.init(params), params)
    runs = [step for step in program.eqns if step.params.get("name") == "run"]
    assert len(runs) == 3
    assert len({id(step.params["jaxpr"]) for step in runs}) == 1


def test_a_state_goes_through_a_file_by_names():
    for writer in WRITERS.values():
        tx = gx.chain(gx.adam(0.1), writer)
        _, state = run(tx)
        same_trees(state, gx.from_flat(tx, W, gx.to_flat(tx, state, W)))


# ---- on several devices ----


@pytest.mark.parametrize("name", ["stochastic", "8 bits"])
@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_what_is_drawn_does_not_turn_on_the_layout(name, kind):
    expected, state = run(sgd(WRITERS[name]))
    mesh = mesh_with(kind, data=8)
    places = {"a": NamedSharding(mesh, PartitionSpec("data")), "b": NamedSharding(mesh, PartitionSpec())}
    with jax.set_mesh(mesh):
        gradients, params = [jax.device_put(g, places) for g in GRADIENTS], jax.device_put(W, places)
        laid = run(sgd(WRITERS[name]), gradients, params)
        spread = run(gx.zero_redundancy(sgd(WRITERS[name]), "data"), gradients, params)
    same_trees((expected, state), laid)
    same_trees((expected, state), spread)
    assert laid[0][-1]["a"].sharding.is_equivalent_to(places["a"], 2)


@pytest.mark.parametrize("name", ["stochastic", "8 bits"])
def test_inside_of_shard_map_parts_are_drawn_apart_and_replicas_together(name):
    mesh, tx = mesh_with(AxisType.Auto, data=8), WRITERS[name]
    w = {"parts": jnp.ones((8, 512), bf16), "whole": jnp.ones(512, bf16)}
    u = jax.tree.map(lambda p: jnp.full(p.shape, 2.0**-9 + 2.0**-17, f32), w)
    specs = {"parts": PartitionSpec("data"), "whole": PartitionSpec()}

    def step(w, u):
        update, after = tx.update(u, tx.init(w), w)
        return after.residue if name == "8 bits" else update

    # That `whole` leaves as one array of all devices is checked by its type.
    got = jax.jit(jax.shard_map(step, mesh=mesh, in_specs=(specs, specs), out_specs=specs))(w, u)
    rows = np.asarray(got["parts"])
    for i in range(8):
        for j in range(i):
            assert 0.1 < (rows[i] != rows[j]).mean() < 0.9
    copies = [np.asarray(x.data) for x in got["whole"].addressable_shards]
    assert len(copies) == 8
    assert all(np.array_equal(copies[0], x) for x in copies)
    assert len(np.unique(copies[0])) == 2


# ---- what is refused ----


def test_refusals():
    half, whole = {"w": jnp.ones(3, bf16)}, {"w": jnp.ones(3, f32)}
    make: Any = gx.write_stochastically
    with refused(
        TypeError, "write_stochastically: missing a required argument: 'key'; it takes key, key being a whole"
    ):
        make()
    with refused(TypeError, "write_residual: key must be a whole number or a key such as jax.random.key(0), got 1.5"):
        gx.write_residual(1.5)
    for bad in (4, 8.0, True, None):
        with refused(ValueError, f"write_residual: bits must be 8 or 16, got {bad}"):
            gx.write_residual(0, bits=bad)  # pyright: ignore[reportArgumentType]
    problem = (
        "params['w'] is float16, it writes bfloat16 and leaves float32 as it is; write float16 with write_from_mast"
    )
    with refused(TypeError, f"write_split: {problem}"):
        gx.write_split().init({"w": jnp.ones(3, f16)})
    for tx in WRITERS.values():
        name = tx.recipe.__name__
        state = tx.init(half)
        with refused(ValueError, f"{name}: update needs the parameters: call update(updates, state, params)"):
            tx.update(half, state)
        with refused(TypeError, f"{name}: params['w'] is float8_e4m3fn, it writes bfloat16"):
            tx.init({"w": jnp.ones(3, jnp.float8_e4m3fn)})
        fields = [field for field in state._fields if field != "count"]
        for field in fields:
            with refused(ValueError, f"{name}: params['w'] is float32, and the state's {field} has shape (3,) there"):
                tx.update(whole, state, whole)
            with refused(
                ValueError, f"params['w'] is bfloat16, and the state's {field} has nothing there, expected shape"
            ):
                tx.update(half, tx.init(whole), half)
            longer = {"w": jnp.ones(4, bf16)}
            with refused(ValueError, f"the state's {field} has shape (3,) there, expected shape (4,); call init with"):
                tx.update(longer, state, longer)
