"""Optax's Sophia and its estimate of the Hessian's diagonal."""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import optax

from gradtx.core import check
from gradtx.core.flow import Flow
from gradtx.core.keys import Seed, make_key
from gradtx.core.rule import Rule
from gradtx.optax.blocks import add_decayed_weights, scale_by_learning_rate
from gradtx.optax.borrow import Real, StepCount, is_float32, leave_unless, optax_transformation, original
from gradtx.optax.over_any import Optimizer
from gradtx.optax.trees import OptionalMask
from gradtx.optax.wrappers import chain
from gradtx.optimizers.hessian import RealArrays, estimate_by_signs, put_estimate
from gradtx.optimizers.sophia import rule_of_sophia

OBJECTIVE = frozenset({"obj_fn"})


@optax_transformation
def hutchinson_estimator_diag_hessian(random_seed: Seed | None = None):
    """With Optax's numbers: its key, which is in the state, splits at each estimate and once more for each array."""
    kind = optax.contrib.HutchinsonState

    def init(params: Any) -> Any:
        return kind(jax.random.PRNGKey(0) if random_seed is None else jnp.copy(make_key(random_seed)))

    def advance_signs(flow: Flow, state: Any, extra: dict[str, Any]) -> Any:
        check.require_state(state, kind)
        after, now = jax.random.split(state.key)

        def draw_signs(w: RealArrays) -> RealArrays:
            keys = jax.random.split(now, len(w))
            pairs = zip(keys, w, strict=True)
            return [jax.random.rademacher(own, x.shape, jnp.float32).astype(x.dtype) for own, x in pairs]

        put_estimate(flow, extra, estimate_by_signs, draw_signs, "obj_fn")
        return kind(after)

    return Rule(init, advance_signs, takes=OBJECTIVE, needs=("obj_fn",))


class DefaultEstimator(optax.GradientTransformationExtraArgs):
    """Optax's default estimator, equal to it; it pickles by its name, since its functions don't."""

    def __reduce__(self) -> str:
        return "DEFAULT_ESTIMATOR"


DEFAULT_ESTIMATOR = DefaultEstimator(*inspect.signature(original("sophia")).parameters["hessian_diagonal_fn"].default)


@optax_transformation
def scale_by_late_sophia(
    b1: Real,
    b2: Real,
    eps: Real,
    gamma: Real,
    clip_threshold: Real | None,
    update_interval: StepCount,
    hessian: Optimizer,
):
    """Sophia's direction by the average of estimates of the update before, and Optax's state."""
    clip = jnp.inf if clip_threshold is None else clip_threshold
    return rule_of_sophia(optax.contrib.SophiaState, b1, b2, gamma, eps, clip, update_interval, hessian, late=True)


@optax_transformation
def sophia(
    learning_rate: Real,
    b1: Real = 0.965,
    b2: Real = 0.99,
    eps: Real = 1e-8,
    weight_decay: Real = 1e-4,
    weight_decay_mask: OptionalMask = None,
    gamma: Real = 0.01,
    clip_threshold: Real | None = 1.0,
    update_interval: StepCount = 10,
    hessian_diagonal_fn: Optimizer = DEFAULT_ESTIMATOR,
    mu_dtype: Any = None,
    verbose: bool = False,
    print_win_rate_every_n_steps: StepCount = 0,
):
    leave_unless(mu_dtype=is_float32(mu_dtype), verbose=not verbose)
    is_usual = hessian_diagonal_fn == DEFAULT_ESTIMATOR
    hessian = hutchinson_estimator_diag_hessian() if is_usual else hessian_diagonal_fn
    direction = scale_by_late_sophia(b1, b2, eps, gamma, clip_threshold, update_interval, hessian)
    return chain(direction, add_decayed_weights(weight_decay, weight_decay_mask), scale_by_learning_rate(learning_rate))
