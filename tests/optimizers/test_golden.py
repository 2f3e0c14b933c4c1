"""Numbers that can be checked by hand, and identities between the forms in which books write the same rule."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx as gx


def outputs(tx, grads, params=None):
    """What a transformation puts out for a list of gradients."""
    state, out = tx.init(jnp.zeros_like(jnp.asarray(grads[0]))), []
    for g in grads:
        updates, state = tx.update(jnp.asarray(g), state, params)
        out.append(np.asarray(updates))
    return np.stack(out)


def path(tx, gradient, start, steps):
    """The parameters after each step."""
    w = jnp.asarray(start)
    state, out = tx.init(w), []
    for _ in range(steps):
        updates, state = tx.update(gradient(w), state, w)
        w = gx.apply_updates(w, updates)
        out.append(np.asarray(w))
    return np.stack(out)


# ---- clipping ----


def test_clipping_by_value_changes_the_direction():
    np.testing.assert_array_equal(outputs(gx.clip_by_value(1.0), [[0.9, 100.0]]), [[0.9, 1.0]])


@pytest.mark.parametrize("clip", [gx.clip_by_norm, gx.clip_by_global_norm])
def test_clipping_by_norm_keeps_the_direction(clip):
    clipped = outputs(clip(1.0), [[0.9, 100.0]])[0]
    np.testing.assert_allclose(clipped, [0.00899964, 0.9999595], rtol=0, atol=5e-8)  # as printed, to its last digit
    np.testing.assert_allclose(clipped, np.array([0.9, 100.0]) / np.hypot(0.9, 100.0), rtol=1e-15)


# ---- averages and velocities ----


def test_bias_correction_takes_the_start_at_zero_out():
    x = 45.0
    average, corrected = gx.ema(0.98), gx.chain(gx.ema(0.98), gx.bias_correction(0.98))
    np.testing.assert_allclose(outputs(average, [40.0, x]), [0.8, 0.784 + 0.02 * x], rtol=1e-14)
    np.testing.assert_allclose(outputs(corrected, [40.0, x]), [40.0, (0.0196 * 40 + 0.02 * x) / 0.0396], rtol=1e-14)


def test_terminal_velocity_is_ten_times_the_gradient():
    velocity = outputs(gx.scale_by_momentum(0.9), [3.0] * 400)
    assert (np.diff(velocity[:200]) > 0).all()
    np.testing.assert_allclose(velocity[-1], 30.0, rtol=1e-14)


def conventions(rate, momentum):
    """The three forms of momentum, with the constant that makes the third the same as the others."""
    inside = gx.chain(gx.scale_by_learning_rate(rate), gx.scale_by_momentum(momentum))
    outside = gx.chain(gx.scale_by_momentum(momentum), gx.scale_by_learning_rate(rate))
    averaged = gx.chain(gx.scale(2.0), gx.ema(momentum), gx.scale_by_learning_rate(rate))
    return inside, outside, averaged


@pytest.mark.parametrize(
    ("rate", "momentum", "expected"),
    [
        # All the same up to the constant 1 / (1 - 0.5) = 2.
        (0.1, 0.5, ([-0.1, -0.15, -0.175], [-0.1, -0.15, -0.175], [-0.1, -0.15, -0.175])),
        # The rate falls tenfold: inside the velocity, what the first step gathered keeps its large rate.
        (
            gx.exponential(1.0, 0.1, every=1),
            0.5,
            ([-1.0, -0.6, -0.31], [-1.0, -0.15, -0.0175], [-1.0, -0.15, -0.0175]),
        ),
        # The momentum falls from 0.5 to 0: only in the average does that give the new gradient more weight.
        (
            1.0,
            gx.linear(0.5, 0.0, 1),
            ([-1.0, -1.0, -1.0], [-1.0, -1.0, -1.0], [-1.0, -2.0, -2.0]),
        ),
    ],
    ids=["constants", "schedule of the rate", "schedule of the momentum"],
)
def test_three_conventions_of_momentum(rate, momentum, expected):
    for tx, numbers in zip(conventions(rate, momentum), expected, strict=True):
        np.testing.assert_allclose(outputs(tx, [1.0] * 3), numbers, rtol=1e-14)


@jax.jit
@jax.grad
def slope(w):
    """Of Rosenbrock's function."""
    return 100 * (w[1] - w[0] ** 2) ** 2 + (1 - w[0]) ** 2


def test_nesterov_walks_the_path_of_the_look_ahead_form():
    rate, mu, steps = 5e-4, 0.9, 60
    w, change, ahead = np.array([-1.2, 1.0]), np.zeros(2), []
    for _ in range(steps):
        change = mu * change - rate * np.asarray(slope(jnp.asarray(w + mu * change)))
        w = w + change
        ahead.append(w + mu * change)  # the change of variable: where the next gradient is taken
    ours = path(gx.sgd(rate, momentum=mu, nesterov=True), slope, [-1.2, 1.0], steps)
    np.testing.assert_allclose(ours, ahead, rtol=1e-12)
    plain = path(gx.sgd(rate, momentum=mu), slope, [-1.2, 1.0], steps)
    assert np.abs(plain - ahead).max() > 0.01


# ---- Adam and weight decay ----


def test_adams_folded_form_is_ours_with_another_epsilon():
    rate, b1, b2, eps_hat, steps = 0.01, 0.9, 0.999, 1e-3, 60
    grads = np.random.default_rng(0).normal(size=(steps, 3))
    m, v, folded = np.zeros(3), np.zeros(3), []
    for t, g in enumerate(grads, start=1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        folded.append(-rate * np.sqrt(1 - b2**t) / (1 - b1**t) * m / (np.sqrt(v) + eps_hat))

    def eps(count):
        return eps_hat / jnp.sqrt(1 - b2 ** (count + 1))

    np.testing.assert_allclose(outputs(gx.adam(rate, b1, b2, eps), list(grads)), folded, rtol=1e-12)
    assert np.abs(outputs(gx.adam(rate, b1, b2, eps_hat), list(grads)) - folded).max() > 1e-4


@pytest.mark.parametrize(
    ("direction", "before", "after"),
    [
        (gx.identity(), 1.8, 1.8),  # 2 - 0.1 (1 + 0.5 * 2)
        (gx.scale_by_rms(0.75, eps=0.0), 1.8, 1.7),  # 2 - 0.1 * 2, and 2 - 0.1 (2 + 1)
        (gx.scale_by_adam(eps=0.0), 1.9, 1.8),  # 2 - 0.1 * 1, and 2 - 0.1 (1 + 1)
    ],
)
def test_decay_before_and_behind_the_preconditioner_are_the_same_for_sgd_alone(direction, before, after):
    decay, rate = gx.add_decayed_weights(0.5), gx.scale_by_learning_rate(0.1)
    for tx, expected in ((gx.chain(decay, direction, rate), before), (gx.chain(direction, decay, rate), after)):
        np.testing.assert_allclose(path(tx, jnp.ones_like, 2.0, 1), [expected], rtol=1e-15)


def test_adamw_decays_behind_the_preconditioner():
    decoupled = path(gx.adamw(0.1, eps=0.0, weight_decay=0.5), jnp.ones_like, 2.0, 1)
    np.testing.assert_allclose(decoupled, [1.8], rtol=1e-15)
