"""Gradients of each example: what one of them can change, what is refused, and how they pass through the rest."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import gradtx as gx
from tests.devices.placed import mesh_with
from tests.printed import GRADS_M, GRADS_V, TREE, sums
from tests.refusals import refused
from tests.transforms.test_noise import is_normal, uncorrelated

pytestmark = pytest.mark.slow

PARAMS = jax.tree.map(jnp.asarray, TREE)
EXAMPLES = {"m": jnp.asarray(GRADS_M), "v": jnp.asarray(GRADS_V)}
compiled = jax.jit(lambda tx, g, state, params: tx.update(g, state, params))


def joined(tx, g=EXAMPLES, params=PARAMS):
    return compiled(tx, g, tx.init(params), params)[0]


PRINTED = {  # by Optax
    gx.per_example_clip(0.5): (4.4170534352, 1.2742129333),
    gx.per_example_clip_by_layer(0.5): (3.8837048935, 1.5351925461),
    gx.per_example_clip_by_layer(0.5, by_size=True): (4.4845161314, 1.2534794649),
    gx.private(0.5, 0.0, key=0): (1.4723511451, 0.4247376444),
    gx.dpsgd(1.0, 0.5, 0.0, key=0): (-1.4723511451, -0.4247376444),
}


@pytest.mark.parametrize("tx", PRINTED, ids=repr)
def test_what_optax_printed(tx):
    np.testing.assert_allclose(sums(joined(tx)), PRINTED[tx], rtol=1e-9)
    np.testing.assert_allclose(sums(tx.update(EXAMPLES, tx.init(None))[0]), PRINTED[tx], rtol=1e-9)  # no parameters


@pytest.mark.parametrize("bound", [0.3, 0.8, np.inf])
def test_the_functions_of_optax(bound):
    leaves = jax.tree.leaves(EXAMPLES)
    total, n = optax.per_example_global_norm_clip(leaves, bound)
    u, state = gx.per_example_clip(bound).update(EXAMPLES, gx.per_example_clip(bound).init(None))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-14), jax.tree.leaves(u), jax.tree.leaves(total))
    np.testing.assert_allclose(gx.metrics(state)["clipped_examples"], n / 3)
    for by_size in (False, True):
        tx = gx.per_example_clip_by_layer(bound, by_size=by_size)
        total, numbers = optax.per_example_layer_norm_clip(leaves, bound, uniform=not by_size)
        u, state = tx.update(EXAMPLES, tx.init(None))
        jax.tree.map(
            lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-14), jax.tree.leaves(u), jax.tree.leaves(total)
        )
        np.testing.assert_allclose(state.clipped, sum(jax.tree.leaves(numbers)) / 6)


def test_one_example_changes_the_sum_by_no_more_than_the_bound():
    source = np.random.default_rng(0)
    g = {name: jnp.asarray(source.normal(size=(20, *p.shape))) for name, p in PARAMS.items()}
    without = jax.tree.map(lambda x: x.at[7].set(0.0), g)
    spoilt = jax.tree.map(lambda x: x.at[7].set(1e6 * x[7]), g)
    for tx in (
        gx.per_example_clip(0.7),
        gx.per_example_clip_by_layer(0.7),
        gx.private(0.7, 0.0, key=0, batch_size=1.0),
    ):
        before = joined(tx, without)
        for after in (joined(tx, g), joined(tx, spoilt)):
            change = gx.global_norm(jax.tree.map(jnp.subtract, after, before))
            np.testing.assert_allclose(change, 0.7, rtol=1e-9)


def test_examples_of_zeros_fill_a_batch_up():
    tx = gx.private(0.5, 0.0, key=0, batch_size=3.0)
    longer = jax.tree.map(lambda x: jnp.concatenate([x, jnp.zeros((5, *x.shape[1:]))]), EXAMPLES)
    jax.tree.map(np.testing.assert_allclose, joined(tx, longer), joined(gx.private(0.5, 0.0, key=0)))
    none = jax.tree.map(lambda x: x[:0], EXAMPLES)
    for other in (tx, gx.private(0.5, 0.0, key=0), gx.per_example_clip(0.5), gx.per_example_clip_by_layer(0.5)):
        jax.tree.map(np.testing.assert_array_equal, joined(other, none), jax.tree.map(np.zeros_like, TREE))


def test_the_noise_of_private_is_normal_and_has_the_bound_times_the_multiplier_over_the_size():
    w = {"a": jnp.zeros((200, 200)), "b": jnp.zeros((200, 200))}
    g = jax.tree.map(lambda p: jnp.zeros((4, *p.shape)), w)
    tx = gx.private(0.5, 1.2, key=3)
    state = tx.init(w)
    u, state = compiled(tx, g, state, w)
    later, state = compiled(tx, g, state, w)
    assert int(state.count) == 2
    for x in (u["a"], u["b"], later["a"]):
        is_normal(x, (0.5 * 1.2 / 4) ** 2)
    uncorrelated(u["a"], u["b"])
    uncorrelated(u["a"], later["a"])
    uncorrelated(u["a"], joined(tx.replace(key=4), g, w)["a"])
    is_normal(joined(tx.replace(batch_size=10.0), g, w)["a"], (0.5 * 1.2 / 10) ** 2)


def test_the_way_through_a_chain():
    """Behind it anything may stand; numbers may be schedules; None, NumPy's arrays and narrow ones go through."""
    tx = gx.chain(gx.per_example_clip(gx.constant(0.5)), gx.clip_by_global_norm(0.1), gx.adamw(0.1))
    state = tx.init(PARAMS)
    for g in (EXAMPLES, jax.tree.map(np.asarray, EXAMPLES)):
        u, state = tx.update(g, state, PARAMS)
        assert jax.tree.map(jnp.shape, u) == jax.tree.map(jnp.shape, PARAMS)
    u, _ = tx.update(EXAMPLES | {"v": None}, tx.init(PARAMS), PARAMS)
    assert u["v"] is None
    dp = gx.dpsgd(gx.constant(0.1), 0.5, gx.constant(0.0), 0.9, nesterov=True, key=0)
    plain = gx.dpsgd(0.1, 0.5, 0.0, 0.9, nesterov=True, key=0)
    jax.tree.map(np.testing.assert_allclose, joined(dp), joined(plain))
    half = jax.tree.map(lambda x: (30_000.0 * x).astype(jnp.float16), EXAMPLES)  # whose squares have no sum in float16
    u = joined(gx.per_example_clip(100.0), half, jax.tree.map(lambda p: p.astype(jnp.float16), PARAMS))
    assert u["m"].dtype == jnp.float16
    assert 100.0 < gx.global_norm(u) < 300.0


def test_an_array_without_elements_is_none_of_the_sizes():
    tx = gx.per_example_clip_by_layer(0.5, by_size=True)
    with jax.debug_nans(True):
        u = joined(tx, EXAMPLES | {"empty": jnp.zeros((3, 0, 2))}, PARAMS | {"empty": jnp.zeros((0, 2))})
    assert u.pop("empty").shape == (0, 2)
    jax.tree.map(np.testing.assert_array_equal, u, joined(tx))


def test_complex_gradients_are_pairs_of_reals():
    source = np.random.default_rng(0)
    real, imag = source.normal(size=(2, 5, 3, 2))
    w = jnp.zeros((3, 2), complex)
    pairs, two = jnp.stack([real, imag], axis=1), jnp.zeros((2, 3, 2))
    for tx in (gx.per_example_clip(1.5), gx.per_example_clip_by_layer(1.5), gx.private(1.5, 0.3, key=0)):
        u = joined(tx, jnp.asarray(real + 1j * imag), w)
        np.testing.assert_allclose(jnp.stack([u.real, u.imag]), joined(tx, pairs, two), rtol=1e-12)


def test_a_part_of_the_arrays():
    """What a mask leaves out has to be one gradient already."""
    tx = gx.partition((gx.by_path("m"), gx.per_example_clip(0.5)), default=gx.sgd(1.0))
    u = joined(tx, {"m": EXAMPLES["m"], "v": EXAMPLES["v"][0]})
    alone = joined(gx.per_example_clip(0.5), EXAMPLES["m"], PARAMS["m"])
    np.testing.assert_allclose(u["m"], alone)
    np.testing.assert_array_equal(u["v"], -EXAMPLES["v"][0])
    with refused(ValueError, "updates['v'] has shape (3, 3), its parameter has (3,)"):
        joined(tx)


HINT = "a gradient of each example, as jax.vmap(jax.grad(loss), (None, 0)) makes them"


@pytest.mark.parametrize("tx", PRINTED, ids=repr)
def test_what_are_no_gradients_of_examples(tx):
    name = tx.recipe.__name__.replace("dpsgd", "private")
    with refused(ValueError, f"{name}: updates['m'] has shape (2, 3), expected ('examples', 2, 3): {HINT}"):
        joined(tx, PARAMS)
    with refused(ValueError, f"{name}: updates['v'] has shape (), expected ('examples',): {HINT}"):
        tx.update({"v": jnp.ones(())}, tx.init(None))
    shorter = EXAMPLES | {"v": EXAMPLES["v"][:2]}
    message = f"{name}: updates['v'] has gradients of 2 examples, updates['m'] of 3; give one of each example in all"
    with refused(ValueError, message):
        joined(tx, shorter)
    with refused(ValueError, "updates['v'] has shape (3, 4), its parameter has (3,)"):
        joined(tx, EXAMPLES | {"v": jnp.ones((3, 4))})
    with refused(TypeError, "updates['v'] must be floating-point or complex, got int32"):
        joined(tx, EXAMPLES | {"v": jnp.ones((3, 3), jnp.int32)})


BEHIND: dict[str, Any] = {
    "a block": gx.chain(gx.scale(0.5), gx.per_example_clip(0.5)),
    "a wrapper": gx.accumulate(gx.per_example_clip(0.5), 2),
    "a guard": gx.skip_nonfinite(gx.dpsgd(0.1, 0.5, 0.0, key=0)),
    "none of them": gx.chain(),
    "an optimizer": gx.adam(0.1),
    "Optax": gx.chain(optax.scale(0.5), gx.sgd(0.1)),
}


@pytest.mark.parametrize("tx", BEHIND.values(), ids=BEHIND)
def test_nothing_else_takes_gradients_of_examples(tx):
    with refused(ValueError, "updates['m'] has shape (3, 2, 3), its parameter has (2, 3)"):
        tx.update(EXAMPLES, tx.init(PARAMS), PARAMS)


def test_optaxs_own_beside_gradtxs():
    """What Optax has for gradients of examples takes them in a chain of gradtx; nothing stands in front of gradtx's."""
    theirs = optax.contrib.differentially_private_aggregate(0.5, 0.0, key=0)
    expected = joined(gx.dpsgd(1.0, 0.5, 0.0, key=0))
    for tx in (gx.chain(theirs, gx.sgd(1.0)), optax.chain(gx.private(0.5, 0.0, key=0), optax.scale(-1.0))):
        u, _ = tx.update(EXAMPLES, tx.init(PARAMS), PARAMS)
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-12), u, expected)
    for part in (optax.scale(2.0), optax.clip_by_global_norm(0.1)):  # the latter would tell one example of the others
        with refused(ValueError, "private: a part of Optax in front has changed the examples' gradients; put it first"):
            joined(gx.chain(part, gx.private(1.0, 0.0, key=0)))


# ---- on devices ----


def test_examples_and_parameters_on_devices():
    """Under `jit` the examples, or the parameters, may lie anywhere."""
    mesh = mesh_with(AxisType.Auto, data=4, model=2)
    source = np.random.default_rng(0)
    w, g = source.normal(size=(6, 5)), source.normal(size=(8, 6, 5))
    tx = gx.private(0.9, 0.5, key=0)
    expected = joined(tx, jnp.asarray(g), jnp.asarray(w))
    for spec in (PartitionSpec("data", "model"), PartitionSpec(None, "model"), PartitionSpec("data")):
        lie = lambda x, spec: jax.device_put(x, NamedSharding(mesh, spec))  # noqa: E731
        u = joined(tx, lie(g, spec), lie(w, PartitionSpec(*spec[1:])))
        np.testing.assert_allclose(u, expected, rtol=1e-12)


def test_inside_of_shard_map_the_norms_are_those_of_whole_examples():
    mesh = mesh_with(AxisType.Auto, data=8)
    g = jnp.asarray(np.random.default_rng(0).normal(size=(5, 16, 3)))
    part, of_examples = PartitionSpec("data"), PartitionSpec(None, "data")

    def in_parts(tx):
        @functools.partial(jax.shard_map, mesh=mesh, in_specs=(of_examples, part), out_specs=part)
        def first(g, w):
            return tx.update(g, tx.init(w), w)[0]

        return jax.jit(first)(g, g[0])

    for tx in (gx.per_example_clip(2.0), gx.per_example_clip_by_layer(2.0), gx.private(2.0, 0.0, key=0)):
        np.testing.assert_allclose(in_parts(gx.across(tx, "data")), joined(tx, g, g[0]), rtol=1e-12)
        with refused(ValueError, "it reduces over an array that differs along data; across(tx, axes)"):
            in_parts(tx)
    with refused(
        ValueError,
        "an array is in parts along data; a bound by sizes needs those of whole arrays: leave by_size out, or use jit",
    ):
        in_parts(gx.across(gx.per_example_clip_by_layer(2.0, by_size=True), "data"))
    u = in_parts(gx.across(gx.private(2.0, 5.0, key=0), "data"))
    noise = np.asarray(u - joined(gx.private(2.0, 0.0, key=0), g, g[0])).reshape(8, 6)  # a row for each device
    assert len(np.unique(noise.round(9))) == noise.size
