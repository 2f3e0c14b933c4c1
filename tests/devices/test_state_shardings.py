"""Where the arrays of states belong: read off, whatever made them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import gradtx as gx
from gradtx import state_shardings
from tests.devices.placed import KINDS, assert_laid, mesh_with, put
from tests.refusals import refused

kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


def parameters(mesh):
    return {
        "w": put(jnp.ones((8, 16)), mesh, None, "model"),
        "v": put(jnp.ones((8, 16)), mesh, ("data", "model")),
        "b": put(jnp.ones(6), mesh),
    }


def specs(tree):
    """The axes of each dimension, without what is spread over none at the end."""

    def written(sharding):
        rows = list(sharding.spec)
        while rows and rows[-1] is None:
            rows.pop()
        return PartitionSpec(*rows)

    return jax.tree.map(written, tree)


LIKE = {"w": PartitionSpec(None, "model"), "v": PartitionSpec(("data", "model")), "b": PartitionSpec()}
TRANSFORMATIONS = {
    "adamw": (lambda: gx.adamw(0.1), lambda s: (s[0].mu, s[0].nu)),
    "chain with names": (lambda: gx.chain(clip=gx.clip_by_norm(1.0), adam=gx.adam(0.1)), lambda s: s["adam"][0].mu),
    "every": (lambda: gx.every(gx.scale_by_adam(), 2), lambda s: s.inner_state.mu),
    "guard": (lambda: gx.skip_nonfinite(gx.adam(0.1)), lambda s: s.inner_state[0].nu),
    "average": (lambda: gx.average_parameters(0.9), lambda s: s.average),
    "optax.adamw": (lambda: optax.adamw(0.1), lambda s: (s[0].mu, s[0].nu)),
    "optax.MultiSteps": (
        lambda: optax.MultiSteps(optax.adam(0.1), 2),
        lambda s: (s.acc_grads, s.inner_opt_state[0].mu),
    ),
    "optax.chain": (lambda: optax.chain(optax.clip(1.0), gx.scale_by_momentum(0.9)), lambda s: s[1].trace),
}


@kinds
@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_what_is_made_like_a_parameter_lies_like_it(kind, name):
    make, arrays = TRANSFORMATIONS[name]
    params, tx = parameters(mesh_with(kind, data=4, model=2)), make()
    shardings = state_shardings(tx, params)
    found = jax.tree.leaves(specs(arrays(shardings)))
    assert found == [LIKE[key] for key in sorted(LIKE)] * (len(found) // 3)
    assert all(isinstance(x, NamedSharding) for x in jax.tree.leaves(shardings))
    assert_laid(jax.jit(tx.init, out_shardings=shardings)(params), shardings)


@kinds
def test_shapes_tell_as_much_as_arrays(kind):
    params = parameters(mesh_with(kind, data=4, model=2))
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), params)
    for tx in (gx.adamw(0.1), optax.adamw(0.1), gx.zero_redundancy(gx.adamw(0.1), "data")):
        assert state_shardings(tx, shapes) == state_shardings(tx, params)


@kinds
def test_a_mesh_that_is_set_changes_nothing(kind):
    params = parameters(mesh_with(kind, data=4, model=2))
    tx = gx.zero_redundancy(gx.adamw(0.1), "data")
    alone = state_shardings(tx, params)
    for other in (params["w"].sharding.mesh, mesh_with(AxisType.Auto, x=8), mesh_with(AxisType.Explicit, y=2)):
        with jax.set_mesh(other):
            assert state_shardings(tx, params) == alone


@pytest.mark.parametrize("mixed", [(AxisType.Auto, AxisType.Explicit), (AxisType.Explicit, AxisType.Auto)])
def test_axes_may_be_of_both_kinds(mixed):
    params = parameters(mesh_with(mixed, data=4, model=2))
    shardings = state_shardings(gx.adam(0.1), params)
    assert specs(shardings[0].mu) == LIKE
    assert_laid(jax.jit(gx.adam(0.1).init, out_shardings=shardings)(params), shardings)


@kinds
def test_a_mesh_may_have_one_device(kind):
    params = parameters(mesh_with(kind, data=1, model=1))
    shardings = state_shardings(gx.adam(0.1), params)
    assert specs(shardings[0].mu) == LIKE
    assert_laid(jax.jit(gx.adam(0.1).init, out_shardings=shardings)(params), shardings)


def test_rows_and_columns_of_a_parameter_lie_as_types_say():
    params = {"w": put(jnp.ones((256, 512)), mesh_with(AxisType.Auto, data=4, model=2), "data", "model")}
    tx = optax.adafactor(0.1, momentum=0.9)
    shardings = state_shardings(tx, params)
    state = jax.jit(tx.init, out_shardings=shardings)(params)
    assert_laid(state, shardings)
    by_shape = {x.shape: s for x, s in zip(jax.tree.leaves(state), jax.tree.leaves(specs(shardings)), strict=True)}
    assert by_shape[256, 512] == PartitionSpec("data", "model")  # its momentum
    if jax.__version_info__ >= (0, 10):  # before, no type says it of what Optax makes from a shape
        assert by_shape[256,] == PartitionSpec("data")
        assert by_shape[512,] == PartitionSpec("model")


def test_groups_of_optax():
    params = parameters(mesh_with(AxisType.Auto, data=4, model=2))
    groups = {"adam": optax.adam(0.1), "sgd": optax.sgd(0.1, momentum=0.9)}
    tx = optax.multi_transform(groups, {"w": "adam", "v": "sgd", "b": "sgd"})  # pyright: ignore[reportArgumentType]
    state = jax.jit(tx.init, out_shardings=state_shardings(tx, params))(params)
    assert_laid(state, state_shardings(tx, params))
    assert state.inner_states["adam"].inner_state[0].mu["w"].sharding.spec[1] == "model"


def test_random_keys_and_numbers_are_whole_everywhere():
    params = parameters(mesh_with(AxisType.Auto, data=4, model=2))
    tx = optax.chain(optax.add_noise(0.1, 0.5, jax.random.key(0)), optax.adam(0.1))
    shardings = state_shardings(tx, params)
    assert shardings[0].rng_key.spec == shardings[0].count.spec == PartitionSpec()
    assert_laid(jax.jit(tx.init, out_shardings=shardings)(params), shardings)


def state_by_windows():
    """Momentum beside an array that explicit axes refuse to make."""

    def init(params):
        mixed = jax.tree.map(lambda p: jnp.sum(p.reshape(-1, 12), axis=0) if p.size % 12 == 0 else p, params)
        return {"mu": jax.tree.map(jnp.zeros_like, params), "windows": mixed}

    return optax.GradientTransformation(init, lambda updates, state, params=None: (updates, state))


def test_what_types_can_not_follow_lies_like_its_parameter_or_is_whole():
    params = {"w": put(jnp.ones((8, 18)), mesh_with(AxisType.Auto, data=4, model=2), "data", "model")}
    tx = state_by_windows()
    with pytest.raises(Exception, match="reshape"):
        tx.init({"w": put(jnp.ones((8, 18)), mesh_with(AxisType.Explicit, data=4, model=2), "data", "model")})
    shardings = state_shardings(tx, params)
    assert specs(shardings) == {"mu": {"w": PartitionSpec("data", "model")}, "windows": {"w": PartitionSpec()}}
    assert_laid(jax.jit(tx.init, out_shardings=shardings)(params), shardings)


def test_an_error_of_init_is_its_own():
    params = parameters(mesh_with(AxisType.Auto, data=4, model=2))
    with pytest.raises(ZeroDivisionError):
        state_shardings(optax.GradientTransformation(lambda params: 1 / 0, optax.identity().update), params)
    with refused(ValueError, "zero_redundancy: axis must be one of those of the mesh, 'data', 'model', got 'x'"):
        state_shardings(gx.zero_redundancy(gx.adam(0.1), "x"), params)


def test_what_no_update_moves_needs_no_sharding():
    mesh = mesh_with(AxisType.Auto, data=8)
    model = {"w": put(jnp.ones((8, 2)), mesh, "data"), "f": jnp.tanh, "n": None, "i": 3, "k": jax.random.key(0)}
    model |= {"steps": np.arange(3), "rate": 0.5, "scale": np.float32(2.0)}
    mu = state_shardings(gx.adam(0.1), model)[0].mu
    assert specs({name: x for name, x in mu.items() if x}) == {
        "w": PartitionSpec("data"),
        "rate": PartitionSpec(),
        "scale": PartitionSpec(),
    }


@pytest.mark.parametrize(
    ("leaf", "got"),
    [
        (lambda: jnp.ones(3), "a SingleDeviceSharding"),
        (lambda: np.ones(3), "none"),
        (lambda: jax.ShapeDtypeStruct((3,), jnp.float32), "none"),
    ],
)
def test_parameters_without_a_layout_are_refused(leaf, got):
    params = {"w": put(jnp.ones(8), mesh_with(AxisType.Auto, data=8)), "b": [leaf()]}
    remedy = "put the parameters on a mesh, as by jax.device_put(params, NamedSharding(mesh, spec))"
    with refused(ValueError, f"state_shardings: params['b'][0] must have a NamedSharding, got {got}; {remedy}"):
        state_shardings(gx.adam(0.1), params)


def test_parameters_on_two_meshes_are_refused():
    one, other = mesh_with(AxisType.Auto, data=8), mesh_with(AxisType.Auto, data=4, model=2)
    params = {"a": put(jnp.ones(8), one), "b": put(jnp.ones(8), other)}
    where = "params['b'] lies on the mesh (data: 4, model: 2; Auto, Auto), params['a'] on (data: 8; Auto)"
    with refused(ValueError, f"state_shardings: {where}; move them to one with jax.device_put"):
        state_shardings(gx.adam(0.1), params)
    twisted = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[::-1])
    with refused(ValueError, "params['b'] lies on the mesh (data: 8; Auto), params['a'] on (data: 8; Auto)"):
        state_shardings(gx.adam(0.1), {"a": put(jnp.ones(8), one), "b": put(jnp.ones(8), twisted)})


def test_no_parameters_and_no_transformation_are_refused():
    with refused(ValueError, "state_shardings: params must hold an array with a NamedSharding, got none"):
        state_shardings(gx.adam(0.1), {})
    with refused(TypeError, "state_shardings: tx must be a transformation, got a function; call it: adam(…)"):
        state_shardings(gx.adam, {"w": jnp.ones(3)})


def test_the_memory_is_that_of_the_parameters():
    place = NamedSharding(mesh_with(AxisType.Auto, data=8), PartitionSpec("data"), memory_kind="pinned_host")
    shardings = state_shardings(gx.adam(0.1), jax.ShapeDtypeStruct((8, 2), jnp.float32, sharding=place))
    assert {s.memory_kind for s in jax.tree.leaves(shardings[0].mu)} == {"pinned_host"}


def test_a_single_number_may_lie_anywhere():
    place = NamedSharding(mesh_with(AxisType.Auto, data=8), PartitionSpec("data"))
    params = {"w": jax.device_put(jnp.ones(8), place), "temperature": jnp.ones([])}
    assert state_shardings(gx.adam(0.1), params)[0].mu["temperature"].is_fully_replicated


def test_inside_of_jit_no_layout_is_known():
    w = jax.device_put(jnp.ones(8), NamedSharding(mesh_with(AxisType.Auto, data=8), PartitionSpec("data")))
    with pytest.raises(TypeError, match=r"state_shardings: params\['w'\] is traced.*call it outside, with arrays or"):
        jax.jit(lambda w: state_shardings(gx.adam(0.1), {"w": w}) and w)(w)
