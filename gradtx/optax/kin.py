"""Optax's kin of Adam: signatures, defaults and states as there, made of gradtx's members."""

from typing import Any

import optax

from gradtx.checkpoints.optax_row import OptaxRow, always
from gradtx.core.factories import transformation
from gradtx.optax.blocks import add_decayed_weights, scale_by_learning_rate
from gradtx.optax.borrow import Real, leave_unless, optax_transformation
from gradtx.optax.states import restate
from gradtx.optax.trees import OptionalMask
from gradtx.optax.wrappers import chain
from gradtx.optimizers import adan as of_adan
from gradtx.optimizers import belief as of_belief
from gradtx.optimizers import novograd as of_novograd
from gradtx.optimizers import radam as of_radam
from gradtx.optimizers import yogi as of_yogi
from gradtx.values.annotations import Decay, NonNegative


@optax_transformation
def scale_by_belief(
    b1: Real = 0.9, b2: Real = 0.999, eps: Real = 1e-16, eps_root: Real = 1e-16, *, nesterov: bool = False
):
    direction = of_belief.scale_by_belief(b1, b2, eps, eps_root, nesterov=nesterov)
    return restate(direction, of_belief.ScaleByBeliefState)


@optax_transformation
def adabelief(
    learning_rate: Real,
    b1: Real = 0.9,
    b2: Real = 0.999,
    eps: Real = 1e-16,
    eps_root: Real = 1e-16,
    *,
    nesterov: bool = False,
):
    return chain(scale_by_belief(b1, b2, eps, eps_root, nesterov=nesterov), scale_by_learning_rate(learning_rate))


@optax_transformation
def scale_by_acprop(b1: Real = 0.9, b2: Real = 0.999, eps: Real = 1e-16, eps_root: Real = 1e-16):
    direction = of_belief.scale_by_acprop(b1, b2, eps, eps_root=eps_root)
    return restate(direction, of_belief.ScaleByBeliefState)


@optax_transformation
def acprop(
    learning_rate: Real,
    b1: Real = 0.9,
    b2: Real = 0.999,
    eps: Real = 1e-16,
    eps_root: Real = 1e-16,
    weight_decay: Real = 0.0,
    mask: OptionalMask = None,
):
    decay = add_decayed_weights(weight_decay, mask)
    return chain(scale_by_acprop(b1, b2, eps, eps_root), decay, scale_by_learning_rate(learning_rate))


@optax_transformation
def scale_by_yogi(
    b1: Real = 0.9,
    b2: Real = 0.999,
    eps: Real = 1e-3,
    eps_root: Real = 0.0,
    initial_accumulator_value: Real = 1e-6,
):
    direction = of_yogi.scale_by_yogi(b1, b2, eps, eps_root=eps_root, initial=initial_accumulator_value)
    return restate(direction, of_yogi.ScaleByYogiState)


@optax_transformation
def yogi(learning_rate: Real, b1: Real = 0.9, b2: Real = 0.999, eps: Real = 1e-3):
    return chain(scale_by_yogi(b1, b2, eps), scale_by_learning_rate(learning_rate))


@optax_transformation
def scale_by_radam(
    b1: Real = 0.9,
    b2: Real = 0.999,
    eps: Real = 1e-8,
    eps_root: Real = 0.0,
    threshold: Real = 5.0,
    *,
    nesterov: bool = False,
):
    leave_unless(nesterov=not nesterov)
    direction = of_radam.scale_by_radam(b1, b2, eps, threshold, eps_root=eps_root)
    return restate(direction, of_radam.ScaleByRadamState)


@optax_transformation
def radam(
    learning_rate: Real,
    b1: Real = 0.9,
    b2: Real = 0.999,
    eps: Real = 1e-8,
    eps_root: Real = 0.0,
    threshold: Real = 5.0,
    *,
    nesterov: bool = False,
):
    direction = scale_by_radam(b1, b2, eps, eps_root, threshold, nesterov=nesterov)
    return chain(direction, scale_by_learning_rate(learning_rate))


@transformation
def scale_by_differences(b1: Decay, b2: Decay, b3: Decay, eps: NonNegative, eps_root: NonNegative):
    """Adan with Optax's factor of the differences."""
    return of_adan.weigh_differences(1.0 - b2, b1, b2, b3, eps, eps_root)


ADAN = OptaxRow(always(optax.ScaleByAdanState), renamed=dict(count="t"))  # for Optax's factor alone


@optax_transformation
def scale_by_adan(b1: Real = 0.98, b2: Real = 0.92, b3: Real = 0.99, eps: Real = 1e-8, eps_root: Real = 0.0):
    direction = scale_by_differences(b1, b2, b3, eps, eps_root)
    return restate(direction, of_adan.ScaleByAdanState, ADAN)


@optax_transformation
def adan(
    learning_rate: Real,
    b1: Real = 0.98,
    b2: Real = 0.92,
    b3: Real = 0.99,
    eps: Real = 1e-8,
    eps_root: Real = 1e-8,
    weight_decay: Real = 0.0,
    mask: OptionalMask = None,
):
    decay = add_decayed_weights(weight_decay, mask)
    return chain(scale_by_adan(b1, b2, b3, eps, eps_root), decay, scale_by_learning_rate(learning_rate))


@optax_transformation
def scale_by_novograd(
    b1: Real = 0.9,
    b2: Real = 0.25,
    eps: Real = 1e-8,
    eps_root: Real = 0.0,
    weight_decay: Real = 0.0,
    mu_dtype: Any = None,
):
    direction = of_novograd.scale_by_novograd(b1, b2, eps, eps_root=eps_root, weight_decay=weight_decay)
    return restate(direction, of_novograd.ScaleByNovogradState, dtypes=dict(mu=mu_dtype))


@optax_transformation
def novograd(
    learning_rate: Real,
    b1: Real = 0.9,
    b2: Real = 0.25,
    eps: Real = 1e-6,
    eps_root: Real = 0.0,
    weight_decay: Real = 0.0,
):
    direction = scale_by_novograd(b1, b2, eps, eps_root, weight_decay)
    return chain(direction, scale_by_learning_rate(learning_rate))
