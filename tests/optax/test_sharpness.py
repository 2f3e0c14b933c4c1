"""Optax's `sam` on gradtx, as it is seen and opaque."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax as real
import pytest

import gradtx.optax as optax

pytestmark = pytest.mark.slow

W = {"a": jnp.array([1.0, -2.0]), "b": jnp.array(3.0)}
GRAD = jax.grad(lambda w: jnp.sum(jnp.cosh(w["a"])) + w["b"] ** 2)
FORMS: list[dict[str, Any]] = [dict(), dict(reset_state=False), dict(opaque_mode=True)]


def train(tx: Any, n: int = 7) -> Any:
    def step(carry: Any, i: Any) -> Any:
        params, state = carry
        extra = dict(grad_fn=lambda w, k: jax.tree.map(lambda g: g * (1.0 + k), GRAD(w)))
        updates, state = tx.update(GRAD(params), state, params, **extra)
        return (real.apply_updates(params, updates), state), params

    return jax.lax.scan(step, (W, tx.init(W)), jnp.arange(n))


@pytest.mark.parametrize("options", FORMS, ids=str)
def test_paths_are_optaxs_to_the_last_digits(options):
    own, theirs = (
        train(m.contrib.sam(m.adam(0.1), m.chain(m.contrib.normalize(), m.trace(0.9), m.sgd(0.05)), 3, **options))
        for m in (optax, real)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14), own, theirs)


def test_one_of_the_two_runs_at_a_step():
    """Optax runs both at each and throws one away."""
    counts: list[str] = []

    def noted(name: str) -> Any:
        def update(updates: Any, state: Any, params: Any = None) -> Any:
            jax.debug.callback(lambda: counts.append(name))
            return updates, state

        return real.GradientTransformation(lambda params: (), update)

    tx = optax.contrib.sam(noted("down"), noted("up"), 3)
    jax.block_until_ready(train(tx, 6))
    jax.effects_barrier()
    assert sorted(counts) == ["down"] * 2 + ["up"] * 4


def test_without_steps_up_it_is_the_optimizer():
    for options in (dict(), dict(opaque_mode=True)):
        one, _ = train(optax.contrib.sam(optax.adam(0.1), optax.sgd(0.1), 1, **options))
        plain, _ = train(optax.adam(0.1))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), one[0], plain[0])
    theirs, _ = train(real.contrib.sam(real.adam(0.1), real.sgd(0.1), 1))  # which steps from the parameters before
    assert abs(float(theirs[0]["b"] - plain[0]["b"])) > 0.1


def test_a_mean_over_an_axis_and_a_mask():
    def run(m: Any) -> Any:
        tx = m.contrib.sam(m.sgd(0.1), m.sgd(0.5), opaque_mode=True, batch_axis_name="batch")

        def one(x: Any) -> Any:
            return tx.update({"a": x}, tx.init({"a": x}), {"a": x}, grad_fn=lambda w, _: w)[0]["a"]

        return jax.vmap(one, axis_name="batch")(jnp.arange(6.0).reshape(3, 2))

    np.testing.assert_allclose(run(optax), run(real), rtol=1e-12)
    tx = optax.masked(optax.contrib.sam(optax.sgd(0.1), optax.trace(0.9), 2), {"a": True, "b": False})
    (params, state), _ = train(tx, 4)
    assert float(params["b"]) != 3.0  # its gradient passes as it is
    assert float(jnp.abs(state.inner_state.adv_state.trace["a"]).sum()) == 0.0  # which started anew


def test_what_is_refused():
    tx = optax.contrib.sam(optax.sgd(0.1), optax.sgd(0.1), opaque_mode=True)
    state = tx.init(W)
    with pytest.raises(TypeError, match=r"sam: update needs grad_fn: call update\(updates, state, params, grad_fn=…\)"):
        tx.update(W, state, W)
    with pytest.raises(TypeError, match=r"grad_fn must be a function of the parameters and the number of the step up"):
        tx.update(W, state, W, grad_fn=lambda w: w)
    with pytest.raises(ValueError, match=r"grad_fn returned shape \(1,\) at \['b'\], expected shape \(\); return the"):
        tx.update(W, state, W, grad_fn=lambda w, i: w | {"b": jnp.ones(1)})
    for own in (tx, optax.contrib.sam(optax.sgd(0.1), optax.sgd(0.1))):
        with pytest.raises(ValueError, match="update needs the parameters"):
            own.update(W, own.init(W), grad_fn=lambda w, i: w)
        with pytest.raises(TypeError, match="the state is an EmptyState, expected SAMState"):
            own.update(W, optax.EmptyState(), W, grad_fn=lambda w, i: w)
    with pytest.raises(ValueError, match="Synchronization period must be >= 1"):
        optax.contrib.sam(optax.sgd(0.1), optax.sgd(0.1), 0)
