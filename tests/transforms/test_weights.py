"""Trust ratios, clipping by the weights, normalized updates and the kinds of weight decay."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx
from tests.printed import fed
from tests.reference import weights as reference
from tests.refusals import refused

pytestmark = pytest.mark.slow  # formulas do not turn on versions

WRONG: Any = 1.5
STEPS = 30
SHAPES = {"number": (), "vector": (5,), "matrix": (4, 3), "heads": (4, 2, 3), "kernel": (2, 3, 4, 5)}
RANDOM = np.random.default_rng(7)


def sequence():
    """Trees of some steps. In some of these an array is zero, in all a tenth of the elements are."""
    tree = {name: RANDOM.normal(size=(STEPS, *shape)) for name, shape in SHAPES.items()}
    tree = {name: x * (RANDOM.uniform(size=x.shape) > 0.1) for name, x in tree.items()}
    for i, x in enumerate(tree.values()):
        x[i::7] = 0.0
        x[3::5] *= 1e-3
    return tree


GRADS, WEIGHTS = sequence(), sequence()


def outputs(tx, grads=GRADS, weights=WEIGHTS):
    """What a block puts out at each step, the parameters being what they are."""

    def body(state, now):
        u, state = tx.update(*now[:1], state, now[1])
        return state, u

    start = jax.tree.map(lambda w: jnp.asarray(w[0]), weights)
    return jax.jit(lambda: jax.lax.scan(body, tx.init(start), jax.tree.map(jnp.asarray, (grads, weights)))[1])()


UNITS = {"number": None, "vector": None, "matrix": (0,), "heads": (0,), "kernel": (0, 1, 2)}
BLOCKS = [
    (gx.trust_ratio(), reference.trust_ratio),
    (gx.trust_ratio(0.1, 0.5, 0.2), lambda g, w: reference.trust_ratio(g, w, 0.1, 0.5, 0.2)),
    (gx.adaptive_grad_clip(0.3, 0.1), lambda g, w: reference.adaptive_clip(g, w, 0.3, 0.1, UNITS_OF[g.shape[1:]])),
    (gx.add_decayed_weights(0.1, cautious=True), lambda g, w: reference.decay(g, w, 0.1, cautious=True)),
    (gx.add_decayed_weights(0.1, toward_start=True), lambda g, w: reference.decay(g, w, 0.1, w[0])),
    (
        gx.add_decayed_weights(0.1, toward_start=True, cautious=True),
        lambda g, w: reference.decay(g, w, 0.1, w[0], cautious=True),
    ),
    (gx.add_decayed_weights(0.1, toward_average=0.8), lambda g, w: reference.decay(g, w, 0.1, w[0], memory=0.8)),
    (
        gx.add_decayed_weights(0.1, toward_average=gx.constant(0.8), cautious=True),
        lambda g, w: reference.decay(g, w, 0.1, w[0], cautious=True, memory=0.8),
    ),
    (gx.squash(), lambda g, w: reference.squashed(g)),
    (gx.squash(0.1, 0.5, 0.3), lambda g, w: reference.squashed(g, 0.1, 0.5, 0.3)),
    (gx.renormalize(0.5), lambda g, w: reference.renormalized(g, w, 0.5)),
]
UNITS_OF = {SHAPES[name]: axes for name, axes in UNITS.items()}


@pytest.mark.parametrize(("tx", "formula"), BLOCKS, ids=[repr(tx) for tx, _ in BLOCKS])
def test_a_block_is_its_formula(tx, formula):
    ours = outputs(tx)
    for name in SHAPES:
        expected = np.stack(list(formula(GRADS[name], WEIGHTS[name])))
        assert not np.allclose(expected, GRADS[name])
        np.testing.assert_allclose(ours[name], expected, rtol=1e-12, atol=1e-15, err_msg=name)


@pytest.mark.parametrize("axis", [None, 0, (0, -1)])
def test_adaptive_clipping_is_that_of_optax(axis):
    tree = {name: x for name, x in GRADS.items() if axis is None or x.ndim > 2}
    own = {name: WEIGHTS[name] for name in tree}
    ours, theirs = (outputs(f(0.3, axis=axis), tree, own) for f in (gx.adaptive_grad_clip, optax.adaptive_grad_clip))
    for name in tree:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-12, atol=1e-15)


def test_adaptive_clipping_takes_complex_arrays_by_their_absolute_values():
    g, w = (RANDOM.normal(size=(4, 3)) + 1j * RANDOM.normal(size=(4, 3)) for _ in range(2))
    tx = gx.adaptive_grad_clip(0.1)
    tree = {"a": jnp.asarray(g), "b": jnp.asarray(g.real), "off": None}
    out, _ = tx.update(tree, tx.init(tree), {"a": jnp.asarray(w), "b": jnp.asarray(w.real), "off": None})
    for name, pair in {"a": (g, w), "b": (g.real, w.real)}.items():
        (expected,) = reference.adaptive_clip([pair[0]], [pair[1]], 0.1, axes=(0,))
        np.testing.assert_allclose(out[name], expected, rtol=1e-12)
    assert out["off"] is None


RATE = gx.scale_by_learning_rate(0.1)
CAUTIOUS = gx.add_decayed_weights(0.1, cautious=True)
PRINTED = [
    (gx.chain(gx.trust_ratio(), gx.sgd(0.1)), (4.8039793016, 4.4520091067), 1e-10),
    (gx.chain(gx.adaptive_grad_clip(0.01), gx.sgd(0.1)), (7.7129636576, 5.9837609033), 1e-10),
    (gx.chain(gx.normalize(), gx.sgd(0.1)), (6.8665904836, 5.7451577289), 1e-10),
    (gx.chain(gx.sgd(10.0), gx.keep_nonnegative()), (20.0, 1.0), 1e-10),
    (gx.chain(gx.scale_by_adam(), CAUTIOUS, RATE), (5.0904136560, 5.2377976630), 1e-10),
    (gx.chain(gx.scale_by_lion(0.9, 0.99), CAUTIOUS, RATE), (5.4374250000, 5.2420000000), 1e-10),
    (
        gx.chain(gx.scale_by_adam(0.9, 0.99, 1e-6), gx.add_decayed_weights(0.01 / 0.2), RATE),
        (5.2902318110, 5.3611300462),
        1e-10,
    ),
]


@pytest.mark.parametrize(("tx", "expected", "rtol"), PRINTED, ids=[repr(tx) for tx, *_ in PRINTED])
def test_numbers_that_peers_printed(tx, expected, rtol):
    np.testing.assert_allclose(fed(tx), expected, rtol=rtol)


# ---- properties ----


def test_squashed_elements_stay_where_small_and_end_where_large():
    tx = gx.squash()
    out, _ = tx.update(jnp.array([1e-6, -1e-6, 0.0, 1e9, -1e9]), optax.EmptyState())
    np.testing.assert_allclose(out, [1e-6, -1e-6, 0.0, 2.0, -2.0], rtol=1e-6)
    free, _ = gx.squash(limit=np.inf).update(jnp.array([1e9]), optax.EmptyState())
    np.testing.assert_allclose(free, 1.5 * (0.9 + 0.1 * np.log(1 + 1e9 / 1.5)), rtol=1e-12)


def test_a_trust_ratio_makes_updates_as_long_as_the_parameters():
    w, u = {"a": jnp.array([3.0, 4.0]), "b": jnp.zeros(2)}, {"a": jnp.array([0.0, 1e-20]), "b": jnp.ones(2)}
    tx = gx.trust_ratio(0.1)
    out, _ = tx.update(u, tx.init(w), w)
    np.testing.assert_allclose(out["a"], [0.0, 0.5], rtol=1e-12)
    np.testing.assert_array_equal(out["b"], u["b"])
    zeros = jax.tree.map(jnp.zeros_like, u)
    jax.tree.map(np.testing.assert_array_equal, tx.update(zeros, tx.init(w), w)[0], zeros)


def test_normalized_zeros_are_zeros_and_have_a_gradient():
    for tx in (gx.normalize(), gx.normalize(0.0)):
        value, slope = jax.value_and_grad(lambda g, tx=tx: jnp.sum(tx.update(g, optax.EmptyState())[0]))(jnp.zeros(3))
        assert value == 0.0
        assert np.isfinite(slope).all()
    tree = {"a": jnp.array([3.0]), "b": jnp.array([[4.0]])}
    out, _ = gx.normalize(5.0).update(tree, optax.EmptyState())
    np.testing.assert_allclose([out["a"][0], out["b"][0, 0]], [0.3, 0.4], rtol=1e-15)


def test_decay_toward_the_start_ends_there():
    start = {"w": jnp.array([1.0, -2.0]), "b": jnp.array([3.0])}
    decay = gx.add_decayed_weights(1.0, gx.by_path("w"), toward_start=True)
    tx = gx.chain(decay, gx.scale_by_learning_rate(0.5))
    state, w = tx.init(start), jax.tree.map(lambda x: x + 1.0, start)
    assert gx.find(state, "start")["b"] is None
    for _ in range(60):
        updates, state = tx.update(jax.tree.map(jnp.zeros_like, w), state, w)
        w = gx.apply_updates(w, updates)
    np.testing.assert_allclose(w["w"], start["w"], rtol=1e-15)
    np.testing.assert_array_equal(w["b"], [4.0])


def test_decay_toward_an_average_holds_back_what_moves_and_lets_rest_what_rests():
    start = {"w": jnp.array([1.0, -2.0]), "b": jnp.array([3.0])}
    decay = gx.add_decayed_weights(1.0, gx.by_path("w"), toward_average=0.9)
    tx = gx.chain(decay, gx.scale_by_learning_rate(0.5))
    state, w = tx.init(start), jax.tree.map(lambda x: x + 1.0, start)
    assert gx.find(state, "average")["b"] is None
    for _ in range(100):
        updates, state = tx.update(jax.tree.map(jnp.zeros_like, w), state, w)
        w = gx.apply_updates(w, updates)
    np.testing.assert_allclose(gx.find(state, "average")["w"], w["w"], rtol=1e-12)  # they have met on the way
    assert bool(jnp.all((start["w"] < w["w"]) & (w["w"] < start["w"] + 1.0)))
    np.testing.assert_array_equal(w["b"], [4.0])
    for limit, share in ((0.0, 0.0), (1.0 - 1e-12, 0.1)):  # the average is the parameters, or stays where it was
        tx = gx.add_decayed_weights(0.1, toward_average=limit)
        out, _ = tx.update(jnp.zeros(2), tx.init(jnp.ones(2)), jnp.full(2, 3.0))
        np.testing.assert_allclose(out, share * 2.0, atol=1e-12)


def test_a_decay_that_follows_the_rate_as_the_docstring_says():
    """By η·λ·w, by η/η_max·λ·w, and by η²/η_max·λ·w."""
    decay, peak, rate = 0.1, 0.5, gx.linear(0.5, 0.1, 4)
    shares = {
        decay: lambda t: rate(t) * decay,
        decay / peak: lambda t: rate(t) / peak * decay,
        rate * (decay / peak): lambda t: rate(t) ** 2 / peak * decay,
    }
    for given, share in shares.items():
        tx = gx.chain(gx.scale_by_adam(), gx.add_decayed_weights(given), gx.scale_by_learning_rate(rate))
        w, state = jnp.array(2.0), tx.init(jnp.array(2.0))
        for t in range(3):
            updates, state = tx.update(jnp.array(0.0), state, w)
            np.testing.assert_allclose(updates, -share(t) * w, rtol=1e-12)
            w = gx.apply_updates(w, updates)


def test_cautious_decay_is_not_against_the_direction():
    g, w = jnp.array([1.0, -1.0, 0.0, 1.0]), jnp.array([2.0, 2.0, 2.0, -2.0])
    out, _ = CAUTIOUS.update(g, optax.EmptyState(), w)
    np.testing.assert_allclose(out - g, [0.2, 0.0, 0.2, 0.0], rtol=1e-12, atol=1e-15)


# ---- refusals ----


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: gx.adaptive_grad_clip(0.1, axis=WRONG), TypeError,
         "adaptive_grad_clip: axis must be an int or a tuple of ints, got 1.5"),
        (lambda: gx.adaptive_grad_clip(0.1, 0.0), ValueError, "adaptive_grad_clip: eps must be in (0, inf), got 0"),
        (lambda: apply(gx.adaptive_grad_clip(0.1, axis=2), jnp.ones((3, 4))), ValueError,
         "adaptive_grad_clip: updates['w'] of shape (3, 4) has no axis 2; give the axes of its inputs, each once"),
        (lambda: apply(gx.adaptive_grad_clip(0.1), jnp.ones(2), params=False), ValueError,
         "adaptive_grad_clip: update needs the parameters"),
        (lambda: apply(gx.trust_ratio(mask=gx.by_path("v")), jnp.ones(2)), ValueError,
         "trust_ratio: mask, by_path(pattern='v'), matches no array of w"),
        (lambda: apply(gx.trust_ratio(), jnp.ones(2), params=False), ValueError,
         "trust_ratio: update needs the parameters"),
        (lambda: apply(gx.renormalize(0.1), jnp.ones(2), params=False), ValueError,
         "renormalize: update needs the parameters"),
        (lambda: apply(gx.add_decayed_weights(0.1, toward_start=True), jnp.ones(2), params=False), ValueError,
         "add_decayed_weights: update needs the parameters"),
        (lambda: apply(gx.masked(gx.normalize(), gx.by_path("w")), jnp.ones(2)), ValueError,
         "normalize: only some arrays of the tree are in sight here; put it ahead of what selects them"),
    ],
)  # fmt: skip
def test_what_is_refused(make, error, message):
    with refused(error, message):
        make()


def apply(tx, x, params=True):
    tree = {"w": x}
    return tx.update(tree, tx.init(tree), tree if params else None)


def test_a_unit_in_parts_is_refused():
    mesh = jax.make_mesh((len(jax.devices()),), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    x, tx = jnp.ones((8, 3)), gx.across(gx.adaptive_grad_clip(0.1), "data")
    spec = jax.sharding.PartitionSpec("data")
    step = functools.partial(jax.shard_map, mesh=mesh, in_specs=(spec, spec), out_specs=spec)
    with refused(ValueError, "a unit's weights may lie on several devices: clip them outside of shard_map"):
        step(lambda g, w: tx.update(g, tx.init(w), w)[0])(x, x)
