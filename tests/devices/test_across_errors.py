"""What reduces over parts of an array and can't: an error that says what to do."""

import jax
import jax.numpy as jnp
import optax
import pytest

import gradtx as gx
from tests.devices.test_across import GRID, MESH, SPECS, TREE, WHOLE, first


def own_norm():
    @gx.transformation
    def normalized():
        return gx.stateless(lambda g: g / jnp.linalg.norm(g))

    return normalized()


WITHOUT = r"differs? along data; across\(tx, axes\) around the transformation.* across\(tx, \(\)\)"


@pytest.mark.parametrize(
    ("tx", "message"),
    [
        (gx.clip_by_global_norm(1.0), f"clip_by_global_norm: it reduces over an array that {WITHOUT}"),
        (gx.chain(gx.clip_by_norm(1.0)), f"clip_by_norm: it reduces over an array that {WITHOUT}"),
        (gx.skip_nonfinite(gx.sgd(0.1)), f"skip_nonfinite: it reduces over an array that {WITHOUT}"),
        (gx.scale_by_lbfgs(), f"scale_by_lbfgs: it reduces over an array that {WITHOUT}"),
        (gx.record("norm", gx.global_norm), f"global_norm: it reduces over an array that {WITHOUT}"),
        (gx.record("zeros", gx.sparsity), f"sparsity: it reduces over an array that {WITHOUT}"),
        (own_norm(), f"normalized: it takes sums on each device alone of an array that {WITHOUT}"),
        (gx.chain(optax.clip_by_global_norm(1.0)), f"it takes sums on each device alone of an array that {WITHOUT}"),
        (
            gx.record("m", lambda u: u["w"].max()),
            r"what 'm' records differs along data .*pmean.*; across\(tx, \(\)\)",
        ),
        (gx.constrain_norm(1.0), r"constrain_norm: an array is in parts along data; a unit's .* across\(tx, \(\)\)"),
    ],
)
def test_without_it(tx, message):
    with pytest.raises(ValueError, match=message):
        first(tx)


@pytest.mark.parametrize(
    ("tx", "message"),
    [
        (own_norm(), r"normalized: it takes sums on each device alone of an array that differs along data; .*total"),
        (gx.accumulate(own_norm(), 2), "normalized: it takes sums on each device alone"),
        (optax.clip_by_global_norm(1.0), "it takes sums on each device alone"),
        (optax.adafactor(0.1, min_dim_size_to_factor=2), "on each device alone"),
        (gx.parallel(gx.adam(0.1), gx.identity(), join=lambda a, b: a * jnp.max(b)), "parallel: it takes extremes"),
        (gx.record("m", lambda u: u["w"].max()), "record: what 'm' records differs along data from device to device"),
        (
            gx.constrain_norm(1.0),
            "constrain_norm: an array is in parts along data; a unit's weights may lie on several",
        ),
    ],
)
def test_what_it_cannot_reach(tx, message):
    with pytest.raises(ValueError, match=message):
        first(gx.across(tx, "data"))


def loop(g):
    return g / jax.lax.scan(lambda so_far, row: (so_far + row, None), jnp.zeros_like(g[0]), g)[0][None]


@pytest.mark.parametrize(
    "formula",
    [
        loop,
        lambda g: g / jnp.std(g),
        lambda g: g / jax.ops.segment_sum(g, jnp.zeros(len(g), int), 1),
        lambda g: jnp.where(jax.lax.cond(jnp.max(g) > 1.0, lambda: True, lambda: False), g, -g),
        lambda g: g / jax.jit(jnp.linalg.norm)(g),
        lambda g: g / jax.checkpoint(jnp.max)(g),
        lambda g: jnp.sort(g, axis=0),
        lambda g: jnp.cumsum(g, axis=0),
    ],
    ids=["scan", "std", "segment_sum", "cond", "jit", "checkpoint", "sort", "cumsum"],
)
def test_reductions_are_found_wherever_they_hide(formula):
    tx = gx.transformation(lambda: gx.stateless(formula))()
    with pytest.raises(ValueError, match="on each device alone of an array that differs along data"):
        first(gx.across(tx, "data"), {"w": TREE["w"]}, {"w": SPECS["w"]})


def test_a_collective_over_another_axis_is_none_over_this_one():
    tx = gx.transformation(lambda: gx.stateless(lambda g: g / jax.lax.psum(jnp.sum(g), "model")))()
    spec = jax.sharding.PartitionSpec("data", "model")
    with pytest.raises(ValueError, match=r"it takes sums on each device alone .* along data, model"):
        first(gx.across(tx, ("data", "model")), jnp.ones((8, 4)), spec, mesh=GRID)


def test_numbers_of_the_transformation_are_the_same_on_all_devices():
    def update(tree):
        tx = gx.across(gx.add_decayed_weights(jnp.abs(tree["w"]).mean()), "data")
        return tx.update(tree, tx.init(tree), tree)[0]

    with pytest.raises(ValueError, match="a number of the transformation differs along data from device to device"):
        jax.shard_map(update, mesh=MESH, in_specs=(SPECS,), out_specs=SPECS)(TREE)


def needing_all(tx, loss):
    """The transformation, which is given all that a second-order method needs."""

    def update(updates, state, params=None):
        return tx.update(updates, state, params, value=1.0, grad=updates, value_fn=loss, loss_fn=loss)

    return gx.transformation(lambda: (tx.init, update))()


def test_what_needs_whole_arrays_is_refused():
    def loss(w):
        return jax.lax.psum(jnp.sum(w["w"] ** 2), "data") + jnp.sum(w["b"] ** 2)

    for tx in (gx.lbfgs(), gx.newton()):
        with pytest.raises(ValueError, match=r"an array is in parts along data; .* outside of shard_map"):
            first(gx.across(needing_all(tx, loss), "data"))
    with pytest.raises(ValueError, match="largest_eigenvalue: an array is in parts along data"):
        jax.shard_map(lambda w: gx.largest_eigenvalue(loss, w), mesh=MESH, in_specs=(SPECS,), out_specs=WHOLE)(TREE)


def test_a_loss_that_devices_differ_in():
    def update(tx):
        def of_parts(tree):
            return tx.update(tree, tx.init(tree), tree, value=jnp.sum(tree["w"]))[0]

        return jax.shard_map(of_parts, mesh=MESH, in_specs=(SPECS,), out_specs=SPECS)(TREE)

    for tx in (gx.reduce_on_plateau(), gx.across(gx.early_stopping(), "data"), gx.skip_spikes(gx.sgd(0.1), loss=True)):
        with pytest.raises(
            ValueError, match=r"value differs along data .*jax.lax.pmean over|an array that differs along"
        ):
            update(tx)


def test_other_axes():
    with pytest.raises(ValueError, match="across: the mesh has no axis model, but data"):
        first(gx.across(gx.identity(), ("data", "model")))
    for axes in (3, ("data", 1), None):
        with pytest.raises(TypeError, match="across: axes must be the name of an axis or a tuple of names, got"):
            gx.across(gx.identity(), axes)  # pyright: ignore[reportArgumentType]
