"""The same formula in gradtx and in Optax walks the same path: three problems at once, 60 steps in float64."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx

STEPS = 60
RATE = 5e-4  # gradient descent with momentum is stable with it on all three problems
CURVATURE = np.logspace(0, 3, 6)
INPUTS = np.random.default_rng(0).normal(size=(16, 3))
TARGETS = np.sin(INPUTS.sum(axis=1))


def quadratic(w):
    """Of condition number 1000."""
    return 0.5 * jnp.sum(CURVATURE * w**2)


def rosenbrock(w):
    return jnp.sum(100 * (w[1:] - w[:-1] ** 2) ** 2 + (1 - w[:-1]) ** 2)


def network(w):
    """Three inputs, four tanh units, one output."""
    hidden = jnp.tanh(INPUTS @ w[:12].reshape(3, 4) + w[12:16][None])
    return jnp.mean((hidden @ w[16:20] + w[20] - TARGETS) ** 2)


# The three stand in one vector, each with its own part: that compiles three times faster.
PROBLEMS = {
    quadratic: np.ones(6),
    rosenbrock: np.array([-1.2, 1.0, 0.5]),
    network: np.random.default_rng(1).normal(size=21),
}
JOINTS = np.cumsum([start.size for start in PROBLEMS.values()])[:-1]


@jax.jit
@jax.grad
def gradient(w):
    return sum(loss(part) for loss, part in zip(PROBLEMS, jnp.split(w, JOINTS), strict=True))


def trajectory(tx):
    """The parameters after each step."""

    @jax.jit
    def step(w, state, g):
        updates, state = tx.update(g, state, w)
        return optax.apply_updates(w, updates), state

    w = jnp.concatenate(list(PROBLEMS.values()))
    state, path = tx.init(w), []
    for _ in range(STEPS):
        w, state = step(w, state, gradient(w))
        path.append(w)
    return np.stack(path)


def in_float64(schedule):
    """Optax divides an int32 count by an int in float32, also with x64 on: it gets the count as a float."""
    return lambda count: schedule(1.0 * count)


# RMSProp's step flips its sign at once with the gradient's: a rate that crosses a valley makes a path's rounding grow.
INSIDE: dict[str, Any] = dict(eps=0.0, eps_root=1e-8)  # epsilon inside the root, Optax's default in RMSProp
COSINE = optax.cosine_decay_schedule(1e-2, 40, alpha=0.1)
RISE = in_float64(optax.linear_schedule(0.5, 0.9, 30))

ROWS = [
    ("scale", gx.chain(gx.scale(0.5), gx.sgd(RATE)), optax.chain(optax.scale(0.5), optax.sgd(RATE))),
    ("sgd", gx.sgd(RATE), optax.sgd(RATE)),
    ("sgd momentum", gx.sgd(RATE, 0.9), optax.sgd(RATE, 0.9)),
    ("sgd nesterov", gx.sgd(RATE, 0.8, nesterov=True), optax.sgd(RATE, 0.8, nesterov=True)),
    ("rmsprop inside", gx.rmsprop(1e-3, **INSIDE), optax.rmsprop(1e-3)),
    ("rmsprop outside", gx.rmsprop(1e-3), optax.rmsprop(1e-3, eps_in_sqrt=False)),
    ("rmsprop centered", gx.rmsprop(1e-3, centered=True, **INSIDE), optax.rmsprop(1e-3, centered=True)),
    (
        "rmsprop centered outside",
        gx.rmsprop(1e-3, eps=1e-3, centered=True),
        optax.rmsprop(1e-3, eps=1e-3, centered=True, eps_in_sqrt=False),
    ),
    ("rmsprop debiased", gx.rmsprop(1e-3, debias=True, **INSIDE), optax.rmsprop(1e-3, bias_correction=True)),
    ("rmsprop initial", gx.rmsprop(1e-3, initial=1.0, **INSIDE), optax.rmsprop(1e-3, initial_scale=1.0)),
    (
        "rmsprop momentum",
        gx.chain(gx.scale_by_rms(**INSIDE), gx.scale_by_learning_rate(COSINE), gx.scale_by_momentum(0.8)),
        optax.rmsprop(COSINE, momentum=0.8),
    ),
    (
        "rmsprop nesterov",
        gx.chain(
            gx.scale_by_rms(),
            gx.scale_by_learning_rate(COSINE),
            gx.scale_by_momentum(0.8, nesterov=True),
        ),
        optax.rmsprop(COSINE, momentum=0.8, nesterov=True, eps_in_sqrt=False),
    ),
    ("adam", gx.adam(1e-2), optax.adam(1e-2)),
    ("adam numbers", gx.adam(1e-2, 0.8, 0.99, 1e-3), optax.adam(1e-2, 0.8, 0.99, 1e-3)),
    ("adam eps_root", gx.adam(1e-2, eps_root=1e-6), optax.adam(1e-2, eps_root=1e-6)),
    ("nadam", gx.nadam(1e-2), optax.nadam(1e-2)),
    ("adamw", gx.adamw(1e-2, weight_decay=0.1), optax.adamw(1e-2, weight_decay=0.1)),
    ("adamw defaults", gx.adamw(1e-2), optax.adamw(1e-2)),
    ("nadamw", gx.nadamw(1e-2, weight_decay=0.1), optax.nadamw(1e-2, weight_decay=0.1)),
    (
        "clip_by_global_norm",
        gx.chain(gx.clip_by_global_norm(10.0), gx.adamw(1e-2)),
        optax.chain(optax.clip_by_global_norm(10.0), optax.adamw(1e-2)),
    ),
    (
        "clip_by_value",
        gx.chain(gx.clip_by_value(0.5), gx.sgd(1e-2)),
        optax.chain(optax.clip(0.5), optax.sgd(1e-2)),
    ),
    (
        "ema",
        gx.chain(gx.ema(0.9), gx.sgd(RATE)),
        optax.chain(optax.ema(0.9, debias=False), optax.sgd(RATE)),
    ),
    (
        "ema debiased",
        gx.chain(gx.ema(0.9), gx.bias_correction(0.9), gx.sgd(RATE)),
        optax.chain(optax.ema(0.9, debias=True), optax.sgd(RATE)),
    ),
    (
        "add_decayed_weights",
        gx.chain(gx.add_decayed_weights(0.1), gx.adam(1e-2)),
        optax.chain(optax.add_decayed_weights(0.1), optax.adam(1e-2)),
    ),
    ("Optax's schedule", gx.adam(COSINE), optax.adam(COSINE)),
    ("cosine", gx.adam(gx.cosine(1e-2, 40, floor=1e-3)), optax.adam(COSINE)),
    ("linear", gx.adam(gx.linear(1e-2, 1e-3, 40)), optax.adam(in_float64(optax.linear_schedule(1e-2, 1e-3, 40)))),
    (
        "exponential",
        gx.adam(gx.exponential(1e-2, 0.5, 20)),
        optax.adam(in_float64(optax.exponential_decay(1e-2, 20, 0.5))),
    ),
    (
        "staircase",
        gx.adam(gx.exponential(1e-2, 0.5, 20, staircase=True)),
        optax.adam(in_float64(optax.exponential_decay(1e-2, 20, 0.5, staircase=True))),
    ),
    (
        "joined",
        gx.adam(gx.linear(0.0, 1e-2, 10).then(gx.cosine(1e-2, 30), at=10)),
        optax.adam(in_float64(optax.warmup_cosine_decay_schedule(0.0, 1e-2, 10, 40))),
    ),
    ("schedule of b1", gx.adam(1e-2, b1=RISE), optax.inject_hyperparams(optax.adam)(1e-2, b1=RISE)),
]


@pytest.mark.parametrize(("ours", "theirs"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_same_path_as_optax(ours, theirs):
    paths = (np.split(trajectory(tx), JOINTS, axis=1) for tx in (ours, theirs))
    for problem, path, expected in zip(PROBLEMS, *paths, strict=True):
        assert np.ptp(expected, axis=0).max() > 1e-2, f"{problem.__name__}: nothing moves"
        size = np.abs(expected).max()
        np.testing.assert_allclose(path, expected, rtol=1e-12, atol=1e-12 * size, err_msg=problem.__name__)
