"""What stands in front of an optimizer under Optax's names, and optimizers that are made of it."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from gradtx.core import check
from gradtx.core.count import as_real, increment
from gradtx.core.flow import Flow
from gradtx.core.keys import Seed, make_key
from gradtx.core.rule import Rule
from gradtx.optax.blocks import scale_by_adam, scale_by_learning_rate
from gradtx.optax.borrow import Outdated, Real, leave_unless, optax_transformation
from gradtx.optax.states import restate, stateless_member
from gradtx.optax.wrappers import chain
from gradtx.transforms import cleaning as of_cleaning
from gradtx.transforms import past as of_past


@optax_transformation
def centralize():
    return stateless_member(of_cleaning.centralize(axis=0))


@optax_transformation
def zero_nans():
    return restate(of_cleaning.zero_nans(), of_cleaning.ZeroNansState)


@optax_transformation
def scale_by_optimistic_gradient(alpha: Real = 1.0, beta: Real = 1.0):
    return restate(of_past.optimistic(alpha, beta), of_past.OptimisticState)


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
