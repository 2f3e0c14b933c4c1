"""Sophia and the estimates of the Hessian that it goes by."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx
from tests.printed import CURVATURE, M, V, descended, fed, loss, path
from tests.reference import frontier
from tests.refusals import refused

pytestmark = pytest.mark.slow  # formulas do not turn on versions

STEPS = 25
GRADS = np.random.default_rng(1).normal(size=(STEPS, 3, 4))
GRADS[::7] = 0.0


def outputs(tx, grads=GRADS):
    params = jnp.zeros(grads.shape[1:])
    return jax.lax.scan(lambda state, g: tx.update(g, state)[::-1], tx.init(params), jnp.asarray(grads))[1]


@pytest.mark.parametrize(
    "options",
    [
        dict(gamma=1.0),
        dict(b1=0.5, b2=0.7, gamma=2.0, eps=0.1, clip=0.5, every=3, debias=False),
        dict(gamma=1.0, clip=float("inf"), every=1, eps=0.3),
    ],
    ids=str,
)
def test_the_rule(options):
    expected = np.stack(list(frontier.sophia(GRADS, GRADS**2, **options)))
    assert np.mean(np.abs(expected) < options.get("clip", 1.0)) > 0.01, "all is clipped"
    found = outputs(gx.scale_by_sophia(hessian=gx.square(), **options))
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-14)


def test_printed_by_the_authors_with_squares_ahead_of_each_step():
    tx = gx.scale_by_sophia(gamma=100.0, eps=1e-15, every=1, hessian=gx.square(), debias=False)
    found = fed(gx.chain(tx, gx.scale_by_learning_rate(0.1)))
    np.testing.assert_allclose(found, (7.2668653167, 5.9256518035), rtol=5e-11)


def test_printed_by_optax_where_every_element_is_clipped():
    """There it makes no difference that its step goes by the estimate of the step before."""
    np.testing.assert_allclose(descended(gx.sophia(0.1, every=1)), (6.2497825023, 5.3998260018), rtol=5e-11)


def test_optax_goes_by_the_estimate_of_the_step_before():
    options: dict[str, Any] = dict(b1=0.5, b2=0.7, gamma=1.0, eps=0.1)
    estimate: Any = gx.square()  # which Optax hands the parameters by name
    theirs: Any = optax.contrib.sophia(
        -1.0, weight_decay=0.0, update_interval=1, hessian_diagonal_fn=estimate, **options
    )
    params = jnp.zeros((3, 4))

    def step(state, g):
        updates, state = theirs.update(g, state, params)
        return state, updates

    found = jax.lax.scan(step, theirs.init(params), jnp.asarray(GRADS))[1]
    expected = np.stack(list(frontier.sophia(GRADS, GRADS**2, every=1, late=True, **options)))
    np.testing.assert_allclose(found, expected, rtol=1e-11)


def test_hutchinson_is_exact_for_a_diagonal_hessian():
    _, state = path(gx.scale_by_sophia(b2=0.0), lambda t, params: jax.grad(loss)(params), 1)
    np.testing.assert_allclose(state.nu["m"], np.ones(M.shape), rtol=1e-12)
    np.testing.assert_allclose(state.nu["v"], CURVATURE, rtol=1e-12)


def coupled(w):
    return w["a"][0] * w["a"][1] + 1.5 * w["a"][0] ** 2 + w["b"] ** 2 * jnp.sum(w["a"])


def test_hutchinson_is_right_on_average_and_draws_anew_each_time():
    tx, w = gx.hutchinson(), {"a": jnp.array([1.0, 2.0]), "b": jnp.array(0.5)}

    def body(state, _):
        found, state = tx.update(w, state, w, loss_fn=coupled)
        return state, found

    state, found = jax.lax.scan(body, tx.init(w), None, 4000)
    assert state.count == 4000
    # Elements beside the diagonal are 1 and 2·0.5: of two signs each, so a variance of 2 at most.
    np.testing.assert_allclose(np.mean(found["a"], axis=0), [3.0, 0.0], atol=4 * (2 / 4000) ** 0.5)
    np.testing.assert_allclose(np.mean(found["b"]), 6.0, atol=4 * (2 / 4000) ** 0.5)
    assert len(np.unique(np.asarray(found["a"]), axis=0)) > 2
    other = gx.hutchinson(key=1)
    drawn = [
        tx.update(w, tx.init(w), w, loss_fn=coupled)[0]["a"] for tx in (gx.hutchinson(key=jax.random.key(0)), other)
    ]
    np.testing.assert_array_equal(drawn[0], found["a"][0])


def test_hutchinson_is_for_what_it_sees_of_the_tree_alone():
    """Under a mask the loss still gets all parameters."""
    w = {"a": jnp.array([1.0, 2.0]), "b": jnp.array(0.5)}
    tx = gx.masked(gx.hutchinson(), gx.by_path("b"))
    found, _ = tx.update(w, tx.init(w), w, loss_fn=coupled)
    np.testing.assert_allclose(found["b"], 6.0)
    np.testing.assert_array_equal(found["a"], w["a"])


def test_gauss_newton_is_the_hessian_of_a_cross_entropy_on_average():
    """Over all labels by their probabilities: the loss of one example is linear in the logits, but for the softmax."""
    logits = jnp.array([0.5, -1.0, 2.0])
    p = jax.nn.softmax(logits)
    tx = gx.gauss_newton(1.0)

    def estimate(label):
        nll = lambda w: -jax.nn.log_softmax(w)[label]  # noqa: E731
        return tx.update(logits, tx.init(logits), logits, loss_fn=nll)[0]

    mean = sum(p[label] * estimate(label) for label in range(3))
    np.testing.assert_allclose(mean, p * (1 - p), rtol=1e-12)


def test_the_loss_takes_what_update_is_given_and_is_looked_at_where_an_estimate_is_due_alone():
    tx, w = gx.sophia(0.1, gamma=1.0, every=2), jnp.asarray(V)
    state, found = tx.init(w), []
    for scale in (2.0, 5.0, 3.0):
        _, state = tx.update(w, state, w, loss_fn=lambda w, scale: (scale * jnp.sum(w**2), "aside"), scale=scale)
        found.append(float(gx.find(state, "nu")[0]))
    np.testing.assert_allclose(found, [0.04, 0.04, 0.04 * 0.99 + 0.06], rtol=1e-12)


def test_errors():
    w = jnp.ones(3)
    tx = gx.sophia(0.1)
    with refused(TypeError, "update needs loss_fn"):
        tx.update(w, tx.init(w), w)
    with refused(ValueError, "gauss_newton: update needs the parameters"):
        gx.gauss_newton().update(w, (), loss_fn=jnp.sum)
    with refused(TypeError, "key must be a whole number or a key such as jax.random.key(0), got 0.5"):
        gx.hutchinson(key=0.5)
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec("data")
    across = gx.across(gx.hutchinson(), "data")

    def step(w):
        return across.update(w, across.init(w), w, loss_fn=jnp.sum)[0]

    with refused(ValueError, "an array is in parts along data; an estimate of the Hessian needs them whole"):
        jax.shard_map(step, mesh=mesh, in_specs=spec, out_specs=spec)(jnp.ones(4))
