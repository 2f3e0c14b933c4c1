"""Gradients of examples that are spread over devices: each is clipped where it is, and all of them are summed."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

import gradtx as gx
from gradtx.core.collectives import vary
from tests.devices.placed import COLLECTIVE, mesh_with
from tests.refusals import refused
from tests.transforms.test_examples import joined

pytestmark = pytest.mark.slow

RANDOM = np.random.default_rng(4)
PARAMS = {"w": jnp.asarray(RANDOM.normal(size=(6, 2))), "b": jnp.asarray(RANDOM.normal(size=2))}
EXAMPLES = {"w": jnp.asarray(RANDOM.normal(size=(16, 6, 2))), "b": jnp.asarray(RANDOM.normal(size=(16, 2)))}
WHOLE = {"w": PartitionSpec(), "b": PartitionSpec()}
IN_PARTS = {"w": PartitionSpec("model"), "b": PartitionSpec()}
OF_EXAMPLES = {"w": PartitionSpec("data"), "b": PartitionSpec("data")}
OF_BOTH = {"w": PartitionSpec("data", "model"), "b": PartitionSpec("data")}
CLIPS = [
    gx.per_example_clip(2.0),
    gx.per_example_clip_by_layer(2.0),
    gx.private(2.0, 0.0, key=0),
    gx.private(2.0, 0.0, key=0, batch_size=5.0),
]


def first_step(tx, given, params, updates=None):
    """The first updates and the next state over four devices with examples and two with parts."""
    mesh = mesh_with(AxisType.Auto, data=4, model=2)

    @functools.partial(
        jax.shard_map, mesh=mesh, in_specs=(given, params), out_specs=(updates or params, PartitionSpec())
    )
    def first(g, w):
        return tx.update(g, tx.init(w), w)

    return jax.jit(first)


@pytest.mark.parametrize("tx", CLIPS, ids=repr)
@pytest.mark.parametrize(("given", "params"), [(OF_EXAMPLES, WHOLE), (OF_BOTH, IN_PARTS)], ids=["whole", "in parts"])
def test_the_sum_over_devices_is_that_of_all_examples(tx, given, params):
    u, state = first_step(gx.across(tx, ("data", "model")), given, params)(EXAMPLES, PARAMS)
    expected, after = tx.update(EXAMPLES, tx.init(PARAMS), PARAMS)
    for x, y in zip(*map(jax.tree.leaves, ((u, state), (expected, after))), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-12)


def test_a_bound_by_sizes_is_that_of_whole_arrays_where_only_examples_are_spread():
    tx = gx.per_example_clip_by_layer(2.0, by_size=True)
    u, _ = first_step(gx.across(tx, ("data", "model")), OF_EXAMPLES, WHOLE)(EXAMPLES, PARAMS)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-12), u, joined(tx, EXAMPLES, PARAMS))
    with refused(ValueError, "an array is in parts along model; a bound by sizes needs those of whole arrays"):
        first_step(gx.across(tx, ("data", "model")), OF_BOTH, IN_PARTS)(EXAMPLES, PARAMS)


def test_noise_is_added_once_and_is_that_of_one_device():
    """With the same key on all devices, to the sum: neither four times nor another on each."""
    tx = gx.private(2.0, 5.0, key=3)
    u, _ = first_step(gx.across(tx, ("data", "model")), OF_EXAMPLES, WHOLE)(EXAMPLES, PARAMS)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-12), u, joined(tx, EXAMPLES, PARAMS))


def test_it_sends_the_sums_alone():
    tx = gx.across(gx.per_example_clip(2.0), ("data", "model"))
    text: Any = first_step(tx, OF_EXAMPLES, WHOLE).lower(EXAMPLES, PARAMS).compile().as_text()
    sent = [shape for shape, kind in COLLECTIVE.findall(text)]
    assert sent
    assert not [shape for shape in sent if "[4,6,2]" in shape or "[16," in shape]  # no example leaves its device


def test_gradients_of_a_loss_by_parameters_that_vary_are_each_devices_own():
    """As the docstring says; by parameters that are the same on all devices they are sums over these."""
    x, y = jnp.asarray(RANDOM.normal(size=(16, 6))), jnp.asarray(RANDOM.normal(size=(16, 2)))
    loss = lambda p, x, y: jnp.sum((x @ p["w"] + p["b"] - y) ** 2)  # noqa: E731
    tx = gx.private(2.0, 1.0, key=0)
    mesh = mesh_with(AxisType.Auto, data=8)

    def step(params, x, y, axes=("data",)):
        own = jax.tree.map(lambda p: vary(p, axes), params)  # in any version of JAX what pcast is from 0.9 on
        g = jax.vmap(jax.grad(loss), (None, 0, 0))(own, x, y)
        over = gx.across(tx, "data") if axes else tx
        return over.update(g, over.init(params), params)[0]

    rows = PartitionSpec("data")
    spread = jax.shard_map(step, mesh=mesh, in_specs=(PartitionSpec(), rows, rows), out_specs=PartitionSpec())
    got, expected = jax.jit(spread)(PARAMS, x, y), step(PARAMS, x, y, ())
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), got, expected)


def test_each_device_may_have_a_model_of_its_own():
    tx, spread = gx.private(2.0, 0.0, key=0), {name: PartitionSpec("data") for name in WHOLE}
    u, _ = first_step(gx.across(tx, ()), OF_EXAMPLES, WHOLE, spread)(EXAMPLES, PARAMS)
    for i in range(4):
        own = jax.tree.map(lambda g, i=i: g[4 * i : 4 * i + 4], EXAMPLES)
        expected = joined(tx, own, PARAMS)
        np.testing.assert_allclose(u["w"][6 * i : 6 * i + 6], expected["w"], rtol=1e-12)


def test_what_is_not_said_is_refused():
    tx = gx.per_example_clip(2.0)
    words = "has other examples along data; across(tx, axes) sums over those along these axes, across(tx, ()) over each"
    with refused(ValueError, f"per_example_clip: updates['b'] {words} device's own"):
        first_step(tx, OF_EXAMPLES, WHOLE)(EXAMPLES, PARAMS)
    over, mesh = gx.across(tx, "data"), mesh_with(AxisType.Auto, data=4)
    step = jax.shard_map(
        lambda g: over.update(g, over.init(PARAMS))[0], mesh=mesh, in_specs=(OF_EXAMPLES,), out_specs=OF_EXAMPLES
    )
    with refused(ValueError, "per_example_clip: update needs the parameters: call update(updates, state, params)"):
        step(EXAMPLES)
