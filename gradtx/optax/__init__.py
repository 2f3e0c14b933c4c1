"""Optax's names, signatures and defaults, made of gradtx: `import gradtx.optax as optax`, and a program goes on.

What gradtx has is gradtx's: a value, printed as it was called, fused in chains, compiled once for all its numbers. It
keeps its state in Optax's own types, so that what programs read of a state stays where it was, and saved states fit.
What gradtx lacks is Optax's own object: losses, projections, functions of trees; `docs/optax_names.md` says which is
which, and why. An argument for which gradtx has nothing (`mode` of `lion`), or a number beyond gradtx's ranges (a
negative rate), makes a value of Optax's own transformation. `mu_dtype` and `accumulator_dtype` of 16 bits are
`gradtx.hold`.

What differs, on purpose:

- moments, and copies of parameters, are in at least float32 whatever the parameters are in, unless a `mu_dtype` says
  otherwise, and formulas compute in at least float32: what a moment in bfloat16 is multiplied by is not rounded to
  bfloat16 first;
- where 64-bit types are on, schedules compute in float64;
- a complex array is a pair of real ones, in `adam` as elsewhere in gradtx;
- a state of another optimizer, a gradient of another shape, a whole number that would be updated, and a misspelled
  argument are refused, with gradtx's messages; `apply_updates` leaves alone what has None for its update;
- under a mask, each array that is not meant has a `MaskedNode` in the state, also where the mask has one False for all;
- `contrib.reduce_on_plateau` does not take a worse value for a better one where values are negative;
- the share of an average that `adafactor` keeps is computed in the dtype of the rest, and is 0 up to `decay_offset`,
  where Optax's is NaN; `contrib.muon` takes its coefficients from its arguments, not from its state;
- `contrib.normalize` and `normalize_by_update_norm` leave zeros as they are, and `adaptive_grad_clip` keeps bounds
  below 1e-6 too;
- `lbfgs` leaves out pairs without curvature, for which zeros stand in its state; a line search whose last step was 0
  starts anew, and an extra argument that its loss does not take is ignored;
- `contrib.sam` with a `sync_period` of 1 steps from the parameters of now, where Optax's, if it is not opaque, does
  from those before.
"""

import sys
from typing import Any

import optax as original_optax

from gradtx.optax import contrib, schedules, transforms
from gradtx.optax.blocks import (
    add_decayed_weights,
    clip,
    clip_by_block_rms,
    clip_by_global_norm,
    ema,
    freeze,
    identity,
    scale,
    scale_by_adadelta,
    scale_by_adam,
    scale_by_adamax,
    scale_by_amsgrad,
    scale_by_factored_rms,
    scale_by_learning_rate,
    scale_by_lion,
    scale_by_param_block_norm,
    scale_by_param_block_rms,
    scale_by_rms,
    scale_by_rss,
    scale_by_schedule,
    scale_by_sign,
    scale_by_stddev,
    selective_transform,
    set_to_zero,
    trace,
)
from gradtx.optax.conditions import apply_every, conditionally_mask, conditionally_transform, snapshot
from gradtx.optax.distance_free import polyak_sgd, scale_by_distance_over_gradients, scale_by_polyak
from gradtx.optax.front import (
    add_noise,
    centralize,
    noisy_sgd,
    optimistic_adam,
    optimistic_adam_v2,
    optimistic_gradient_descent,
    scale_by_optimistic_gradient,
    zero_nans,
)
from gradtx.optax.frontier import rprop, scale_by_rprop
from gradtx.optax.hyperparams import inject_hyperparams, inject_stateful_hyperparams
from gradtx.optax.kin import (
    adabelief,
    adan,
    novograd,
    radam,
    scale_by_adan,
    scale_by_belief,
    scale_by_novograd,
    scale_by_radam,
    scale_by_yogi,
    yogi,
)
from gradtx.optax.loop import apply_updates, global_norm
from gradtx.optax.maxima import scale_by_sm3, sm3
from gradtx.optax.optimizers import (
    adadelta,
    adafactor,
    adagrad,
    adam,
    adamax,
    adamaxw,
    adamw,
    amsgrad,
    lion,
    nadam,
    nadamw,
    rmsprop,
    sgd,
    sign_sgd,
    signum,
)
from gradtx.optax.other_trees import flatten
from gradtx.optax.private import (
    differentially_private_aggregate,
    dpsgd,
    per_example_global_norm_clip,
    per_example_layer_norm_clip,
)
from gradtx.optax.schedules import (
    constant_schedule,
    cosine_decay_schedule,
    cosine_onecycle_schedule,
    exponential_decay,
    join_schedules,
    linear_onecycle_schedule,
    linear_schedule,
    piecewise_constant_schedule,
    piecewise_interpolate_schedule,
    polynomial_schedule,
    sgdr_schedule,
    warmup_constant_schedule,
    warmup_cosine_decay_schedule,
    warmup_exponential_decay_schedule,
)
from gradtx.optax.searches import lbfgs, scale_by_backtracking_linesearch, scale_by_lbfgs, scale_by_zoom_linesearch
from gradtx.optax.two_speeds import lookahead
from gradtx.optax.weights import (
    adaptive_grad_clip,
    fromage,
    keep_params_nonnegative,
    lamb,
    lars,
    normalize_by_update_norm,
    scale_by_trust_ratio,
)
from gradtx.optax.wrappers import MultiSteps, apply_if_finite, chain, masked, named_chain, partition

multi_transform = partition  # Optax has two names for it

__all__ = [
    "MultiSteps",
    "adabelief",
    "adadelta",
    "adafactor",
    "adagrad",
    "adam",
    "adamax",
    "adamaxw",
    "adamw",
    "adan",
    "adaptive_grad_clip",
    "add_decayed_weights",
    "add_noise",
    "amsgrad",
    "apply_every",
    "apply_if_finite",
    "apply_updates",
    "centralize",
    "chain",
    "clip",
    "clip_by_block_rms",
    "clip_by_global_norm",
    "conditionally_mask",
    "conditionally_transform",
    "constant_schedule",
    "contrib",
    "cosine_decay_schedule",
    "cosine_onecycle_schedule",
    "differentially_private_aggregate",
    "dpsgd",
    "ema",
    "exponential_decay",
    "flatten",
    "freeze",
    "fromage",
    "global_norm",
    "identity",
    "inject_hyperparams",
    "inject_stateful_hyperparams",
    "join_schedules",
    "keep_params_nonnegative",
    "lamb",
    "lars",
    "lbfgs",
    "linear_onecycle_schedule",
    "linear_schedule",
    "lion",
    "lookahead",
    "masked",
    "multi_transform",
    "nadam",
    "nadamw",
    "named_chain",
    "noisy_sgd",
    "normalize_by_update_norm",
    "novograd",
    "optimistic_adam",
    "optimistic_adam_v2",
    "optimistic_gradient_descent",
    "partition",
    "per_example_global_norm_clip",
    "per_example_layer_norm_clip",
    "piecewise_constant_schedule",
    "piecewise_interpolate_schedule",
    "polyak_sgd",
    "polynomial_schedule",
    "radam",
    "rmsprop",
    "rprop",
    "scale",
    "scale_by_adadelta",
    "scale_by_adam",
    "scale_by_adamax",
    "scale_by_adan",
    "scale_by_amsgrad",
    "scale_by_backtracking_linesearch",
    "scale_by_belief",
    "scale_by_distance_over_gradients",
    "scale_by_factored_rms",
    "scale_by_lbfgs",
    "scale_by_learning_rate",
    "scale_by_lion",
    "scale_by_novograd",
    "scale_by_optimistic_gradient",
    "scale_by_param_block_norm",
    "scale_by_param_block_rms",
    "scale_by_polyak",
    "scale_by_radam",
    "scale_by_rms",
    "scale_by_rprop",
    "scale_by_rss",
    "scale_by_schedule",
    "scale_by_sign",
    "scale_by_sm3",
    "scale_by_stddev",
    "scale_by_trust_ratio",
    "scale_by_yogi",
    "scale_by_zoom_linesearch",
    "schedules",
    "selective_transform",
    "set_to_zero",
    "sgd",
    "sgdr_schedule",
    "sign_sgd",
    "signum",
    "sm3",
    "snapshot",
    "trace",
    "transforms",
    "warmup_constant_schedule",
    "warmup_cosine_decay_schedule",
    "warmup_exponential_decay_schedule",
    "yogi",
    "zero_nans",
]


# What gradtx lacks is found by `import gradtx.optax.losses` too.
_public = {f"gradtx.{name}": x for name, x in sys.modules.items() if name.startswith("optax.") and "._" not in name}
sys.modules.update({name: x for name, x in _public.items() if name not in sys.modules})


def __getattr__(name: str) -> Any:  # what gradtx lacks
    try:
        return getattr(original_optax, name)
    except AttributeError:
        raise AttributeError(f"module 'gradtx.optax' has no attribute {name!r}, nor has Optax") from None


def __dir__() -> list[str]:
    return sorted({*dir(original_optax), *globals()})
