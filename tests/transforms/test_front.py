"""What stands in front of an optimizer: the peers' numbers, formulas in NumPy, and what each is made for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx as gx
from tests.printed import fed, golden
from tests.reference import front
from tests.refusals import refused

pytestmark = pytest.mark.slow

SOURCE = np.random.default_rng(0)
INF = float("inf")


def outputs(tx, grads, params=None):
    """What comes out for these gradients, in turn."""
    params = grads[0] if params is None else params
    step = jax.jit(lambda state, g: tx.update(g, state, params)[::-1])
    return np.asarray(jax.lax.scan(step, tx.init(params), jnp.asarray(grads))[1])


# ---- what peers printed ----

PRINTED = {
    "MARS-AdamW": (
        gx.chain(gx.mars(), gx.adamw(0.1, 0.95, 0.99, weight_decay=0.0)),
        (5.7259690669, 5.5105399778),
    ),
    "MARS, signs": (gx.chain(gx.mars(), gx.ema(0.95), gx.sign_sgd(0.1)), (5.05, 5.6)),
    "Grokfast": (gx.chain(gx.grokfast(), gx.sgd(0.1)), (5.956084, 5.431152)),
    "optimistic descent": (gx.optimistic_gradient_descent(0.1), (7.06, 5.7)),
    "optimistic Adam": (gx.optimistic_adam(0.1), (4.8311947711, 5.1583321100)),
    "optimistic Adam, no look": (gx.optimistic_adam(0.1, nesterov=False), (5.0864491867, 5.3743858292)),
    "Optax's centralize": (gx.chain(gx.centralize(axis=0), gx.sgd(0.1)), (7.76, 5.79)),
}


@pytest.mark.parametrize("name", PRINTED)
def test_what_peers_printed(name):
    tx, sums = PRINTED[name]
    np.testing.assert_allclose(fed(tx), sums, rtol=1e-10)


def test_mars_in_front_of_newton_schulz():
    """What stood beside the norm there is not known: with 1e-7 it is 1.6e-6 less."""
    direction = gx.chain(gx.mars(), gx.ema(0.95), gx.orthogonalize(scale=None, eps=0.0))
    np.testing.assert_allclose(golden(direction), 5.3636095870, rtol=2e-9)


# ---- MARS ----


def test_mars_in_numpy():
    grads = SOURCE.normal(size=(40, 3, 2))
    expected = list(front.mars(grads, 0.3, 0.8, 6.0))
    np.testing.assert_allclose(outputs(gx.mars(0.3, 0.8, 6.0), grads), expected, rtol=1e-12)
    assert 5 < sum(float(np.linalg.norm(g)) < 5.99 for g in expected) < 35


def test_mars_of_equal_gradients_is_the_gradient_and_without_gamma_it_is_clipping():
    grads = np.tile(0.1 * SOURCE.normal(size=3), (4, 1))
    np.testing.assert_array_equal(outputs(gx.mars(5.0), grads)[1:], grads[1:])
    grads = SOURCE.normal(size=(4, 3))
    np.testing.assert_allclose(outputs(gx.mars(0.0), grads), outputs(gx.clip_by_norm(1.0), grads), rtol=1e-15)


# ---- Grokfast, optimism ----


def test_grokfast_starts_at_the_first_gradient():
    """An average that starts at zero, side by side with the gradient, is another rule."""
    grads = SOURCE.normal(size=(3, 2))
    out = outputs(gx.grokfast(0.75, gain=3.0), grads)
    h = grads[0]
    for g, u in zip(grads, out, strict=True):
        h = 0.75 * h + 0.25 * g
        np.testing.assert_allclose(u, g + 3.0 * h, rtol=1e-14)
    beside = gx.parallel(gx.identity(), gx.ema(0.75), join=lambda g, h: g + 3.0 * h)
    assert np.abs(outputs(beside, grads)[0] - out[0]).max() > 0.1


def test_optimism_finds_the_equilibrium_that_descent_circles_around():
    """Two players with the losses x·y and -x·y."""

    @jax.jit
    def distance(tx):
        def step(carry, _):
            (x, y), state = carry
            updates, state = tx.update((y, -x), state)
            return (gx.apply_updates((x, y), updates), state), None

        players = jnp.ones(()), jnp.ones(())
        return gx.global_norm(jax.lax.scan(step, (players, tx.init(players)), length=500)[0][0])

    assert distance(gx.optimistic_gradient_descent(0.3)) < 1e-6
    assert distance(gx.sgd(0.3)) > 1e6


# ---- what is taken out ----


def test_what_centralize_takes_the_mean_over():
    kernel = SOURCE.normal(size=(3, 3, 4, 5))
    tree = {"conv": kernel, "complex": kernel[0, 0] + 1j * kernel[1, 1], "bias": np.ones(3), "number": np.ones(())}
    tree = jax.tree.map(jnp.asarray, tree)
    for axis, means in ((-1, (0, 1, 2)), (0, (1, 2, 3))):
        tx = gx.centralize(axis)
        u, _ = tx.update(tree, tx.init(tree))
        np.testing.assert_allclose(u["conv"], kernel - kernel.mean(means, keepdims=True), rtol=1e-12)
        np.testing.assert_allclose(np.mean(u["complex"], axis=means[:1] if axis else 1), 0.0, atol=1e-15)
        assert u["bias"] is not tree["bias"]
        np.testing.assert_array_equal(u["bias"], tree["bias"])
        np.testing.assert_array_equal(u["number"], tree["number"])
    half = (1000.0 + kernel[0, 0]).astype(np.float16)
    u, _ = gx.centralize().update(half, gx.centralize().init(half))
    np.testing.assert_array_equal(u, (half.astype(float) - half.mean(0, float)).astype(np.float16))


def test_an_axis_that_is_none_of_the_outputs():
    message = "centralize: axis must be -1, where outputs come last, or 0, where they come first, got "
    with refused(ValueError, message + "1"):
        gx.centralize(1)
    with refused(TypeError, message + "(0, 1)"):
        gx.centralize((0, 1))  # pyright: ignore[reportArgumentType]
    with refused(TypeError, message + "True"):
        gx.centralize(True)


def test_the_gradient_without_what_lies_along_the_parameter():
    g, w = SOURCE.normal(size=(2, 3, 4))
    (u,) = outputs(gx.orthograd(), g[None], jnp.asarray(w))
    assert abs(np.sum(u * w)) < 1e-14
    np.testing.assert_allclose(np.linalg.norm(u), np.linalg.norm(g), rtol=1e-14)
    along = np.sum(w * g) / np.sum(w * w)
    np.testing.assert_allclose(u / np.linalg.norm(u), (g - along * w) / np.linalg.norm(g - along * w), rtol=1e-12)
    (u,) = outputs(gx.orthograd(0.5), g[None], jnp.asarray(w))
    rest = g - w * np.sum(w * g) / (np.sum(w * w) + 0.5)
    np.testing.assert_allclose(u, rest * np.linalg.norm(g) / (np.linalg.norm(rest) + 0.5), rtol=1e-12)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_a_gradient_along_its_parameter_becomes_zeros_not_what_rounding_left(dtype):
    w = jnp.asarray(SOURCE.normal(size=100), dtype)
    tx = gx.orthograd(0.0)
    for g in (0.3 * w, -7.0 * w, 0.0 * w):
        np.testing.assert_array_equal(tx.update(g, tx.init(w), w)[0], np.zeros(100))
    still = jnp.zeros(3, dtype)
    np.testing.assert_allclose(tx.update(still + 2.0, tx.init(still), still)[0], [2.0, 2.0, 2.0], rtol=1e-6)


def test_what_is_nan_becomes_zero_and_the_state_says_where():
    tree = {
        "w": jnp.array([[jnp.nan, 1.0], [jnp.inf, -2.0]]),
        "b": jnp.array([-jnp.inf, 3.0], jnp.bfloat16),
        "c": jnp.array([complex(jnp.nan, 2.0)]),
        "number": jnp.array(jnp.nan),
    }
    tx = gx.zero_nans()
    u, state = tx.update(tree, tx.init(tree))
    np.testing.assert_array_equal(u["w"], [[0.0, 1.0], [np.inf, -2.0]])
    np.testing.assert_array_equal(u["b"], tree["b"])
    np.testing.assert_array_equal(u["c"], [2.0j])
    np.testing.assert_array_equal(u["number"], 0.0)
    assert jax.tree.map(bool, state.found) == {"w": True, "b": False, "c": True, "number": True}
    assert int(gx.metrics(state)["arrays_with_nan"]) == 3
    u, state = tx.update(jax.tree.map(jnp.ones_like, tree), state)  # of the last update alone
    assert not any(jax.tree.leaves(state.found))

    both = gx.zero_nans(infinities=True)
    u, state = both.update(tree, both.init(tree))
    np.testing.assert_array_equal(u["w"], [[0.0, 1.0], [0.0, -2.0]])
    np.testing.assert_array_equal(u["b"], [0.0, 3.0])
    assert all(jax.tree.leaves(state.found))


# ---- by what norms were before ----

NORMS = np.concatenate([1.0 + 0.1 * SOURCE.normal(size=10), np.exp(SOURCE.normal(size=50))])


def clipped(tx, norms):
    """The norms that come out: those of a tree of two arrays."""
    tree = lambda n: {"w": n * jnp.array([0.6]), "b": n * jnp.array([[0.0, -0.8]])}  # noqa: E731
    step = jax.jit(lambda state, n: tx.update(tree(n), state)[::-1])
    state, u = jax.lax.scan(step, tx.init(tree(1.0)), jnp.asarray(norms))
    return np.sqrt(np.sum(u["w"] ** 2, 1) + np.sum(u["b"] ** 2, (1, 2))), state


@pytest.mark.parametrize("bounds", [(2.5, 0.97, 10, INF), (1.0, 0.8, 3, 2.0)])
def test_zclip_in_numpy(bounds):
    threshold, decay, warmup_steps, max_norm = bounds
    out, _ = clipped(gx.zclip(max_norm, threshold, decay=decay, warmup_steps=warmup_steps), NORMS)
    expected = list(front.zclip(NORMS, threshold, decay, warmup_steps, max_norm))
    np.testing.assert_allclose(out, expected, rtol=1e-10)
    assert np.sum(out < NORMS * (1 - 1e-9)) > 3


def test_zclip_as_its_authors_printed_it():
    tx = gx.zclip(INF, warmup_steps=3)
    out, state = clipped(tx, [1.0, 1.2, 0.9])
    np.testing.assert_allclose((state.mean, state.variance), (1.03333333, 0.01555556), rtol=1e-6)
    out, state = clipped(tx, [1.0, 1.2, 0.9, 5.0])
    np.testing.assert_allclose((out[-1], state.mean, state.variance), (1.05784312, 1.03406863, 0.01510585), rtol=1e-6)
    out, state = clipped(tx, [1.0, 1.2, 0.9, 5.0, 1.1, 1.0])
    np.testing.assert_allclose((state.mean, state.variance), (1.03496518, 0.01436879), rtol=1e-6)


@pytest.mark.parametrize("percentile", [0, 5, 29, 50, 100])
def test_percentile_clip_in_numpy(percentile):
    out, state = clipped(gx.percentile_clip(percentile, window=20), NORMS)
    np.testing.assert_allclose(out, list(front.percentile_clip(NORMS, percentile, 20)), rtol=1e-12)
    np.testing.assert_allclose(np.sort(state.norms), np.sort(NORMS[-20:]), rtol=1e-12)


def test_adagc_in_numpy():
    norms = np.exp(SOURCE.normal(size=(60, 2)))
    tx = gx.adagc(1.2, decay=0.9, max_norm=0.8, warmup_steps=5)
    tree = lambda n: {"a": n[0] * jnp.array([0.6, 0.8]), "b": n[1] * jnp.array([[1.0]])}  # noqa: E731
    step = jax.jit(lambda state, n: tx.update(tree(n), state)[::-1])
    _, u = jax.lax.scan(step, tx.init(tree([1.0, 1.0])), jnp.asarray(norms))
    out = np.stack([np.linalg.norm(u["a"], axis=1), np.abs(u["b"][:, 0, 0])], axis=1)
    np.testing.assert_allclose(out, list(front.adagc(norms, 1.2, 0.9, 0.8, 5)), rtol=1e-12)


def test_adagc_lets_an_array_move_whose_first_gradients_are_zeros():
    """In the paper its average stays zero, and so does it."""
    tx = gx.adagc(2.0, decay=0.5, max_norm=INF, warmup_steps=2)
    out = np.abs(outputs(tx, np.array([[0.0], [0.0], [0.0], [3.0], [9.0], [0.0], [9.0]])))
    np.testing.assert_allclose(out[:, 0], [0.0, 0.0, 0.0, 3.0, 6.0, 0.0, 4.5])
    zero_later = np.abs(outputs(tx, np.array([[1.0], [0.0], [5.0]])))
    np.testing.assert_allclose(zero_later[:, 0], [1.0, 0.0, 2.0])


@pytest.mark.parametrize(
    "tx", [gx.zclip(warmup_steps=2), gx.percentile_clip(50, window=3), gx.adagc(warmup_steps=2)], ids=repr
)
def test_a_norm_that_is_not_finite_is_not_remembered(tx):
    grads = np.array([[1.0], [2.0], [1.5], [1.0]])
    spoilt = np.insert(grads, 2, np.nan, axis=0)
    state, other = tx.init(grads[0]), tx.init(grads[0])
    for g in grads:
        u, state = tx.update(g, state)
    for g in spoilt:
        v, other = tx.update(g, other)
    np.testing.assert_array_equal(u, v)
    if "count" in state._fields and not isinstance(state, gx.AdagcState):
        assert int(state.count) == int(other.count) == 4
    found = {name: x for name, x in other._asdict().items() if name not in ("last", "count")}
    for name, x in found.items():
        np.testing.assert_array_equal(x, getattr(state, name))


def test_what_they_did_is_measured():
    for tx in (gx.zclip(2.0), gx.percentile_clip()):
        _, state = clipped(tx, [1.0, 4.0])
        found = gx.metrics(state)
        limit = 2.0 if isinstance(state, gx.ZclipState) else 1.0
        expected = dict(norm=4.0, clipped_norm=limit, clipped=True)
        np.testing.assert_allclose([found[name] for name in expected], list(expected.values()), rtol=1e-6)


def test_a_window_that_is_none():
    with refused(ValueError, "percentile_clip: window must be a whole number, at least 1, got 0"):
        gx.percentile_clip(window=0)
    with refused(TypeError, "percentile_clip: window must be a whole number, at least 1, got 2.5"):
        gx.percentile_clip(window=2.5)  # pyright: ignore[reportArgumentType]
