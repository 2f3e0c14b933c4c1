"""Optax's optimizers: signatures and defaults as there, made of the blocks in `blocks.py`."""

from typing import Any

import jax.numpy as jnp

from gradtx.optax.blocks import (
    add_decayed_weights,
    clip_by_block_rms,
    ema,
    identity,
    scale,
    scale_by_adadelta,
    scale_by_adam,
    scale_by_adamax,
    scale_by_amsgrad,
    scale_by_factored_rms,
    scale_by_learning_rate,
    scale_by_lion,
    scale_by_param_block_rms,
    scale_by_rms,
    scale_by_rss,
    scale_by_sign,
    scale_by_stddev,
    trace,
)
from gradtx.optax.borrow import Fixed, Real, StepCount, is_float32, leave_unless, optax_transformation
from gradtx.optax.trees import OptionalMask
from gradtx.optax.wrappers import chain


@optax_transformation
def sgd(
    learning_rate: Real,
    momentum: Real | None = None,
    nesterov: bool = False,
    accumulator_dtype: Any = None,
):
    velocity = identity() if momentum is None else trace(momentum, nesterov, accumulator_dtype)
    return chain(velocity, scale_by_learning_rate(learning_rate))


@optax_transformation
def adagrad(learning_rate: Real, initial_accumulator_value: Real = 0.1, eps: Real = 1e-7):
    return chain(scale_by_rss(initial_accumulator_value, eps), scale_by_learning_rate(learning_rate))


@optax_transformation
def rmsprop(
    learning_rate: Real,
    decay: Real = 0.9,
    eps: Real = 1e-8,
    initial_scale: Real = 0.0,
    eps_in_sqrt: bool = True,
    centered: bool = False,
    momentum: Real | None = None,
    nesterov: bool = False,
    bias_correction: bool = False,
):
    over = scale_by_stddev if centered else scale_by_rms
    velocity = identity() if momentum is None else trace(momentum, nesterov)
    direction = over(decay, eps, initial_scale, eps_in_sqrt, bias_correction)
    return chain(direction, scale_by_learning_rate(learning_rate), velocity)


@optax_transformation
def adadelta(
    learning_rate: Real | None = None,
    rho: Real = 0.9,
    eps: Real = 1e-6,
    weight_decay: Real = 0.0,
    weight_decay_mask: OptionalMask = None,
):
    decay = add_decayed_weights(weight_decay, weight_decay_mask)
    return chain(decay, scale_by_adadelta(rho, eps), scale_by_learning_rate(learning_rate))


@optax_transformation
def adafactor(
    learning_rate: Real | None = None,
    min_dim_size_to_factor: Fixed = 128,
    decay_rate: Real = 0.8,
    decay_offset: StepCount = 0,
    multiply_by_parameter_scale: bool = True,
    clipping_threshold: Real | None = 1.0,
    momentum: Real | None = None,
    dtype_momentum: Any = jnp.float32,
    weight_decay_rate: Real | None = None,
    eps: Real = 1e-30,
    factored: bool = True,
    weight_decay_mask: OptionalMask = None,
):
    leave_unless(dtype_momentum=momentum is None or is_float32(dtype_momentum))
    steps = [scale_by_factored_rms(factored, decay_rate, decay_offset, min_dim_size_to_factor, eps)]
    if clipping_threshold is not None:
        steps.append(clip_by_block_rms(clipping_threshold))
    if learning_rate is not None:
        steps.append(scale_by_learning_rate(learning_rate, flip_sign=False))
    if multiply_by_parameter_scale:
        steps.append(scale_by_param_block_rms())
    if momentum is not None:
        steps.append(ema(momentum, debias=False))
    if weight_decay_rate is not None:
        steps.append(add_decayed_weights(weight_decay_rate, weight_decay_mask))
    return chain(*steps, scale(-1))


@optax_transformation
def adam(
    learning_rate: Real,
    b1: Real = 0.9,
    b2: Real = 0.999,
    eps: Real = 1e-8,
    eps_root: Real = 0.0,
    mu_dtype: Any = None,
    *,
    nesterov: bool = False,
):
    direction = scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov)
    return chain(direction, scale_by_learning_rate(learning_rate))


@optax_transformation
def nadam(
    learning_rate: Real,
    b1: Real = 0.9,
    b2: Real = 0.999,
    eps: Real = 1e-8,
    eps_root: Real = 0.0,
    mu_dtype: Any = None,
    *,
    nesterov: bool = True,
):
    return adam(learning_rate, b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov)


@optax_transformation
def adamw(
    learning_rate: Real,
    b1: Real = 0.9,
    b2: Real = 0.999,
    eps: Real = 1e-8,
    eps_root: Real = 0.0,
    mu_dtype: Any = None,
    weight_decay: Real = 1e-4,
    mask: OptionalMask = None,
    *,
    nesterov: bool = False,
):
    direction = scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov)
    return chain(direction, add_decayed_weights(weight_decay, mask), scale_by_learning_rate(learning_rate))


@optax_transformation
def nadamw(
    learning_rate: Real,
    b1: Real = 0.9,
    b2: Real = 0.999,
    eps: Real = 1e-8,
    eps_root: Real = 0.0,
    mu_dtype: Any = None,
    weight_decay: Real = 1e-4,
    mask: OptionalMask = None,
    *,
    nesterov: bool = True,
):
    return adamw(learning_rate, b1, b2, eps, eps_root, mu_dtype, weight_decay, mask, nesterov=nesterov)


@optax_transformation
def adamax(learning_rate: Real, b1: Real = 0.9, b2: Real = 0.999, eps: Real = 1e-8):
    return chain(scale_by_adamax(b1, b2, eps), scale_by_learning_rate(learning_rate))


@optax_transformation
def adamaxw(
    learning_rate: Real,
    b1: Real = 0.9,
    b2: Real = 0.999,
    eps: Real = 1e-8,
    weight_decay: Real = 1e-4,
    mask: OptionalMask = None,
):
    decay = add_decayed_weights(weight_decay, mask)
    return chain(scale_by_adamax(b1, b2, eps), decay, scale_by_learning_rate(learning_rate))


@optax_transformation
def amsgrad(
    learning_rate: Real,
    b1: Real = 0.9,
    b2: Real = 0.999,
    eps: Real = 1e-8,
    eps_root: Real = 0.0,
    mu_dtype: Any = None,
    bias_correction_mu: bool = True,
    bias_correction_nu: bool = True,
):
    direction = scale_by_amsgrad(b1, b2, eps, eps_root, mu_dtype, bias_correction_mu, bias_correction_nu)
    return chain(direction, scale_by_learning_rate(learning_rate))


@optax_transformation
def sign_sgd(learning_rate: Real):
    return chain(scale_by_sign(), scale_by_learning_rate(learning_rate))


@optax_transformation
def signum(learning_rate: Real, beta: Real = 0.9, accumulator_dtype: Any = None):
    average = ema(beta, debias=False, accumulator_dtype=accumulator_dtype)
    return chain(average, scale_by_sign(), scale_by_learning_rate(learning_rate))


@optax_transformation
def lion(
    learning_rate: Real,
    b1: Real = 0.9,
    b2: Real = 0.99,
    mu_dtype: Any = None,
    weight_decay: Real = 1e-3,
    mask: OptionalMask = None,
):
    decay = add_decayed_weights(weight_decay, mask)
    return chain(scale_by_lion(b1, b2, mu_dtype), decay, scale_by_learning_rate(learning_rate))
