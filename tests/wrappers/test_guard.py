"""Guards: what is skipped, that nothing of it is left, how it is counted, and what is refused."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gradtx as gx
from gradtx.core import transformation
from tests.counted import counted
from tests.reference import guard
from tests.refusals import refused

compiled_update: Any = transformation.compiled_update
G = jax.random.normal(jax.random.key(0), (8, 3))
W = jnp.ones(3)


@jax.jit
def walked(tx, gradients, params, values=None):
    """The updates and the states over gradients, the parameters moving along."""

    def body(carry, row):
        params, state = carry
        g, given = row
        u, state = tx.update(g, state, params, **given)
        return (gx.apply_updates(params, u), state), (u, state)

    given = {} if values is None else {"value": values}
    return jax.lax.scan(body, (params, tx.init(params)), (gradients, given))[1]


def last(states):
    return jax.tree.map(lambda x: x[-1], states)


# ---- what is not finite ----

WRAPPED = {
    "a chain": gx.chain(gx.clip_by_global_norm(1.0), gx.adamw(0.1)),
    "with a schedule": gx.nadam(gx.linear(0.1, 0.0, 8), b1=gx.constant(0.8)),
    "an average": gx.chain(gx.sgd(0.1, momentum=0.9), gx.average_parameters()),
    "L-BFGS": gx.scale_by_lbfgs(3),
    "Optax": optax.adamw(0.1),
    "a random key": optax.noisy_sgd(0.1, key=0),
    "a window": gx.accumulate(gx.adam(0.1), 2),
    "a turn": gx.every(gx.ema(0.9), 2),
    "a guard": gx.skip_spikes(gx.skip_nonfinite(gx.adam(0.1))),
    "a group": gx.partition((gx.by_path("w"), gx.adam(0.1)), default=gx.chain(optax.trace(0.9), gx.scale(-0.1))),
}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("tx", WRAPPED.values(), ids=WRAPPED)
@pytest.mark.parametrize("guarded", [gx.skip_nonfinite, gx.skip_spikes])
def test_a_skipped_step_leaves_everything_as_it_was(guarded, tx, bad):
    """Bit for bit: the same steps follow as if it had not been."""
    params, gradients = {"w": W, "b": W}, {"w": G, "b": G + 1.0}
    good = jnp.array([0, 1, 2, 4, 5, 7])
    faulty = gradients | {"b": gradients["b"].at[jnp.array([3, 6]), 1].set(bad)}
    updates, states = walked(guarded(tx), faulty, params)
    expected, without = walked(guarded(tx), jax.tree.map(lambda x: x[good], gradients), params)
    chex.assert_trees_all_equal(jax.tree.map(lambda x: x[good], updates), expected)
    chex.assert_trees_all_equal(last(states).inner_state, last(without).inner_state)
    np.testing.assert_array_equal(updates["w"][3], jnp.zeros(3))
    assert states.skipped.tolist() == [False, False, False, True, False, False, True, False]
    assert states.total.tolist() == [0, 0, 0, 1, 1, 1, 2, 2]
    assert states.in_a_row.tolist() == [0, 0, 0, 1, 0, 0, 1, 0]


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64, jnp.complex64])
def test_large_is_not_infinite(dtype):
    """Numbers whose squares and whose sum overflow are finite."""
    largest = float(jnp.finfo(dtype).max)
    tx = gx.skip_nonfinite(gx.identity())
    step = jax.jit(tx.update)
    for value, skipped in [(largest, False), (np.inf, True), (np.nan, True), (-largest, False)]:
        g = {"many": jnp.full(1000, largest, dtype), "one": jnp.array(value, dtype), "none": jnp.zeros((0, 2), dtype)}
        _, state = step(g, tx.init(g))
        assert bool(state.skipped) is skipped, value
    if dtype == jnp.complex64:
        _, state = step(g | {"one": jnp.array(complex(0.0, np.nan), dtype)}, tx.init(g))
        assert state.skipped


def test_equals_apply_if_finite_up_to_the_limit():
    faulty = G.at[jnp.array([1, 4, 5]), 0].set(jnp.nan)
    peer: Any = optax.apply_if_finite(optax.adamw(0.1), 3)
    state, w, path, step = peer.init(W), W, [], jax.jit(peer.update)
    for g in faulty:
        u, state = step(g, state, w)
        w = w + u
        path.append(u)
    updates, states = walked(gx.skip_nonfinite(gx.adamw(0.1), 3), faulty, W)
    np.testing.assert_allclose(updates, np.stack(path), rtol=1e-12)
    assert last(states).total == state.total_notfinite == 3


def test_the_limit_is_said_for_good_and_nothing_gets_through():
    faulty = G.at[1:5].set(jnp.nan)
    updates, states = walked(gx.skip_nonfinite(gx.sgd(0.1), limit=2), faulty, W)
    assert states.in_a_row.tolist() == [0, 1, 2, 3, 4, 0, 0, 0]
    assert states.exceeded.tolist() == [False] * 3 + [True] * 5
    np.testing.assert_array_equal(updates[1:5], 0.0)
    np.testing.assert_allclose(updates[5:], -0.1 * G[5:])
    none: Any = gx.skip_nonfinite(gx.sgd(0.1), limit=0)
    assert walked(none, faulty, W)[1].exceeded.tolist() == [False] + [True] * 7
    assert gx.metrics(last(states)).keys() > {"skipped", "skipped_total", "skipped_in_a_row", "skip_limit_exceeded"}


@pytest.mark.parametrize("around", [lambda tx: tx, lambda tx: gx.accumulate(tx, 2)], ids=["a step", "a window"])
def test_the_gradient_through_a_skipped_step_is_finite(around):
    def end(rate, g):
        tx = gx.skip_nonfinite(around(gx.chain(gx.clip_by_global_norm(1.0), gx.adam(rate))))
        w, state = W, tx.init(W)
        for row in (G[0], g, G[1]):
            u, state = tx.update(row, state, w)
            w = w + u
        return jnp.sum(w**2)

    by_rate, by_g = jax.jit(jax.grad(end, argnums=(0, 1)))(0.1, jnp.array([1.0, jnp.nan, 2.0]))
    assert np.isfinite(by_rate)
    assert by_rate != 0.0
    np.testing.assert_array_equal(by_g, 0.0)


def test_what_runs_loops_is_not_run():
    noted, runs = counted(lambda updates: jax.lax.fori_loop(0, 3, lambda i, u: 0.5 * u, updates))
    walked(gx.skip_nonfinite(noted), G.at[2].set(jnp.nan), W)
    jax.effects_barrier()
    assert len(runs) == 7


def test_eager_it_is_one_compiled_call():
    compiled_update.clear_cache()  # JAX keeps so many programs in all, and lets go of the oldest
    tx = gx.skip_spikes(gx.skip_nonfinite(gx.adam(0.1)))
    state, before = tx.init(W), compiled_update._cache_size()
    for other in (tx, tx.replace(threshold=3.0), tx.replace(learning_rate=0.2)):
        _, state = other.update(G[0], state, W)
    assert compiled_update._cache_size() == before + 1


# ---- spikes ----

measurements = st.lists(st.floats(0.5, 2.0) | st.sampled_from([50.0, np.nan, np.inf]), min_size=30, max_size=30)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(measurements, st.floats(0.5, 4.0), st.just(0.0) | st.floats(0.01, 0.999), st.integers(1, 12))
def test_spikes_are_those_of_the_reference(values, threshold, decay, warmup_steps):
    tx = gx.skip_spikes(gx.identity(), threshold, decay=decay, warmup_steps=warmup_steps, loss=True)
    _, states = walked(tx, jnp.ones((30, 3)), W, jnp.array(values))
    # The same decisions, one by one, for rounding may decide a close one otherwise.
    for i, (skipped, mean, sigma) in enumerate(guard.spikes(values, threshold, decay, warmup_steps)):
        close = np.isfinite(values[i]) and abs(values[i] - mean - threshold * sigma) < 1e-6
        if close:
            return
        assert bool(states.skipped[i]) is bool(skipped), i
        if i and np.isfinite(sigma) and sigma > 1e-6:
            np.testing.assert_allclose(states.mean[i - 1], mean, rtol=1e-9)


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.999])
def test_the_deviation_has_no_bias_from_the_first_steps_on(decay):
    """Over many runs the mean of the estimated variances is the variance, after two steps as after twenty."""
    x = 5.0 + jax.random.normal(jax.random.key(1), (4000, 20))
    tx = gx.skip_spikes(gx.identity(), 1e6, decay=decay, loss=True)
    states = jax.vmap(lambda row: walked(tx, jnp.ones((20, 1)), jnp.ones(1), row)[1])(x)
    variance = jax.vmap(jax.vmap(lambda state: state.metrics["spike_deviation"] ** 2))(states)
    np.testing.assert_allclose(variance[:, [1, 4, 19]].mean(axis=0), 1.0, atol=0.1)
    np.testing.assert_allclose(states.mean.mean(axis=0), 5.0, atol=0.1)


def test_the_norm_is_that_of_what_comes_in():
    tx = gx.skip_spikes(gx.sgd(0.1), 3.0, warmup_steps=3)
    gradients = {"w": G.at[5].multiply(100.0), "b": G}
    updates, states = walked(tx, gradients, {"w": W, "b": W})
    norms = np.sqrt(np.sum(gradients["w"] ** 2 + gradients["b"] ** 2, axis=1))
    np.testing.assert_allclose(states.measured, norms, rtol=1e-6)
    assert states.skipped.tolist() == [False] * 5 + [True] + [False] * 2
    np.testing.assert_array_equal(updates["b"][5], 0.0)
    assert states.accepted.tolist() == [1, 2, 3, 4, 5, 5, 6, 7]
    numbers = gx.metrics(last(states))
    np.testing.assert_allclose(
        numbers["spike_mean"], np.average(np.delete(norms, 5), weights=0.99 ** np.arange(7)[::-1])
    )


def test_the_loss_is_measured_and_the_gradients_must_be_finite():
    tx = gx.skip_spikes(gx.sgd(0.1), warmup_steps=3, loss=True)
    values = jnp.array([1.0, 1.1, 0.9, 1.0, 30.0, 1.0, jnp.nan, 1.0])
    updates, states = walked(tx, (1e6 * G).at[0].set(0.0).at[7, 2].set(jnp.inf), W, values)
    assert states.skipped.tolist() == [False] * 4 + [True, False, True, True]
    np.testing.assert_array_equal(updates[7], 0.0)
    assert last(states).accepted == 5
    inner: Any = gx.skip_spikes(gx.reduce_on_plateau(), loss=True)  # it sees the value too
    _, state = inner.update(G[0], inner.init(W), value=2.0)
    assert state.inner_state.best_value == 2.0


def test_equal_measurements_are_no_spikes():
    """Without a spread, what rounding makes of equal numbers is none."""
    noise = 1.0 + jnp.finfo(jnp.float32).eps * jnp.array([0, 0, 0, 1, 0, -1, 1, 1, 0, 0], jnp.float32)
    tx = gx.skip_spikes(gx.identity(), warmup_steps=2)
    _, states = walked(tx, noise[:, None] * jnp.ones((10, 1), jnp.float32), jnp.ones(1, jnp.float32))
    assert not states.skipped.any()


def test_a_level_that_rises_for_good_exceeds_the_limit():
    values = jnp.array([1.0, 1.1, 0.9, *[9.0] * 5])
    _, states = walked(gx.skip_spikes(gx.identity(), warmup_steps=2, limit=3, loss=True), G, W, values)
    assert states.exceeded.tolist() == [False] * 6 + [True] * 2


# ---- refusals ----

anything: Any = gx


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (
            lambda: anything.skip_nonfinite(len),
            TypeError,
            "skip_nonfinite: tx must be a transformation, got a function",
        ),
        (
            lambda: anything.skip_nonfinite(gx.sgd(0.1), limit=-1),
            ValueError,
            "skip_nonfinite: limit must be a whole nu",
        ),
        (lambda: anything.skip_spikes(None), TypeError, "skip_spikes: tx must be a transformation, got NoneType None"),
        (lambda: gx.skip_spikes(gx.sgd(0.1), 0.0), ValueError, "skip_spikes: threshold must be in (0, inf], got 0"),
        (lambda: gx.skip_spikes(gx.sgd(0.1), decay=1.0), ValueError, "skip_spikes: decay must be in [0, 1), got 1"),
        (lambda: gx.skip_spikes(gx.sgd(0.1), warmup_steps=-1), ValueError, "skip_spikes: warmup_steps must be a whole"),
        (lambda: gx.skip_spikes(gx.sgd(0.1), limit=0.5), ValueError, "skip_spikes: limit must be a whole number in"),
        (
            lambda: anything.skip_spikes(gx.sgd(0.1), loss=1),
            TypeError,
            "skip_spikes: loss must be True or False, got in",
        ),
    ],
)
def test_construction(build, error, message):
    with refused(error, message):
        build()


@pytest.mark.parametrize("way", [jax.jit, lambda update: update], ids=["jit", "eager"])
def test_what_does_not_fit(way):
    finite, spikes = gx.skip_nonfinite(gx.adam(0.1)), gx.skip_spikes(gx.adam(0.1), loss=True)
    with refused(TypeError, "skip_nonfinite: the state is a SkipSpikesState, expected SkipNonfiniteState: it was made"):
        way(finite.update)(W, spikes.init(W), W)
    with refused(TypeError, "skip_spikes: the state is a SkipNonfiniteState, expected SkipSpikesState: it was made"):
        way(spikes.update)(W, finite.init(W), W, value=1.0)
    with refused(TypeError, "skip_spikes: update needs value: call update(updates, state, params, value=…)"):
        way(spikes.update)(W, spikes.init(W), W)
    with refused(ValueError, "skip_spikes: value must be a real scalar, got float64[2]; give one number, such as the"):
        way(spikes.update)(W, spikes.init(W), W, value=jnp.ones(2))
    with refused(ValueError, "scale_by_adam: updates does not fit the state, whose mu has shape (3,), expected (2,)"):
        way(finite.update)(jnp.ones(2), finite.init(W))
