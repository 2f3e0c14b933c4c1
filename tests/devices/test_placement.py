"""Where arrays lie without being asked. The law over the catalogue is `state_lies_like_its_parameters`."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import gradtx as gx
from tests.devices.placed import mesh_with

MESH = mesh_with(AxisType.Auto, data=8)
PARTS, WHOLE = NamedSharding(MESH, PartitionSpec("data")), NamedSharding(MESH, PartitionSpec())
ONE = mesh_with(AxisType.Auto, data=1)
CLIPPED = gx.chain(gx.clip_by_global_norm(1.0), gx.adam(0.1))


def train(tx, params, steps=3):
    """Some steps in a compiled function, which is returned with the parameters."""

    @jax.jit
    def step(params, state):
        updates, state = tx.update(params, state, params)
        return gx.apply_updates(params, updates), state

    state = tx.init(params)
    for _ in range(steps):
        params, state = step(params, state)
    return params, step


@pytest.mark.parametrize(
    "place",
    [
        NamedSharding(ONE, PartitionSpec()),
        jax.devices()[0],
        jax.devices()[3],
        None,
        WHOLE,
    ],
    ids=["a mesh of one device", "the first device", "the fourth device", "anywhere", "all devices"],
)
def test_a_step_compiles_once_wherever_the_parameters_lie(place):
    params = {"w": jnp.ones((8, 2)), "b": jnp.ones(2)}
    params = params if place is None else jax.device_put(params, place)
    after, step = train(CLIPPED, params)
    assert step._cache_size() == 1  # pyright: ignore[reportAttributeAccessIssue]
    assert {x.sharding for x in jax.tree.leaves(after)} == {x.sharding for x in jax.tree.leaves(params)}


def test_parameters_that_may_lie_anywhere_follow_their_gradients():
    """Data-parallel training whose loop never lays the parameters: as in plain JAX."""
    batch = jax.device_put(jnp.ones((16, 8)), PARTS)
    gradient = jax.jit(jax.grad(lambda params, x: jnp.mean((x @ params["w"] - params["b"]) ** 2)))
    params = {"w": jnp.ones(8), "b": jax.device_put(jnp.ones([]), WHOLE)}
    state = CLIPPED.init(params)
    for _ in range(3):
        updates, state = CLIPPED.update(gradient(params, batch), state, params)
        params = gx.apply_updates(params, updates)
    assert params["w"].sharding.is_equivalent_to(WHOLE, 1)


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_updates_that_lie_elsewhere_leave_the_parameters_where_they_are(kind):
    mesh = mesh_with(kind, data=8)
    rows, columns = NamedSharding(mesh, PartitionSpec("data", None)), NamedSharding(mesh, PartitionSpec(None, "data"))
    p, u = jax.device_put(jnp.ones((8, 8)), rows), jax.device_put(jnp.ones((8, 8)), columns)
    assert gx.apply_updates(p, u).sharding.is_equivalent_to(rows, 2)
    with jax.set_mesh(mesh):
        if kind is AxisType.Explicit:
            assert jax.jit(gx.apply_updates)(p, u).sharding.is_equivalent_to(rows, 2)
        made_inside = jax.jit(lambda p: gx.apply_updates(p, jnp.ones((8, 8))))
        assert made_inside(p).sharding.is_equivalent_to(rows, 2)


def test_parts_of_optax_lie_beside_their_parameters():
    """Numbers on all devices, and what has a parameter's shape behind other dimensions like that one."""
    params = {"w": jax.device_put(jnp.ones((16, 3)), PARTS), "b": jax.device_put(jnp.ones(3), WHOLE)}
    state = gx.chain(optax.scale_by_lbfgs(4), optax.adam(0.1)).init(params)
    for x in jax.tree.leaves(state):
        spec = PartitionSpec(*[None] * (x.ndim - 2), "data") if x.shape[-2:] == (16, 3) else PartitionSpec()
        assert x.sharding.is_equivalent_to(NamedSharding(MESH, spec), x.ndim), x.shape


def test_a_key_in_a_state_lies_on_all_devices():
    state = gx.chain(optax.add_noise(0.1, 0.5, jax.random.key(0))).init(jax.device_put(jnp.ones(8), PARTS))
    (key,) = [x for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key)]
    assert key.sharding.is_equivalent_to(WHOLE, 0)


def test_an_authors_init_need_not_know_of_layouts():
    @gx.transformation
    def slow():
        return gx.per_array(
            gx.ScaleByMomentumState, lambda p: dict(trace=jnp.full(p.shape, 0.5)), lambda g, state: (g, dict(trace=g))
        )

    state = slow().init(jax.device_put(jnp.ones((8, 2)), PARTS))
    assert state.trace.sharding.is_equivalent_to(PARTS, 2)
    np.testing.assert_array_equal(state.trace, 0.5)


def test_the_memory_is_that_of_the_parameters():
    kinds = {memory.kind for memory in jax.devices()[0].addressable_memories()}
    for kind in kinds:
        w = jax.device_put(jnp.ones((8, 2)), PARTS.with_memory_kind(kind))
        assert {x.sharding.memory_kind for x in jax.tree.leaves(gx.scale_by_adam().init(w)) if x.ndim} == {kind}


def test_parameters_on_two_meshes_are_left_to_jax():
    other = mesh_with(AxisType.Auto, a=4, b=2)
    params = {
        "w": jax.device_put(jnp.ones(8), PARTS),
        "b": jax.device_put(jnp.ones(8), NamedSharding(other, PartitionSpec("a"))),
    }
    state = gx.scale_by_adam().init(params)
    assert state.mu["w"].sharding.mesh == MESH
    assert state.mu["b"].sharding.mesh == other
