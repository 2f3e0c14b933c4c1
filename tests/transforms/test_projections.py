"""Parameters that end in a set: Optax's projections, to the bit, in all dtypes, and what is refused."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx
from tests.refusals import refused

pytestmark = pytest.mark.slow  # what is projected does not turn on versions

untyped: Any = gx
RANDOM = np.random.default_rng(3)
TREE = {"w": RANDOM.normal(size=(4, 3)), "b": RANDOM.normal(size=5), "off": None}
STEP = {"w": RANDOM.normal(size=(4, 3)), "b": RANDOM.normal(size=5), "off": None}
ENDS = jax.tree.map(np.add, TREE, STEP)
PROJECTIONS = {
    "nonnegative": (optax.projections.projection_non_negative, False),
    "boxes": (lambda x: optax.projections.projection_box(x, -0.5, 0.5), True),
    "ball": (functools.partial(optax.projections.projection_l2_ball, scale=1.0), False),
    "simplex": (optax.projections.projection_simplex, False),
    "simplices": (optax.projections.projection_simplex, True),
}


def ended(tx, u, w, apply: Any = gx.apply_updates):
    return apply(w, jax.jit(tx.update)(u, tx.init(w), w)[0])


@pytest.mark.parametrize(("projection", "each"), PROJECTIONS.values(), ids=PROJECTIONS.keys())
def test_parameters_end_at_their_projection(projection, each):
    tx, (w, u) = gx.project(projection, each_array=each), (jax.tree.map(jnp.asarray, x) for x in (TREE, STEP))
    expected = jax.tree.map(projection, ENDS) if each else projection(ENDS)
    for apply in (gx.apply_updates, optax.apply_updates):
        found = ended(tx, u, w, apply)
        assert found["off"] is None
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-14, atol=1e-16), found, expected)
        assert not np.allclose(found["w"], ENDS["w"])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize(("low", "high"), [(-0.3, 0.3), (0.0, np.inf)])
def test_they_end_there_as_exactly_as_a_sum_can(dtype, low, high):
    """From near and from far; to the bit for zeros and for 16 bits."""
    w = jnp.asarray(RANDOM.normal(size=20_000) * 10.0 ** RANDOM.uniform(-4, 1, size=20_000), dtype)
    u = jnp.asarray(RANDOM.normal(size=20_000), dtype)
    found = ended(gx.project(lambda x: jnp.clip(x, low, high)), u, w)
    wide = w.astype(jnp.float32)
    expected = np.asarray(jnp.clip(wide + u.astype(jnp.float32), low, high).astype(dtype))
    assert found.dtype == dtype
    exact = (expected == 0) | (dtype != jnp.float32)
    np.testing.assert_array_equal(found[exact], expected[exact])
    largest = np.max(np.abs([wide, expected - wide, expected]), axis=0)
    assert (np.abs(found - expected)[~exact] <= np.spacing(largest[~exact])).all()
    assert 0.1 < np.mean((found == jnp.asarray(low, dtype)) | (found == jnp.asarray(high, dtype))) < 0.9


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_nonnegative_to_the_bit_and_as_optax(dtype):
    w, u = (jnp.asarray(RANDOM.normal(size=1000), dtype) for _ in range(2))
    theirs = optax.keep_params_nonnegative()
    found = ended(gx.keep_nonnegative(), u, w)
    np.testing.assert_array_equal(found, optax.apply_updates(w, theirs.update(u, theirs.init(w), w)[0]))
    assert (found >= 0).all()
    assert jnp.mean(found == 0) > 0.3


def test_the_derivative_is_that_of_the_projection():
    tx = gx.project(lambda x: jnp.clip(x, -1.0, 1.0))
    w, u = jnp.zeros(3), jnp.array([0.5, 2.0, -2.0])
    slope = jax.grad(lambda u: jnp.sum(tx.update(u, tx.init(w), w)[0]))(u)
    np.testing.assert_array_equal(slope, [1.0, 0.0, 0.0])


def test_a_projection_of_some_arrays_leaves_the_others():
    w, u = (jax.tree.map(jnp.asarray, x) for x in (TREE, STEP))
    tx = gx.masked(gx.project(functools.partial(optax.projections.projection_l2_ball, scale=1.0)), gx.by_path("w"))
    found = ended(tx, u, w)
    np.testing.assert_allclose(jnp.linalg.norm(found["w"]), 1.0, rtol=1e-15)
    np.testing.assert_allclose(found["b"], ENDS["b"], rtol=1e-15)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: untyped.project(1.0), TypeError,
         "project: projection must be a function of a tree of arrays, got float 1.0"),
        (lambda: untyped.project(lambda x, y: x), TypeError,
         "project: projection must be a function of a tree of arrays, got <lambda>(x, y)"),
        (lambda: untyped.project(1.0, each_array=True), TypeError,
         "project: projection must be a function of an array, got float 1.0"),
        (lambda: run(gx.project(lambda x: x), None), ValueError, "project: update needs the parameters"),
        (lambda: run(gx.keep_nonnegative(), None), ValueError, "keep_nonnegative: update needs the parameters"),
        (lambda: run(gx.project(lambda x: x["w"])), ValueError,
         "project: the tree of params is of type dict, in what the projection returned it is"),
        (lambda: run(gx.project(lambda x: {"w": x["w"][0]})), ValueError,
         "project: the projection made float64[] of params['w'], which is float64[2]"),
    ],
)  # fmt: skip
def test_what_is_refused(make, error, message):
    with refused(error, message):
        make()


def run(tx, params: Any = "the same"):
    w = {"w": jnp.ones(2)}
    return tx.update(w, tx.init(w), w if params else None)


def test_arrays_in_parts_are_refused():
    mesh = jax.make_mesh((len(jax.devices()),), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    tx, spec = gx.across(gx.project(lambda x: x), "data"), jax.sharding.PartitionSpec("data")
    step = jax.shard_map(lambda w: tx.update(w, tx.init(w), w)[0], mesh=mesh, in_specs=spec, out_specs=spec)
    with refused(ValueError, "a projection may look at all of it: project outside of shard_map"):
        step(jnp.ones(8))
