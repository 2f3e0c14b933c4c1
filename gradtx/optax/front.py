"""What stands in front of an optimizer under Optax's names, and optimizers that are made of it."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from gradtx.core import check
from gradtx.core.count import as_real, increment
from gradtx.core.flow import Flow, keep_promises
from gradtx.core.keys import Seed, make_key
from gradtx.core.pair import state_kind
from gradtx.core.rule import Rule
from gradtx.core.transformation import advance, start
from gradtx.optax.blocks import scale_by_adam, scale_by_learning_rate
from gradtx.optax.borrow import Outdated, Real, leave_unless, optax_transformation, original
from gradtx.optax.states import restate, stateless_member
from gradtx.optax.wrappers import chain
from gradtx.transforms import cleaning as of_cleaning
from gradtx.transforms import past as of_past

OPTIMISTIC: Any = state_kind(original("scale_by_optimistic_gradient"))


@optax_transformation
def centralize():
    return stateless_member(of_cleaning.centralize(axis=0))


@optax_transformation
def zero_nans():
    return restate(
        of_cleaning.zero_nans(), of_cleaning.ZeroNansState, optax.ZeroNansState, renamed=dict(found="found_nan")
    )


@optax_transformation
def scale_by_optimistic_gradient(alpha: Real = 1.0, beta: Real = 1.0):
    tx = of_past.optimistic(alpha, beta)
    if callable(alpha) or callable(beta):  # which Optax does not take
        return tx

    def init(params: Any) -> Any:
        return OPTIMISTIC(is_initial_step=jnp.ones([], bool), previous_gradient=start(tx, params).previous_gradient)

    def advance_with_flag(flow: Flow, state: Any, extra: dict[str, Any]) -> Any:
        check.require_state(state, OPTIMISTIC)
        count = jnp.where(jnp.asarray(state.is_initial_step), 0, 1).astype(jnp.int32)
        after = advance(tx, flow, of_past.OptimisticState(count, state.previous_gradient), extra)
        later = jnp.zeros([], bool)
        return flow.promise(
            lambda: OPTIMISTIC(is_initial_step=later, previous_gradient=keep_promises(after).previous_gradient)
        )

    return Rule(init, advance_with_flag)


@optax_transformation
def optimistic_gradient_descent(learning_rate: Real, alpha: Real = 1.0, beta: Real = 1.0):
    return chain(scale_by_optimistic_gradient(alpha, beta), scale_by_learning_rate(learning_rate))


@Outdated
def optimistic_adam(
    learning_rate: Real,
    optimism: Real | None = None,
    b1: Real = 0.9,
    b2: Real = 0.999,
    eps: Real = 1e-08,
    eps_root: Real = 0.0,
    mu_dtype: Any = None,
    *,
    nesterov: bool = True,
):
    leave_unless(learning_rate=not callable(learning_rate))  # which Optax refuses
    direction = scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov)
    beta = learning_rate if optimism is None else optimism
    return chain(direction, scale_by_optimistic_gradient(learning_rate, beta), scale_by_learning_rate(1.0))


@optax_transformation
def optimistic_adam_v2(
    learning_rate: Real,
    *,
    alpha: Real = 1.0,
    beta: Real = 1.0,
    b1: Real = 0.9,
    b2: Real = 0.999,
    eps: Real = 1e-8,
    eps_root: Real = 0.0,
    mu_dtype: Any = None,
    nesterov: bool = True,
):
    direction = scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov)
    return chain(direction, scale_by_optimistic_gradient(alpha, beta), scale_by_learning_rate(learning_rate))


@optax_transformation
def add_noise(eta: Real, gamma: Real, key: Seed | None = None, *, seed: Any = None):
    """With Optax's numbers: its key, which is in the state, splits at each step and once more for each array."""
    leave_unless(key=key is not None, seed=seed is None)  # for which Optax has a warning

    def init(params: Any) -> Any:
        return optax.AddNoiseState(jnp.zeros([], jnp.int32), jnp.copy(make_key(key)))

    def advance_noise(flow: Flow, state: Any, extra: dict[str, Any]) -> Any:
        check.require_state(state, optax.AddNoiseState)
        count = increment(jnp.asarray(state.count))
        after, sample = jax.random.split(state.rng_key)
        updates = flow.updates()
        noise = optax.tree.random_like(sample, updates, jax.random.normal)
        flow.put(optax.tree.add_scale(updates, jnp.sqrt(eta / as_real(count) ** gamma), noise))
        return optax.AddNoiseState(count, after)

    return Rule(init, advance_noise)


@optax_transformation
def noisy_sgd(learning_rate: Real, eta: Real = 0.01, gamma: Real = 0.55, key: Seed | None = None, *, seed: Any = None):
    leave_unless(key=key is not None, seed=seed is None)
    return chain(add_noise(eta, gamma, key), scale_by_learning_rate(learning_rate))
