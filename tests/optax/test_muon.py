"""Optax's Muon, whose momentum is corrected term by term: the same path as there, on matrices of any form."""

import jax
import jax.numpy as jnp
import numpy as np
import optax as real
import pytest

import gradtx as gx
import gradtx.optax as optax
from gradtx.core.walk import walk
from tests.printed import GRADS_M, M, after, checksum

pytestmark = pytest.mark.slow

ours, theirs = optax.contrib.muon, real.contrib.muon
numbers_of = real.contrib.MuonDimensionNumbers
SHAPES = dict(wide=(3, 5), tall=(6, 2), also_wide=(3, 5), heads=(4, 2, 3), image=(2, 2, 3, 4), bias=(5,), gain=())
NUMBERS = dict(
    wide=numbers_of(),
    tall=numbers_of(1, 0),
    also_wide=None,
    heads=numbers_of(0, -1),
    image=numbers_of((0, 1, 2), (3,)),
    bias=None,
    gain=None,
)
STEPS = 25


def trees(seed, count):
    random = np.random.default_rng(seed)
    return [{name: random.normal(size=shape) for name, shape in SHAPES.items()} for _ in range(count)]


(START,), GRADS = trees(0, 1), trees(1, STEPS)


def run(tx):
    @jax.jit
    def step(params, state, g):
        updates, state = tx.update(g, state, params)
        return real.apply_updates(params, updates), state

    params, state, path = START, tx.init(START), []
    for g in GRADS:
        params, state = step(params, state, g)
        path.append(params)
    return jax.tree.map(lambda *x: np.stack(x), *path), state


@pytest.mark.parametrize(
    "options",
    [
        dict(),
        dict(nesterov=False, beta=0.8, eps=1e-3),
        dict(muon_weight_dimension_numbers=NUMBERS),
        dict(muon_weight_dimension_numbers=NUMBERS, adaptive=True, weight_decay=0.1, adam_weight_decay=0.1),
        dict(muon_weight_dimension_numbers=NUMBERS, consistent_rms=0.2, ns_coeffs="dion"),
        dict(muon_weight_dimension_numbers=NUMBERS, ns_coeffs=np.array([2.0, -1.5, 0.5]), ns_steps=3),
    ],
    ids=[str(i) for i in range(6)],
)
def test_the_same_path(options):
    (path, state), (expected, their_state) = run(ours(0.05, **options)), run(theirs(0.05, **options))
    assert all(isinstance(node.tx, gx.Transformation) for node in walk(ours(0.05, **options)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9), path, expected)
    assert jax.tree.structure(state) == jax.tree.structure(their_state)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9), state, their_state)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (dict(), 5.2472301101),
        (dict(consistent_rms=0.2), 7.0421097756),
        (dict(adaptive=True), 5.7824201313),
        (dict(weight_decay=0.1), 5.0402274317),
        (dict(nesterov=False), 5.6555861134),
        (dict(preconditioning="aol"), 5.4608648386),  # Optax's own
    ],
    ids=str,
)
def test_golden(options, expected):
    np.testing.assert_allclose(checksum(after(ours(0.1, **options), M, GRADS_M)), expected, rtol=1e-10)


def test_a_saved_state_of_optax_goes_on():
    g, params = GRADS[0], START
    state = theirs(0.05).init(params)
    _, state = theirs(0.05).update(g, state, params)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9),
        ours(0.05).update(g, state, params)[0],
        theirs(0.05).update(g, state, params)[0],
    )


def test_its_numbers_are_leaves():
    tx = ours(0.05, consistent_rms=0.2)
    rates = jnp.array([0.05, 0.1])
    swept = jax.vmap(lambda rate: tx.replace(learning_rate=rate).update(START, tx.init(START), START)[0]["wide"])(rates)
    np.testing.assert_allclose(swept[1], 2 * swept[0], rtol=1e-9)
    assert tx == ours(0.05, consistent_rms=0.2)
    assert hash(ours(0.05, muon_weight_dimension_numbers=NUMBERS)) is not None


def test_a_narrow_moment_is_a_codec():
    tx = ours(0.05, mu_dtype=jnp.bfloat16)
    assert all(isinstance(node.tx, gx.Transformation) for node in walk(tx))
    _, state = run(tx)
    _, wide = run(ours(0.05))
    mu, expected = (s.inner_states["muon"].inner_state[0].mu["wide"] for s in (state, wide))
    assert mu.dtype == jnp.bfloat16
    np.testing.assert_allclose(mu.astype(float), expected, rtol=0.05, atol=0.02)


@pytest.mark.parametrize(
    "options",
    [
        dict(preconditioning="schatten"),
        dict(mu_dtype=jnp.float8_e4m3fn),
        dict(ns_coeffs=((2.0, -1.5, 0.5),) * 6),  # more than steps, which Optax refuses at init
        dict(ns_coeffs="unknown"),
    ],
    ids=str,
)
def test_what_gradtx_lacks_is_optaxs(options):
    if options.get("ns_coeffs") == "unknown":
        with pytest.raises(ValueError, match="Unknown ns_coeff preset string: unknown"):
            ours(0.1, **options)
        return
    assert any(not isinstance(node.tx, gx.Transformation) for node in walk(ours(0.1, **options)))
    if "ns_coeffs" in options:
        with pytest.raises(ValueError, match="Not enough coeffs"):
            ours(0.1, **options).init(START)
