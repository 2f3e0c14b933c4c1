"""`across`: inside of `shard_map`, parts make the whole. The law over the catalogue is `parts_make_the_whole`."""

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, PartitionSpec

import gradtx as gx
from tests.devices.placed import assert_close, collectives, mesh_with

MESH = mesh_with(AxisType.Auto, data=8)
GRID = mesh_with(AxisType.Auto, data=4, model=2)
PARTS, WHOLE = PartitionSpec("data"), PartitionSpec()
SPECS = {"w": PARTS, "b": WHOLE}
TREE = {
    "w": jnp.asarray(np.random.default_rng(0).standard_normal((16, 3)), jnp.float32),
    "b": jnp.asarray(np.random.default_rng(1).standard_normal(5), jnp.float32),
}


def first(tx, tree=TREE, specs=SPECS, out=None, mesh=MESH, check_vma=True, **extra):
    """The updates of a first step on parts of the arrays."""

    def update(tree):
        return tx.update(tree, tx.init(tree), tree, **extra)[0]

    out = specs if out is None else out
    return jax.jit(jax.shard_map(update, mesh=mesh, in_specs=(specs,), out_specs=out, check_vma=check_vma))(tree)


# ---- parts of one array ----


def test_along_two_axes_of_three_kinds_of_arrays():
    """Rows over one axis, columns over the other, both, and neither: each element counts once."""
    x = jax.random.normal(jax.random.key(0), (8, 4))
    tree = {"rows": x, "columns": x + 1.0, "both": x - 1.0, "none": x * 2.0}
    specs = {
        "rows": PartitionSpec("data"),
        "columns": PartitionSpec(None, "model"),
        "both": PartitionSpec("data", "model"),
        "none": WHOLE,
    }
    tx = gx.clip_by_global_norm(1.0)
    whole = tx.update(tree, tx.init(tree))[0]
    assert_close(first(gx.across(tx, ("data", "model")), tree, specs, mesh=GRID), whole, rtol=1e-6)


def test_each_part_along_an_axis_that_is_not_named_has_a_norm_of_its_own():
    x = jnp.arange(1.0, 33.0).reshape(8, 4)
    own = first(gx.across(gx.clip_by_global_norm(1.0), "data"), x, PartitionSpec("data", "model"), mesh=GRID)
    for half in (own[:, :2], own[:, 2:]):
        assert float(gx.global_norm(half)) == pytest.approx(1.0, rel=1e-6)


def test_one_collective_however_many_arrays():
    tree = {f"{i}": jnp.ones((8, i + 1), jnp.float32) for i in range(20)}
    tx = gx.across(gx.chain(gx.clip_by_global_norm(1.0), gx.adamw(0.1)), "data")

    def update(tree):
        return tx.update(tree, tx.init(tree), tree)[0]

    specs = dict.fromkeys(tree, PARTS)
    program = jax.jit(jax.shard_map(update, mesh=MESH, in_specs=(specs,), out_specs=specs)).lower(tree).compile()
    assert collectives(program) == [("all-reduce", 4)]


def test_nan_on_one_device_is_skipped_on_all():
    tree = TREE | {"w": TREE["w"].at[3, 1].set(jnp.nan)}
    updates = first(gx.across(gx.skip_nonfinite(gx.sgd(0.1)), "data"), tree)
    assert_close(updates, jax.tree.map(jnp.zeros_like, tree), rtol=1e-6)


def test_a_largest_element_is_that_of_all_parts():
    tx = gx.across(gx.clip_by_value(0.1), "data")

    def largest(tree):
        return tx.update(tree, tx.init(tree))[1].norm

    norm = jax.jit(jax.shard_map(largest, mesh=MESH, in_specs=(SPECS,), out_specs=WHOLE))(TREE)
    assert norm == max(jnp.abs(x).max() for x in TREE.values())


def test_sparsity_is_recorded_of_all_parts():
    tree = {"w": jnp.zeros((16, 3)).at[0].set(1.0), "b": jnp.zeros(4)}
    tx = gx.across(gx.record("zeros", gx.sparsity), "data")

    def zeros(tree):
        return gx.metrics(tx.update(tree, tx.init(tree))[1])["zeros"]

    share = jax.jit(jax.shard_map(zeros, mesh=MESH, in_specs=(SPECS,), out_specs=WHOLE))(tree)
    assert float(share) == pytest.approx(49 / 52)


def test_grafting_takes_the_norms_of_whole_arrays():
    def graft(direction, size):
        return direction * (gx.global_norm(size) / gx.global_norm(direction))

    tx = gx.parallel(gx.scale_by_adam(), gx.identity(), join=graft)
    assert_close(first(gx.across(tx, "data")), tx.update(TREE, tx.init(TREE))[0], rtol=1e-5)


def test_an_authors_formula_sums_with_total():
    @gx.transformation
    def normalized():
        return gx.stateless(lambda g: g / jnp.sqrt(gx.total(g**2)))

    tx = normalized()
    assert_close(first(gx.across(tx, "data")), tx.update(TREE, tx.init(TREE))[0], rtol=1e-6)


def test_a_formula_that_is_compiled_by_itself_is_traced_for_each_meaning():
    """JAX keeps the trace of an inner `jit`: it has to know what was said around it."""

    @jax.jit
    def normalize(g):
        return g / jnp.sqrt(gx.total(g**2))

    tx = gx.transformation(lambda: gx.stateless(normalize))()
    tree, specs = {"w": TREE["w"]}, {"w": PARTS}
    whole, own = (float(gx.global_norm(first(gx.across(tx, axes), tree, specs))) for axes in ("data", ()))
    assert (whole, own) == (pytest.approx(1.0, rel=1e-6), pytest.approx(8**0.5, rel=1e-6))
    with pytest.raises(ValueError, match="it reduces over an array that differs along data"):
        first(tx, tree, specs)


def test_what_only_looks_like_a_reduction_passes():
    @gx.transformation
    def outer():
        return gx.stateless(lambda g: jnp.einsum("ij,k->ijk", g, jnp.ones(1, g.dtype)).sum(2))

    assert_close(first(gx.across(outer(), "data"), {"w": TREE["w"]}, {"w": PARTS}), {"w": TREE["w"]}, rtol=1e-6)


def test_a_gradient_goes_through_what_is_measured():
    def slope(tx):
        def of_parts(g):
            return jax.grad(lambda g: jnp.sum(tx.update(g, tx.init(g))[0]["w"] ** 2))(g)

        return of_parts

    tree, specs = {"w": TREE["w"]}, {"w": PARTS}
    parts = jax.shard_map(
        slope(gx.across(gx.clip_by_value(0.5), "data")), mesh=MESH, in_specs=(specs,), out_specs=specs
    )
    assert_close(jax.jit(parts)(tree), slope(gx.clip_by_value(0.5))(tree), rtol=1e-6)


def test_plain_pairs_keep_states_that_are_no_arrays():
    def update(updates, state, params=None) -> Any:
        return updates, {"name": "mine", "last": updates}

    def init(params) -> Any:
        return {"name": "mine", "last": None}

    tx = optax.GradientTransformation(init, update)
    assert first(gx.chain(gx.sgd(1.0), tx), out=SPECS)["w"].shape == (16, 3)


def test_what_stands_behind_it_is_not_across():
    """The stages of a chain run late, each under what was said where it stands."""
    tx = gx.chain(gx.across(gx.clip_by_norm(1.0), "data"), gx.across(gx.clip_by_norm(0.1), ()))
    parts = first(tx, {"w": TREE["w"]}, {"w": PARTS})["w"]
    clipped = TREE["w"] / max(1.0, float(gx.global_norm(TREE["w"])))
    for part, own in zip(parts.reshape(8, 2, 3), clipped.reshape(8, 2, 3), strict=True):
        assert_close(part, own * (0.1 / max(0.1, float(gx.global_norm(own)))), rtol=1e-5)


def test_it_is_nothing_outside_of_shard_map():
    tx = gx.clip_by_global_norm(0.5)
    assert jax.tree.all(
        jax.tree.map(
            lambda x, y: (x == y).all(),
            gx.across(tx, "data").update(TREE, tx.init(TREE)),
            tx.update(TREE, tx.init(TREE)),
        )
    )


# ---- models of their own ----


@pytest.mark.parametrize(
    "tx",
    [
        gx.chain(gx.clip_by_global_norm(0.5), gx.adam(0.1)),
        gx.scale_by_lbfgs(2),
        gx.skip_nonfinite(gx.adam(0.1)),
        gx.constrain_norm(0.5),
    ],
    ids=repr,
)
def test_each_device_has_a_model(tx):
    tree = jax.random.normal(jax.random.key(0), (8, 4, 3))

    def update(tree):
        own = gx.across(tx, ())
        return own.update(tree[0], own.init(tree[0]), tree[0])[0][None]

    apart = jax.jit(jax.shard_map(update, mesh=MESH, in_specs=PARTS, out_specs=PARTS))(tree)
    assert_close(apart, jnp.stack([tx.update(x, tx.init(x), x)[0] for x in tree]), rtol=1e-5)


MEASURING = [
    (gx.clip_by_global_norm(0.5), {}),
    (gx.clip_by_value(0.5), {}),
    (gx.record("norm", gx.global_norm), {}),
    (gx.skip_nonfinite(gx.adam(0.1)), {}),
    (gx.skip_spikes(gx.adam(0.1)), {}),
    (gx.skip_spikes(gx.adam(0.1), loss=True), {"value": 1.0}),
    (gx.reduce_on_plateau(), {"value": 1.0}),
    (gx.early_stopping(), {"value": 1.0}),
    (gx.accumulate(gx.clip_by_norm(0.5), 2), {}),
    (gx.accumulate(gx.reduce_on_plateau(), 2), {"value": 1.0}),
    (gx.every(gx.clip_by_norm(0.3), 2), {}),
    (gx.skip_nonfinite(gx.across(gx.accumulate(gx.adam(0.1), 2), "data")), {}),
    (gx.scale_by_lbfgs(2), {}),
]


@pytest.mark.parametrize(("tx", "extra"), MEASURING, ids=lambda x: repr(x))
@pytest.mark.parametrize("axes", ["data", ()], ids=repr)
def test_states_go_through_a_scan(tx, extra, axes):
    def train(tree):
        own = gx.across(tx, axes)

        def step(carry, _):
            params, state = carry
            updates, state = own.update(params, state, params, **extra)
            return (gx.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (tree, own.init(tree)), None, 3)[0][0]

    tree, specs = TREE, SPECS
    if axes == ():
        tree, specs = {"w": TREE["w"], "b": jnp.ones(8)}, {"w": PARTS, "b": PARTS}
    trained = jax.jit(jax.shard_map(train, mesh=MESH, in_specs=(specs,), out_specs=specs))(tree)
    if axes == "data":
        assert_close(trained, train(tree), rtol=1e-5)
    else:
        parts = [jax.tree.map(lambda x, i=i: jnp.split(x, 8)[i], tree) for i in range(8)]
        assert_close(trained, jax.tree.map(lambda *x: jnp.concatenate(x), *map(train, parts)), rtol=1e-5)


# ---- where JAX hides the types ----


def test_replicas_without_types_are_right_and_warned_of():
    """Data-parallel training as it was written before JAX had types: whole arrays everywhere, gradients made equal."""
    tx = gx.clip_by_global_norm(0.5)
    with pytest.warns(UserWarning, match=r"check_vma=False.* taken for whole.*across\(tx, \(\)\).*across\(tx, axes\)"):
        updates = first(tx, specs=WHOLE, check_vma=False)
    assert_close(updates, tx.update(TREE, tx.init(TREE))[0], rtol=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_close(first(gx.across(tx, ()), specs=WHOLE, check_vma=False), updates, rtol=1e-6)
        first(gx.adam(0.1), specs=WHOLE, check_vma=False)  # which reduces nothing


def test_parts_without_types_cannot_be_told():
    with pytest.raises(ValueError, match="across needs to know; leave check_vma at True"):
        first(gx.across(gx.clip_by_global_norm(0.5), "data"), check_vma=False)
