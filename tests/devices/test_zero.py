"""ZeRO-1: the state and the arithmetic are spread, the numbers and the parameters' layout are as without it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import gradtx as gx
from gradtx import state_shardings, zero_redundancy
from tests.catalogue import BLOCKS
from tests.devices.placed import (
    KINDS,
    assert_close,
    assert_laid,
    example,
    like_gradients,
    mesh_with,
    put,
    three_steps,
    three_steps_of,
    train,
)
from tests.refusals import refused

kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
P = PartitionSpec
CLIPPED = gx.chain(gx.clip_by_global_norm(1.0), gx.adamw(gx.linear(0.1, 0.01, 10), weight_decay=0.1))


def placed_init(tx, params):
    return jax.jit(tx.init, out_shardings=state_shardings(tx, params))(params)


@kinds
@pytest.mark.parametrize("member", BLOCKS)
def test_equals_the_transformation_on_one_device(member, kind):
    mesh = mesh_with(kind, data=8)
    params = jax.tree.map(lambda x: put(x, mesh), example())
    tx = zero_redundancy(member.tx, "data")
    shardings = state_shardings(tx, params)
    step = train(tx, member.extra)
    after, state = three_steps(step, params, placed_init(tx, params))
    assert step._cache_size() == 1  # pyright: ignore[reportAttributeAccessIssue]
    assert_laid(after, jax.tree.map(lambda p: p.sharding, params))
    assert_laid(state, shardings)
    alone, own_state = three_steps_of(member)
    assert jax.tree.structure(state) == jax.tree.structure(own_state)
    largest = max(float(np.max(np.abs(p))) for p in jax.tree.leaves(alone))  # a rounding of one that cancels stays
    tolerance = 2.4e-7 * largest if member.elementwise else 1e-5
    assert_close((after, state), (alone, own_state), rtol=3e-6 if member.elementwise else 1e-4, atol=tolerance)


@kinds
def test_each_device_holds_its_part(kind):
    mesh = mesh_with(kind, data=8)
    params = jax.tree.map(lambda x: put(x, mesh), example())
    for tx in (zero_redundancy(CLIPPED, "data"), optax.chain(optax.identity(), zero_redundancy(CLIPPED, "data"))):
        for state in (tx.init(params), jax.jit(tx.init, out_shardings=state_shardings(tx, params))(params)):
            parts = {name: x.addressable_shards[0].data.size for name, x in gx.find(state, "mu").items()}
            assert parts == {"w": 16 * 24 // 8, "b": 3, "odd": 3, "n": 1}


@kinds
@pytest.mark.parametrize("set_mesh", [True, False])
@pytest.mark.parametrize("eager", [True, False])
@pytest.mark.parametrize("make", [lambda: gx.adamw(0.1), lambda: gx.chain(gx.scale_by_momentum())])
def test_two_axes(kind, set_mesh, eager, make):
    """Beyond what is sharded: over another dimension, or further along the same one. The parameters stay there."""
    mesh = mesh_with(kind, data=4, model=2)
    specs = {
        "columns": (None, "model"),
        "rows": ("model",),
        "narrow": ("model",),
        "both": ("data", "model"),
        "whole": (),
    }
    shapes = {"columns": (8, 16), "rows": (8, 16), "narrow": (2, 12), "both": (8, 16), "whole": (5, 8)}
    if kind is AxisType.Auto:
        del specs["both"]  # taken for whole along data
    params = {name: put(jnp.ones(shapes[name]), mesh, *spec) for name, spec in specs.items()}
    tx = zero_redundancy(make(), "data")
    shardings = state_shardings(tx, params)
    expected = {
        "columns": P("data", "model"),
        "rows": P(("model", "data")),
        "narrow": P("model", "data"),
        "both": P("data", "model"),
        "whole": P(None, "data"),
    }
    fields = [x for x in jax.tree.leaves(shardings[0], is_leaf=lambda x: isinstance(x, dict)) if isinstance(x, dict)]
    for name, x in [row for field in fields for row in field.items()]:
        assert x.is_equivalent_to(NamedSharding(mesh, expected[name]), 2), name
    with jax.set_mesh(mesh if set_mesh else jax.sharding.Mesh(np.empty((), object), ())):
        state = tx.init(params)
        for x, sharding in zip(jax.tree.leaves(state), jax.tree.leaves(shardings), strict=True):
            assert x.ndim == 0 or x.sharding.is_equivalent_to(sharding, x.ndim)
        state = jax.device_put(state, shardings)
        update = tx.update if eager else jax.jit(tx.update)
        for _ in range(3):
            updates, state = update(params, state, params)
            assert_laid(state, shardings)
            assert_laid(updates, jax.tree.map(lambda p: p.sharding, params))


@pytest.mark.parametrize("mixed", [(AxisType.Auto, AxisType.Explicit), (AxisType.Explicit, AxisType.Auto)])
def test_axes_of_both_kinds(mixed):
    """What lies along automatic axes is not known in a trace, and two arrays would be spread in two ways."""
    mesh = mesh_with(mixed, data=4, model=2)
    params = put(jnp.ones((8, 16)), mesh, "model", None)
    with pytest.raises(ValueError, match=r"zero_redundancy: the mesh has axes of both kinds.*make all of them"):
        zero_redundancy(gx.adamw(0.1), "data").init(params)


def test_parameters_that_move():
    mesh = mesh_with(AxisType.Auto, data=8)
    params, tx = put(jnp.ones((64, 32)), mesh), zero_redundancy(gx.adam(0.1), "data")
    state = tx.init(params)
    after = jax.jit(lambda p, s: gx.apply_updates(p, tx.update(p, s, p)[0]))(params, state)
    assert after.sharding.is_fully_replicated
    assert max(x.addressable_shards[0].data.size for x in jax.tree.leaves(state)) == 64 * 32 // 8


def test_sums_that_are_still_to_be_made():
    """Gradients over a batch in parts may come unreduced: then each device gets the sum of its part alone."""
    mesh = mesh_with(AxisType.Explicit, data=8)
    params = {"w": put(jnp.ones((16, 8)), mesh), "odd": put(jnp.ones((3, 5)), mesh)}
    x, y, z = (put(jax.random.normal(jax.random.key(i), (32, n)), mesh, "data") for i, n in enumerate((16, 8, 3)))
    tx = zero_redundancy(gx.sgd(0.1, momentum=0.9), "data")

    def step(params, state, x, y, z, spec):
        multiply = functools.partial(jnp.einsum, "bi,bj->ij", out_sharding=spec)
        g = {"w": multiply(x, y), "odd": multiply(z, y[:, :5])}
        return tx.update(g, state, params)

    with jax.set_mesh(mesh):
        state = tx.init(params)
        late = jax.jit(functools.partial(step, spec=P(None, None, unreduced=frozenset({"data"}))))
        updates, after = late(params, state, x, y, z)
        expected, _ = jax.jit(functools.partial(step, spec=P(None, None)))(params, state, x, y, z)
    assert_close(updates, expected, rtol=1e-5, atol=1e-6)
    assert_laid(updates, jax.tree.map(lambda p: p.sharding, params))
    assert "data" in after[0].trace["w"].sharding.spec


@kinds
@pytest.mark.parametrize(
    "wrap",
    [
        lambda tx: gx.skip_nonfinite(zero_redundancy(tx, "data")),
        lambda tx: gx.accumulate(zero_redundancy(tx, "data"), 2),
        lambda tx: gx.only(zero_redundancy(tx, "data"), gx.by_ndim(at_least=1)),
        lambda tx: gx.chain(gx.clip_by_value(0.5), zero_redundancy(tx, "data"), gx.scale(0.5)),
        lambda tx: optax.chain(optax.clip(0.5), zero_redundancy(tx, "data"), optax.scale(0.5)),
        lambda tx: zero_redundancy(optax.chain(optax.clip(0.5), tx), "data"),
        lambda tx: zero_redundancy(gx.skip_nonfinite(tx), "data"),
        lambda tx: zero_redundancy(zero_redundancy(tx, "data"), "data"),
        lambda tx: gx.chain(zero_redundancy(gx.freeze(gx.by_path("b")), "data"), gx.add_decayed_weights(0.1)),
        lambda tx: gx.partition((gx.by_ndim(at_least=2), zero_redundancy(tx, "data")), default=gx.sgd(0.1)),
    ],
)
def test_inside_and_around_of_others(wrap, kind):
    mesh = mesh_with(kind, data=8)
    params = jax.tree.map(lambda x: put(x, mesh), example())
    tx = wrap(gx.adamw(0.1))
    shardings = state_shardings(tx, params)
    after, state = three_steps(train(tx), params, placed_init(tx, params))
    assert_laid(state, shardings)
    assert_laid(after, jax.tree.map(lambda p: p.sharding, params))
    alone, own_state = three_steps(train(tx), example(), tx.init(example()))  # without a mesh it does nothing
    assert_close((after, state), (alone, own_state), rtol=1e-5, atol=1e-6)


@kinds
def test_eager_as_written_and_compiled_updates_agree(kind):
    mesh = mesh_with(kind, data=8)
    params = jax.tree.map(lambda x: put(x, mesh), example())
    tx = zero_redundancy(CLIPPED, "data")
    state, g = jax.jit(tx.init, out_shardings=state_shardings(tx, params))(params), like_gradients(params, 1)
    expected = jax.jit(tx.update)(g, state, params)
    with jax.disable_jit():
        as_written = tx.update(g, state, params)
    for found in (tx.update(g, state, params), as_written):
        assert_close(found, expected, rtol=1e-6, atol=1e-8)
        assert_laid(found, jax.tree.map(lambda x: x.sharding, expected))


@kinds
def test_vmap_and_grad_go_through(kind):
    mesh = mesh_with(kind, data=8)
    tx = zero_redundancy(gx.sgd(0.1, momentum=0.9), "data")

    def first(tx, g):
        return tx.update(g, tx.init(g), g)[0]

    g = jax.random.normal(jax.random.key(0), (5, 16))
    with jax.set_mesh(mesh):
        placed = put(g, mesh)
        swept = jax.vmap(first, in_axes=(None, 0))(tx, placed)
        assert_close(swept, first(tx.tx, g), rtol=1e-6)
        assert_close(jax.jit(jax.vmap(first, in_axes=(None, 0)))(tx, placed), swept, rtol=1e-6)
        slope = jax.jit(jax.grad(lambda g: jnp.sum(first(tx, g) ** 2)))(placed[0])
        assert_close(slope, 0.02 * g[0], rtol=1e-5)


def test_a_loop_inside_of_jit_spreads_a_state_that_is_made_there():
    mesh = mesh_with(AxisType.Auto, data=8)
    params, tx = put(jnp.ones((16, 8)), mesh), zero_redundancy(gx.adam(0.1), "data")

    def loop(params):
        def body(carry, _):
            params, state = carry
            updates, state = tx.update(params, state, params)
            return (gx.apply_updates(params, updates), state), None

        return jax.lax.scan(body, (params, tx.init(params)), length=3)[0]

    after, state = jax.jit(loop)(params)
    assert after.sharding.is_fully_replicated
    assert state[0].mu.addressable_shards[0].data.size == 16


def test_what_is_no_array_of_floats_passes():
    mesh = mesh_with(AxisType.Auto, data=8)
    model = {"w": put(jnp.ones((8, 2)), mesh), "f": jnp.tanh, "n": None, "steps": jnp.arange(3)}
    tx = zero_redundancy(gx.only(gx.adam(0.1), gx.by_path("w")), "data")
    g = {"w": model["w"], "f": None, "n": None, "steps": jnp.arange(3)}
    updates, state = tx.update(g, tx.init(model), model)
    assert updates["steps"] is None
    assert gx.apply_updates(model, updates)["w"].sharding.is_fully_replicated
    assert len(gx.find(state, "mu")["w"].addressable_shards[0].data) == 1


def test_without_a_mesh_it_is_the_transformation():
    params, tx = example(), zero_redundancy(CLIPPED, "data")
    updates, state = tx.update(example(1), tx.init(params), params)
    assert_close((updates, state), CLIPPED.update(example(1), CLIPPED.init(params), params))


@kinds
def test_an_axis_that_the_mesh_lacks(kind):
    params = put(jnp.ones(8), mesh_with(kind, data=4, model=2))
    tx = zero_redundancy(gx.adam(0.1), "batch")
    message = "zero_redundancy: axis must be one of those of the mesh, 'data', 'model', got 'batch'"
    with refused(ValueError, message):
        tx.init(params)
    with refused(ValueError, message):
        jax.jit(tx.update)(params, tx.tx.init(jnp.ones(8)), params)


def test_arrays_on_two_meshes():
    one, other = mesh_with(AxisType.Auto, data=8), mesh_with(AxisType.Auto, data=4, model=2)
    params, tx = {"a": put(jnp.ones(8), one), "b": put(jnp.ones(8), other)}, zero_redundancy(gx.adam(0.1), "data")
    where = "params['b'] lies on the mesh (data: 4, model: 2; Auto, Auto), params['a'] on (data: 8; Auto)"
    with refused(ValueError, f"zero_redundancy: {where}; move them to one with jax.device_put"):
        tx.init(params)
    g = params | {"b": params["a"]}
    with jax.disable_jit():
        with refused(ValueError, "updates['b'] lies on the mesh (data: 4, model: 2; Auto, Auto), updates['a'] on (dat"):
            tx.update(params, tx.tx.init(params), params)
        with refused(ValueError, "params['b'] lies on the mesh (data: 4, model: 2; Auto, Auto), updates['a'] on (dat"):
            tx.update(g, tx.tx.init(g), params)


def test_inside_of_shard_map():
    mesh = mesh_with(AxisType.Auto, data=8)
    tx = zero_redundancy(gx.sgd(0.1), "data")
    step = jax.shard_map(lambda g: tx.update(g, tx.init(g), g)[0], mesh=mesh, in_specs=P("data"), out_specs=P("data"))
    problem = "zero_redundancy: inside of a shard_map over 'data' each device has its own arrays"
    remedy = "take parts by jax.lax.psum_scatter and update them by across(tx, 'data'), or call it outside"
    with refused(ValueError, f"{problem}; {remedy}"):
        step(put(jnp.ones(8), mesh, "data"))
