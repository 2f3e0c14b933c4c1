"""Optax's rules that relate updates to the parameters: signatures, defaults and states as there."""

from gradtx.optax.blocks import add_decayed_weights, scale_by_adam, scale_by_learning_rate, trace
from gradtx.optax.borrow import Real, leave_unless, optax_transformation
from gradtx.optax.states import stateless_member
from gradtx.optax.trees import AnyMask, OptionalMask
from gradtx.optax.wrappers import chain, masked
from gradtx.optimizers.layerwise_rates import renormalize
from gradtx.transforms import normalize as of_normalize
from gradtx.transforms import project as of_project
from gradtx.transforms import relative as of_relative


@optax_transformation
def scale_by_trust_ratio(min_norm: Real = 0.0, trust_coefficient: Real = 1.0, eps: Real = 0.0):
    return stateless_member(of_relative.trust_ratio(trust_coefficient, min_norm, eps))


@optax_transformation
def adaptive_grad_clip(clipping: Real, eps: Real = 1e-3, axis: int | tuple[int, ...] | None = None):
    return stateless_member(of_relative.adaptive_grad_clip(clipping, eps, axis))


@optax_transformation
def normalize_by_update_norm(scale_factor: Real = 1.0, eps: Real = 1e-6):
    return of_normalize.over_norm(eps, scale_factor)


@optax_transformation
def normalize():
    return of_normalize.over_norm(0.0)


@optax_transformation
def keep_params_nonnegative():
    return stateless_member(of_project.keep_nonnegative())


@optax_transformation
def lamb(
    learning_rate: Real,
    b1: Real = 0.9,
    b2: Real = 0.999,
    eps: Real = 1e-6,
    eps_root: Real = 0.0,
    weight_decay: Real = 0.0,
    mask: OptionalMask = None,
):
    return chain(
        scale_by_adam(b1, b2, eps, eps_root),
        add_decayed_weights(weight_decay, mask),
        scale_by_trust_ratio(),
        scale_by_learning_rate(learning_rate),
    )


@optax_transformation
def lars(
    learning_rate: Real,
    weight_decay: Real = 0.0,
    weight_decay_mask: OptionalMask = True,
    trust_coefficient: Real = 0.001,
    eps: Real = 0.0,
    trust_ratio_mask: AnyMask = True,
    momentum: Real = 0.9,
    nesterov: bool = False,
):
    return chain(
        add_decayed_weights(weight_decay, weight_decay_mask),
        masked(scale_by_trust_ratio(trust_coefficient=trust_coefficient, eps=eps), trust_ratio_mask),
        scale_by_learning_rate(learning_rate),
        trace(momentum, nesterov),
    )


@optax_transformation
def fromage(learning_rate: Real, min_norm: Real = 1e-6):
    leave_unless(learning_rate=not callable(learning_rate))
    direction = scale_by_trust_ratio(min_norm)
    return chain(direction, scale_by_learning_rate(learning_rate), renormalize(learning_rate))
