"""What holds of all rules of a low rank: batches, stacks, views, odd shapes, ranks, keys, bytes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import gradtx as gx
from gradtx.matrices import apollo
from gradtx.values.value import text_of
from tests.matrices.low_rank import GRADS, START, outputs, outputs_and_state, outputs_of_all
from tests.refusals import refused

pytestmark = pytest.mark.slow  # what is computed does not turn on versions


def rules(rank):
    return [
        gx.scale_by_dion(rank),
        gx.in_subspace(gx.scale_by_adam(), rank, every=3),
        gx.scale_by_apollo(rank, every=3),
    ]


each_rule = pytest.mark.parametrize("tx", rules(2), ids=text_of)
each_optimizer = pytest.mark.parametrize("factory", [gx.dion, gx.galore, gx.apollo], ids=lambda f: f.__name__)


def assert_close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


@each_rule
def test_a_stack_is_its_matrices_and_a_complex_matrix_its_parts(tx):
    out = outputs_of_all(tx)
    for i, name in enumerate(("wide", "other")):
        assert_close(out["stack"][:, i], out[name])
    assert_close(out["complex"], out["wide"] + 1j * out["other"])


@each_rule
def test_a_matrix_among_others_is_as_one_alone_and_shown_by_a_view(tx):
    viewed = gx.over(gx.matrices(reduce=(0, 2), output=1), tx)
    alone = outputs(viewed, GRADS["wide"].transpose(0, 2, 1)[:, None], np.zeros((1, 5, 3)))
    assert_close(alone[:, 0], outputs_of_all(tx)["wide"].transpose(0, 2, 1))


@each_rule
def test_one_matrix_with_nan_leaves_the_others_as_they_are(tx):
    grads = {name: np.array(x) for name, x in GRADS.items()}
    grads["other"][1] = np.nan
    out = outputs(tx, grads, START)
    assert_close(out["wide"], outputs_of_all(tx)["wide"])
    assert np.isnan(out["other"][1]).all()


@each_rule
def test_odd_shapes_and_zeros(tx):
    params = [jnp.ones(shape) for shape in ((1, 4), (4, 1), (0, 3), (2, 3, 0), (0, 3, 2))]
    ways = np.array([0.0, 1.0, 0.0, -1.0])
    grads = [ways.reshape(-1, *[1] * p.ndim) * np.ones(p.shape) for p in params]
    out, state = outputs_and_state(tx, grads, params)
    assert [u.shape[1:] for u in out] == [p.shape for p in params]
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves((state, out)))
    assert np.all(np.abs(out[0][1]).max() > 1e-3)  # zeros ahead do not stop it


@pytest.mark.parametrize(("tx", "largest"), list(zip(rules(100), rules(3), strict=True)), ids=text_of)
def test_a_rank_beyond_the_size_is_the_size(tx, largest):
    g = jax.random.normal(jax.random.key(0), (3, 4))
    ours, theirs = ([rule.init(g), *jax.jit(rule.update)(g, rule.init(g))] for rule in (tx, largest))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@each_rule
def test_the_gradient_is_finite_where_singular_values_are_equal_or_zero(tx):
    def size(g):
        u, state = tx.update(g, tx.init(g))
        return jnp.sum(tx.update(g, state)[0] ** 2) + jnp.sum(u**2)

    slopes = jax.jit(jax.grad(size))(jnp.stack([jnp.eye(3, 4), jnp.zeros((3, 4)), jnp.ones((3, 4))]))
    assert np.all(np.isfinite(slopes))


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
@each_rule
def test_the_state_lies_along_the_side_that_it_shares_with_its_parameter(tx, kind):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(kind,))
    end = (None,) * (kind is AxisType.Explicit)  # each as JAX writes it
    specs = {(16, 4): ("data", *end), (4, 16): (None, "data"), (3, 16, 4): (None, "data", *end)}
    with jax.set_mesh(mesh):
        step: Any = jax.jit(lambda g, state: tx.update(g, state)[1], donate_argnums=1)
        params = [
            jax.device_put(jnp.ones(shape), NamedSharding(mesh, PartitionSpec(*spec))) for shape, spec in specs.items()
        ]
        state = tx.init(params)
        layouts = [x.sharding for x in jax.tree.leaves(state)]
        along = [
            x.sharding.spec[x.shape.index(16)] for x in jax.tree.leaves(state) if 16 in x.shape and x.shape != (16, 16)
        ]
        assert along == ["data"] * len(along)
        assert len(along) > 2
        for _ in range(3):
            state = step(params, state)
        for x, before in zip(jax.tree.leaves(state), layouts, strict=True):
            assert x.sharding.is_equivalent_to(before, x.ndim)
        assert step._cache_size() == 1


# ---- bytes ----


@pytest.mark.parametrize(
    ("tx", "arrays"),  # of float32 per matrix of n by m
    [
        (gx.dion(0.1, 4), lambda n, m: n * m + 4 * n),
        (gx.galore(0.1, 4), lambda n, m: 2 * 4 * max(n, m) + 4 * min(n, m)),
        (gx.apollo(0.1, 4), lambda n, m: 2 * 4 * max(n, m) + 1),
        (gx.apollo(0.1, 1, channel=False), lambda n, m: 2 * max(n, m) + 1),
        (gx.in_subspace(gx.scale_by_adam(), 4, longer=True), lambda n, m: 2 * 4 * min(n, m) + 4 * max(n, m)),
    ],
    ids=text_of,
)
@pytest.mark.parametrize("shape", [(64, 256), (256, 64), (64, 64)])
def test_bytes_of_the_state(tx, arrays, shape):
    state = jax.eval_shape(tx.init, jax.ShapeDtypeStruct(shape, jnp.float32))
    floats = [x for x in jax.tree.leaves(state) if x.dtype == jnp.float32]
    assert sum(x.size for x in floats) - arrays(*shape) in (0, 1)  # the learning rate
    assert sum(x.size for x in jax.tree.leaves(state)) - arrays(*shape) <= 8  # counts, and the rates


# ---- keys ----


@pytest.mark.parametrize(
    "draw",
    [
        lambda key: gx.scale_by_dion(2, key=key).init(jnp.zeros((3, 4))).basis,
        lambda key: apollo.draw_projection(key, jnp.int32(1), 3, 2, jnp.dtype(float)),
    ],
    ids=["dion", "apollo"],
)
def test_a_seed_is_a_key_and_another_one_is_another_start(draw):
    for same in (jax.random.key(5), jax.random.PRNGKey(5)):
        np.testing.assert_array_equal(draw(5), draw(same))
    assert np.abs(draw(5) - draw(6)).min() > 1e-6


def test_keys_are_values():
    one, same, other = (gx.scale_by_apollo(2, key=jax.random.key(i)) for i in (5, 5, 6))
    assert one == same != other
    g = jnp.arange(12.0).reshape(3, 4)
    u, v = (tx.update(g, tx.init(g))[0] for tx in (one, other))
    assert np.abs(u - v).max() > 1e-6


@pytest.mark.parametrize("factory", [gx.scale_by_dion, gx.scale_by_apollo], ids=lambda f: f.__name__)
@pytest.mark.parametrize("key", [0.5, True, "0", None, jax.random.split(jax.random.key(0)), jnp.zeros(2)])
def test_what_is_no_key_is_refused(factory: Any, key):
    message = f"{factory.__name__}: key must be a whole number or a key such as jax.random.key(0), got"
    with refused(TypeError, message):
        factory(2, key=key)


# ---- bad input ----


@pytest.mark.parametrize(
    "make",
    [gx.scale_by_dion, gx.scale_by_apollo, lambda rank: gx.in_subspace(gx.scale_by_adam(), rank)],
    ids=["scale_by_dion", "scale_by_apollo", "in_subspace"],
)
def test_a_rank_is_a_whole_number(make: Any):
    with refused(ValueError, "rank must be a whole number, at least 1, got 0"):
        make(0)
    with refused(TypeError, "rank must be a whole number, at least 1, got 0.25"):
        make(0.25)
    with refused(TypeError, "rank must be a whole number, at least 1, got True"):
        make(True)


@each_rule
def test_an_array_that_is_no_matrix_is_refused(tx):
    with refused(ValueError, "params['b'] has shape (3,), and a rule for matrices needs two dimensions"):
        tx.init({"w": jnp.ones((2, 3)), "b": jnp.ones(3)})


@each_rule
def test_a_state_of_other_shapes_is_refused(tx):
    with refused(ValueError, "call init with the parameters that are updated"):
        tx.update({"w": jnp.ones((2, 7))}, tx.init({"w": jnp.ones((5, 4))}))


@each_rule
def test_a_state_of_another_rule_is_refused(tx):
    with refused(TypeError, "the state is a ScaleByMomentumState"):
        tx.update(jnp.ones((2, 7)), gx.scale_by_momentum(0.9).init(jnp.ones((2, 7))))


# ---- optimizers ----


@each_optimizer
def test_matrices_are_taken_and_the_rest_goes_to_another(factory):
    tx = factory(0.1, 2, weight_decay=0.5, others=gx.sgd(1.0))
    params = {"w": jnp.ones((3, 4)), "b": jnp.ones(4), "deep": jnp.ones((2, 3, 4)), "frozen": None}
    u, _ = tx.update(params, tx.init(params), params)
    np.testing.assert_array_equal(u["b"], -params["b"])
    np.testing.assert_array_equal(u["deep"], -params["deep"])
    assert np.abs(u["w"] + 1.0).max() > 1e-3


@each_optimizer
def test_the_decay_is_the_rate_times_it_and_nothing_else(factory):
    params = jnp.full((3, 4), 2.0)
    tx = factory(0.1, 2, weight_decay=0.5)
    u, _ = tx.update(jnp.zeros((3, 4)), tx.init(params), params)
    np.testing.assert_allclose(u, -0.1 * 0.5 * params, rtol=1e-12)


@each_optimizer
def test_it_learns_a_matrix(factory):
    target = jax.random.normal(jax.random.key(0), (6, 8))
    tx = factory(gx.linear(0.3, 0.0, 300), 3, weight_decay=0.0)

    def body(carry, _):
        w, state = carry
        u, state = tx.update(w - target, state, w)
        return (gx.apply_updates(w, u), state), jnp.linalg.norm(w - target)

    w = jnp.zeros((6, 8))
    _, sizes = jax.jit(lambda: jax.lax.scan(body, (w, tx.init(w)), length=300))()
    assert sizes[-1] < 0.1 * sizes[0]
