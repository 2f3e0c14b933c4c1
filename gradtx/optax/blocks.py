"""Optax's blocks: signatures, defaults and states as there, made of gradtx's members."""

import inspect
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gradtx.checkpoints.rows import kinds_of_scheduled_decay
from gradtx.core.check import Unfit, is_none
from gradtx.core.factories import Composed
from gradtx.core.flow import Flow
from gradtx.core.lift import per_array
from gradtx.core.rule import Rule, going_down
from gradtx.optax.borrow import (
    LARGEST,
    Fixed,
    Real,
    StepCount,
    is_float32,
    leave_unless,
    optax_transformation,
    original,
)
from gradtx.optax.states import NO_COUNT, NO_NUMBER, NOTHING, restate, restate_schedule, stateless_member
from gradtx.optax.trees import AnyMask, OptionalMask, chosen_by
from gradtx.optax.wrappers import chain, masked, partition
from gradtx.optimizers import adadelta as of_adadelta
from gradtx.optimizers import adafactor as of_adafactor
from gradtx.optimizers import adagrad as of_adagrad
from gradtx.optimizers import adam as of_adam
from gradtx.optimizers import adamax as of_adamax
from gradtx.optimizers import amsgrad as of_amsgrad
from gradtx.optimizers import sign as of_sign
from gradtx.schedules.value import product
from gradtx.transforms import clip as of_clip
from gradtx.transforms import decay as of_decay
from gradtx.transforms import momentum as of_momentum
from gradtx.transforms import rate as of_rate
from gradtx.transforms import relative as of_relative
from gradtx.transforms import rms as of_rms
from gradtx.values.recipe import Controlled

POWER = inspect.signature(original("scale_by_factored_rms")).parameters["decay_rate_fn"].default


def start_empty(params: Any) -> optax.EmptyState:
    return NOTHING


@optax_transformation
def identity():
    return Rule(
        start_empty, lambda flow, state, extra: state, parts={}
    )  # no rule of arrays alone: whatever the leaves are


@optax_transformation
def set_to_zero():
    def advance_zero(flow: Flow, state: Any, extra: dict[str, Any]) -> Any:
        flow.set({i: zeros_or_none(u.leaf) for i, u in enumerate(flow.leaves) if isinstance(u, Unfit)})
        flow.then(lambda g, row: (jnp.zeros_like(g), {}), [None] * len(flow.leaves))
        return state

    def zeros_or_none(x: Any) -> Any:  # a whole number has a zero, a key or a function has none
        return jnp.zeros_like(x) if isinstance(x, jax.Array | np.ndarray) and x.dtype.kind in "iub" else None

    return Rule(start_empty, advance_zero, parts={})


# ---- by a number ----


@optax_transformation
def scale(step_size: Real):
    return stateless_member(of_rate.scale(step_size))


@optax_transformation
def scale_by_schedule(step_size_fn: Real):
    leave_unless(step_size_fn=callable(step_size_fn))
    return restate_schedule(of_rate.scale(step_size_fn), "factor", optax.ScaleByScheduleState, "step_size_fn")


@optax_transformation
def scale_by_learning_rate(learning_rate: Real | None = None, *, flip_sign: bool = True):
    if learning_rate is None:
        return identity()
    if isinstance(learning_rate, Controlled):  # a number in the state, which Optax's has no place for
        return of_rate.scale_by_learning_rate(learning_rate) if flip_sign else of_rate.scale(learning_rate)
    sign = -1.0 if flip_sign else 1.0
    step = scale_by_schedule(product(sign, learning_rate)) if callable(learning_rate) else scale(sign * learning_rate)
    return going_down(Composed.of(tx=step)) if flip_sign else step


@optax_transformation
def add_decayed_weights(weight_decay: Real = 0.0, mask: OptionalMask = None):
    if mask is not None:
        return masked(add_decayed_weights(weight_decay), mask)
    decay = of_decay.add_decayed_weights(weight_decay)
    if not callable(weight_decay):
        return stateless_member(decay)
    (kind,) = kinds_of_scheduled_decay(None)
    return restate_schedule(decay, "weight_decay", kind, "weight_decay")


# ---- clipping ----

UNMEASURED = dict(norm=NO_NUMBER, clipped_norm=NO_NUMBER, clipped=NO_COUNT.astype(bool))


@optax_transformation
def clip(max_delta: Real):
    return restate(of_clip.clip_by_value(max_delta), of_clip.ClipState, absent=UNMEASURED)


@optax_transformation
def clip_by_global_norm(max_norm: Real):
    # Optax's is that of the arrays in sight.
    return restate(of_clip.clip_by_group_norm(max_norm), of_clip.ClipState, absent=UNMEASURED)


@optax_transformation
def clip_by_block_rms(threshold: Real):
    return restate(of_clip.clip_by_rms(threshold), of_clip.ClipState, absent=UNMEASURED)


@optax_transformation
def scale_by_param_block_norm(min_scale: Real = 1e-3):
    return stateless_member(of_relative.scale_by_parameter_norm(min_scale))


@optax_transformation
def scale_by_param_block_rms(min_scale: Real = 1e-3):
    return stateless_member(of_relative.scale_by_parameter_rms(min_scale))


# ---- averages ----


@optax_transformation
def trace(decay: Real, nesterov: bool = False, accumulator_dtype: Any = None):
    velocity = of_momentum.scale_by_momentum(decay, nesterov=nesterov)
    return restate(velocity, of_momentum.ScaleByMomentumState, dtypes=dict(trace=accumulator_dtype))


@optax_transformation
def ema(decay: Real, debias: bool = True, accumulator_dtype: Any = None):
    leave_unless(accumulator_dtype=is_float32(accumulator_dtype) or not debias)
    average = of_momentum.ema(decay)
    if not debias:
        return restate(average, of_momentum.EmaState, dtypes=dict(ema=accumulator_dtype))
    if callable(decay):  # which Optax does not take
        return chain(average, of_momentum.bias_correction(decay))

    def update(g: Any, state: Any):
        average = decay * state.ema + (1.0 - decay) * g
        return of_momentum.debias(average, decay, state.count + 1.0), dict(ema=average)

    return per_array(optax.EmaState, lambda p: dict(ema=jnp.zeros_like(p)), update)


# ---- over a root ----


@optax_transformation
def scale_by_rss(initial_accumulator_value: Real = 0.1, eps: Real = 1e-7):
    direction = of_adagrad.scale_by_rss(0.0, eps_root=eps, initial=initial_accumulator_value)
    return restate(direction, of_adagrad.ScaleByRssState)


@optax_transformation
def scale_by_rms(
    decay: Real = 0.9,
    eps: Real = 1e-8,
    initial_scale: Real = 0.0,
    eps_in_sqrt: bool = True,
    bias_correction: bool = False,
):
    return over_root(decay, eps, initial_scale, eps_in_sqrt, bias_correction, centered=False)


@optax_transformation
def scale_by_stddev(
    decay: Real = 0.9,
    eps: Real = 1e-8,
    initial_scale: Real = 0.0,
    eps_in_sqrt: bool = True,
    bias_correction: bool = False,
):
    return over_root(decay, eps, initial_scale, eps_in_sqrt, bias_correction, centered=True)


def over_root(decay: Real, eps: Real, initial: Real, inside: bool, debias: bool, centered: bool) -> Any:
    outer, inner = (0.0, eps) if inside else (eps, 0.0)
    direction = of_rms.scale_by_rms(decay, outer, eps_root=inner, centered=centered, debias=debias, initial=initial)
    return restate(direction, of_rms.ScaleByRmsState, absent=dict(count=NO_COUNT, mu=None))


@optax_transformation
def scale_by_adadelta(rho: Real = 0.9, eps: Real = 1e-6):
    direction = of_adadelta.scale_by_adadelta(rho, eps)
    return restate(direction, of_adadelta.ScaleByAdadeltaState)


@optax_transformation
def scale_by_factored_rms(
    factored: bool = True,
    decay_rate: Real = 0.8,
    step_offset: StepCount = 0,
    min_dim_size_to_factor: Fixed = 128,
    epsilon: Real = 1e-30,
    decay_rate_fn: Any = POWER,
):
    leave_unless(decay_rate_fn=decay_rate_fn is POWER)
    min_dim: Any = max(min_dim_size_to_factor, 1) if factored else LARGEST
    direction = of_adafactor.scale_by_factored_rms(decay_rate, step_offset, min_dim, epsilon)
    return restate(direction, of_adafactor.ScaleByFactoredRmsState)


# ---- Adam's family ----


@optax_transformation
def scale_by_adam(
    b1: Real = 0.9,
    b2: Real = 0.999,
    eps: Real = 1e-8,
    eps_root: Real = 0.0,
    mu_dtype: Any = None,
    *,
    nesterov: bool = False,
):
    direction = of_adam.scale_by_adam(b1, b2, eps, eps_root=eps_root, nesterov=nesterov)
    return restate(direction, of_adam.ScaleByAdamState, dtypes=dict(mu=mu_dtype))


@optax_transformation
def scale_by_adamax(b1: Real = 0.9, b2: Real = 0.999, eps: Real = 1e-8):
    direction = of_adamax.scale_by_adamax(b1, b2, 0.0, eps_max=eps)
    return restate(direction, of_adamax.ScaleByAdamaxState)


@optax_transformation
def scale_by_amsgrad(
    b1: Real = 0.9,
    b2: Real = 0.999,
    eps: Real = 1e-8,
    eps_root: Real = 0.0,
    mu_dtype: Any = None,
    bias_correction_mu: bool = True,
    bias_correction_nu: bool = True,
):
    leave_unless(bias_correction_nu=bias_correction_nu == bias_correction_mu)
    debias = bias_correction_mu
    direction = of_amsgrad.scale_by_amsgrad(b1, b2, eps, eps_root=eps_root, debias=debias, debias_first=debias)
    return restate(direction, of_amsgrad.ScaleByAmsgradState, dtypes=dict(mu=mu_dtype))


@optax_transformation
def scale_by_sign():
    return stateless_member(of_sign.scale_by_sign())


@optax_transformation
def scale_by_lion(
    b1: Real = 0.9,
    b2: Real = 0.99,
    mu_dtype: Any = None,
    *,
    mode: Literal["hard", "smooth", "refined"] = "hard",
    smooth_beta: Real = 1.0,
):
    leave_unless(mode=mode == "hard")
    return restate(of_sign.scale_by_lion(b1, b2), of_sign.ScaleByLionState, dtypes=dict(mu=mu_dtype))


# ---- frozen ----


@optax_transformation
def freeze(mask: AnyMask):
    return masked(set_to_zero(), mask)


@optax_transformation
def selective_transform(optimizer: optax.GradientTransformation, *, freeze_mask: AnyMask):
    def labels(params: Any) -> Any:
        frozen = chosen_by(freeze_mask, params)
        structure = jax.tree.structure(params, is_leaf=is_none)
        return structure.unflatten(["freeze" if one else "train" for one in frozen])

    return partition({"train": optimizer, "freeze": set_to_zero()}, labels)
