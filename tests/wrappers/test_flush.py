"""Windows closed before they are full: against the mean of what came, inside of others, and what is refused."""

import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import gradtx as gx
from gradtx.wrappers import flush
from tests.counted import counted
from tests.refusals import refused

untyped: Any = gx
compiled_flush: Any = flush.compiled_flush
W = jnp.array([1.0, -1.0])
G = jnp.array([[1.0, -2.0], [4.0, 2.0], [-1.0, 1.0], [2.0, 8.0], [3.0, 3.0]])
close = functools.partial(chex.assert_trees_all_close, rtol=1e-10)


def fed(tx: Any, gradients: Any, params: Any = W, **extra: Any) -> Any:
    state = tx.init(params)
    for g in gradients:
        _, state = tx.update(g, state, params, **extra)
    return state


@pytest.mark.parametrize("way", [lambda f: f, jax.jit], ids=["eager", "jit"])
@pytest.mark.parametrize("inner", [gx.sgd(0.1, momentum=0.9), gx.adamw(gx.linear(0.1, 0.0, 10)), optax.adam(0.1)])
def test_the_last_window_is_the_mean_of_what_came(way, inner):
    tx = gx.accumulate(inner, 3)
    state = fed(tx, G)
    step = way(lambda state: gx.flush(tx, state, W))
    updates, after = step(state)
    whole = inner.init(W)
    for mean in (G[:3].mean(axis=0), G[3:].mean(axis=0)):
        expected, whole = inner.update(mean, whole, W)
    close((updates, after.inner_state), (expected, whole))
    assert (after.mini_step, after.count) == (0, 2)
    assert not np.any(after.acc_grads)
    chex.assert_trees_all_equal_shapes_and_dtypes(after, state)
    nothing, same = step(after)
    chex.assert_trees_all_equal((nothing, same), (jnp.zeros_like(W), after))
    expected, _ = inner.update(G[0], whole, W)
    updates, after = tx.replace(steps=1).update(G[0], after, W)  # the next window starts anew
    close(updates, expected)
    assert after.count == 3


def test_an_empty_window_runs_nothing():
    noted, runs = counted()
    tx = gx.chain(gx.accumulate(noted, 2), gx.scale_by_learning_rate(0.1))
    state = fed(tx, G[:2])
    jax.effects_barrier()
    assert len(runs) == 1
    for before in (tx.init(W), state):
        updates, after = gx.flush(tx, before, W)
        chex.assert_trees_all_equal((updates, after), (jnp.zeros_like(W), before))
    jax.effects_barrier()
    assert len(runs) == 1
    _, after = gx.flush(tx, fed(tx, G[:3]), W)
    assert gx.find(after, "0/count") == 2
    assert gx.find(after, "1/count") == 4  # three micro-batches and the flush


def test_it_runs_in_a_loop_over_epochs():
    """Three micro-batches an epoch, windows of two: the third closes its window alone."""
    tx = gx.accumulate(gx.sgd(0.1), 2)

    def epoch(carry, _):
        def step(carry, g):
            w, state = carry
            updates, state = tx.update(g, state, w)
            return (gx.apply_updates(w, updates), state), gx.has_updated(state)

        (w, state), closed = jax.lax.scan(step, carry, G[:3])
        updates, state = gx.flush(tx, state, w)
        return (gx.apply_updates(w, updates), state), (closed, gx.has_updated(state))

    (w, state), (closed, after) = jax.jit(lambda: jax.lax.scan(epoch, (W, tx.init(W)), length=2))()
    close(w, W - 0.1 * 2 * (G[:2].mean(axis=0) + G[2]))
    assert closed.tolist() == [[False, True, False]] * 2
    assert after.tolist() == [True, True]
    assert state.count == 4


def test_an_ensemble_closes_each_window_by_itself():
    tx = gx.accumulate(gx.sgd(1.0), 3)
    states = jax.vmap(lambda ok, g: jax.lax.cond(ok, lambda: fed(tx, [g]), lambda: tx.init(W)))
    state = states(jnp.array([True, False]), G[:2])
    updates, after = jax.vmap(lambda state: gx.flush(tx, state, W))(state)
    close(updates, jnp.stack([-G[0], 0 * W]))
    assert after.count.tolist() == gx.has_updated(after).tolist() == [1, 0]


def test_eager_it_is_one_compiled_call():
    compiled_flush.clear_cache()  # JAX keeps so many programs in all, and lets go of the oldest
    tx = gx.accumulate(gx.adam(0.1), 2)
    before = compiled_flush._cache_size()
    for other in (tx, tx.replace(learning_rate=0.2)):
        updates, _ = gx.flush(other, fed(tx, G[:1]), W)
        close(updates, -other.tx.learning_rate * jnp.sign(G[0]), rtol=1e-6)
    assert compiled_flush._cache_size() == before + 1


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32, jnp.complex64])
def test_updates_are_of_their_parameters_dtype(dtype):
    w = jnp.ones(2, dtype)
    tx = gx.accumulate(gx.adam(0.1), 4)
    state = fed(tx, [w, 3 * w], w)
    updates, after = gx.flush(tx, state, w)
    assert updates.dtype == tx.update(w, state, w)[0].dtype == dtype
    chex.assert_trees_all_equal_shapes_and_dtypes(after, state)


# ---- extra arguments ----


def test_a_measurement_is_the_mean_of_the_window():
    tx = gx.accumulate(gx.chain(gx.sgd(1.0), gx.reduce_on_plateau(0.5, 1)), 3)
    state = tx.init(W)
    for g, value in zip(G[:2], (4.0, 2.0), strict=True):
        _, state = tx.update(g, state, W, value=value)
    _, after = gx.flush(tx, state, W)
    assert gx.find(after, "best_value") == 3.0
    assert gx.find(after, "acc_extra") == {"value": 0.0}
    foreign: Any = gx.accumulate(gx.chain(optax.sgd(1.0), optax.contrib.reduce_on_plateau()), 3)
    _, after = gx.flush(foreign, fed(foreign, G[:2], value=3.0), W)
    assert gx.find(after, "best_value") == 3.0


def test_a_line_search_gets_the_function_of_the_window():
    def loss(w, x):
        return jnp.sum((w - x) ** 4)

    def whole(w):
        return (loss(w, G[0]) + loss(w, G[1])) / 2

    tx, alone = gx.accumulate(gx.lbfgs(3), 4), gx.lbfgs(3)
    state = tx.init(W)
    for x in G[:2]:
        value, grad = jax.value_and_grad(loss)(W, x)
        _, state = tx.update(grad, state, W, value=value, grad=grad, value_fn=whole)
    value, grad = jax.value_and_grad(whole)(W)
    expected, _ = alone.update(grad, alone.init(W), W, value=value, grad=grad, value_fn=whole)
    close(gx.flush(tx, state, W, value_fn=whole, value=value, grad=grad)[0], expected)
    close(gx.flush(tx, state, W, value_fn=whole, **gx.find(state, "acc_extra"))[0], expected)
    with refused(TypeError, "scale_by_zoom_linesearch: update needs value, grad: call update(") as caught:
        gx.flush(tx, state, W, value_fn=whole)
    assert "in part 2 of a chain, scale_by_zoom_linesearch()" in caught.value.__notes__


# ---- inside of others ----

MEAN = G[:2].mean(axis=0)
INSIDE = {
    "a chain, whose parts ahead have had the gradients": (
        gx.chain(gx.scale(2.0), gx.accumulate(gx.sgd(0.1), 3), gx.scale(0.5)),
        -0.1 * MEAN,
    ),
    "names and compositions": (
        gx.chain(clip=gx.clip_by_norm(1e3), rest=gx.chain(gx.identity(), gx.accumulate(gx.sgd(0.1), 3))),
        -0.1 * MEAN,
    ),
    "guards": (gx.skip_nonfinite(gx.skip_spikes(gx.accumulate(gx.sgd(0.1), 3))), -0.1 * MEAN),
    "a guard with a schedule": (gx.skip_nonfinite(gx.accumulate(gx.sgd(0.1), 3), gx.constant(5)), -0.1 * MEAN),
}


@pytest.mark.parametrize("name", INSIDE)
def test_it_may_stand_inside_of(name):
    tx, expected = INSIDE[name]
    state = fed(tx, G[:2])
    updates, after = gx.flush(tx, state, W)
    close(updates, expected)
    assert gx.has_updated(after)
    assert not gx.has_updated(state)
    chex.assert_trees_all_equal_shapes_and_dtypes(after, state)


def test_in_a_group_the_others_rest():
    inner = gx.accumulate(gx.adamw(0.1, weight_decay=1.0), 3)
    params, g = {"a": W, "b": W, "step": jnp.array(3)}, {"a": W, "b": W, "step": None}
    rules = (gx.by_path("a"), inner), (gx.by_path("step"), gx.freeze(gx.by_path("step")))
    groups = gx.partition(*rules, default=gx.sgd(0.1, momentum=0.9))
    state = groups.init(params)
    for _ in range(2):
        _, state = groups.update(g, state, params)
    updates, after = gx.flush(groups, state, params)
    alone = gx.adamw(0.1, weight_decay=1.0)
    expected = alone.update(W, alone.init(W), W)[0]
    close(updates, {"a": expected, "b": 0 * W, "step": None})
    chex.assert_trees_all_equal(after[1:], state[1:])
    lone = gx.chain(gx.only(inner, gx.by_path("a")), gx.add_decayed_weights(1.0))  # which moves no frozen array
    params = {"a": W, "b": W}
    close(gx.flush(lone, fed(lone, [params], params), params)[0], {"a": expected + W, "b": 0 * W})


def test_what_is_frozen_ahead_stays():
    params = {"a": W, "b": W}
    tx = gx.chain(gx.freeze(gx.by_path("b")), gx.accumulate(gx.adamw(0.1, weight_decay=1.0), 3))
    updates, _ = gx.flush(tx, fed(tx, [params], params), params)
    assert np.all(updates["a"] != 0)
    np.testing.assert_array_equal(updates["b"], 0.0)
    hidden = gx.chain(gx.chain(inside=gx.freeze(gx.by_path("b"))), gx.accumulate(gx.adamw(0.1), 3))
    with refused(ValueError, "flush: chain(inside=freeze(where=by_path(pattern='b'))), ahead of accumulate, freezes"):
        gx.flush(hidden, fed(hidden, [params], params), params)


def test_none_stays_none():
    params, g = {"a": W, "frozen": W}, {"a": W, "frozen": None}
    tx = gx.accumulate(gx.adamw(0.1), 3)
    state = tx.init(params)
    _, state = tx.update(g, state, params)
    assert gx.flush(tx, state, {"a": W, "frozen": None})[0]["frozen"] is None


def test_in_a_framework():
    model = nnx.Linear(2, 1, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, gx.accumulate(gx.sgd(0.1), 2), wrt=nnx.Param)
    seen = []
    for _ in range(3):
        optimizer.update(model, nnx.grad(lambda m: jnp.sum(m(jnp.ones(2))))(model))
        seen.append(bool(gx.has_updated(optimizer.opt_state)))
    assert seen == [False, True, False]


def test_has_updated_is_that_of_multi_steps():
    peer, tx = optax.MultiSteps(optax.sgd(0.1), 2), gx.skip_nonfinite(gx.accumulate(gx.sgd(0.1), 2))
    state, other = tx.init(W), peer.init(W)
    assert not gx.has_updated(state)
    for g in G[:4]:
        _, state = tx.update(g, state, W)
        _, other = peer.update(g, other, W)
        assert gx.has_updated(state) == peer.has_updated(other)
    _, state = tx.update(jnp.nan * W, state, W)
    assert gx.has_updated(state)  # left out: as if it had not come


# ---- refusals ----

ACCUMULATED = gx.accumulate(gx.sgd(0.1), 2)
REFUSED = {
    "flush: tx must be a transformation of gradtx, got": (optax.sgd(0.1), W),
    "flush: it needs the parameters: call flush(tx, state, params)": (ACCUMULATED, None),
    "flush: there is no accumulate in sgd(learning_rate=0.1)": (gx.sgd(0.1), W),
    "in optax.chain it is not seen: join with gradtx.chain": (gx.chain(optax.chain(ACCUMULATED)), W),
    "flush: there are several accumulate, at parts[0], parts[1]; put one around all": (
        gx.chain(ACCUMULATED, ACCUMULATED), W,
    ),
    "flush: there are several accumulate, at the whole, tx; put one": (gx.accumulate(ACCUMULATED, 2), W),
    "flush: accumulate stands inside of every, which decides when it acts; put accumulate around it": (
        gx.every(gx.accumulate(gx.scale(0.5), 2), 2), W,
    ),
    "flush: accumulate stands inside of parallel, which decides": (gx.parallel(ACCUMULATED, join=lambda u: u), W),
}  # fmt: skip


@pytest.mark.parametrize("message", REFUSED)
def test_what_can_not_be_flushed(message):
    tx, params = REFUSED[message]
    with refused((TypeError, ValueError), message):
        untyped.flush(tx, tx.init(W), params)


def test_states_and_parameters_of_others():
    state = fed(ACCUMULATED, G[:1])
    with refused(
        ValueError, "flush: the state has no 'inner_state' in its EmptyState; it was made by another optimizer"
    ):
        gx.flush(ACCUMULATED, optax.EmptyState(), W)
    with refused(ValueError, "updates has shape (2,), its parameter has (3,)"):
        gx.flush(ACCUMULATED, state, jnp.ones(3))
    with refused(ValueError, "flush: params['b'] has no counterpart in the state's mean"):
        gx.flush(ACCUMULATED, ACCUMULATED.init({"a": W}), {"b": W})
    watched = gx.accumulate(gx.chain(gx.sgd(0.1), gx.early_stopping(3)), 2)
    with refused(TypeError, "accumulate: update got vlaue, but takes value"):
        gx.flush(watched, watched.init(W), W, vlaue=1.0)
    with refused(ValueError, "has_updated: the state must hold one AccumulateState, got none"):
        gx.has_updated(gx.sgd(0.1).init(W))
    with refused(ValueError, "has_updated: the state must hold one AccumulateState, got 2; hand in the one"):
        gx.has_updated((state, state))
