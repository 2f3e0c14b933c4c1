"""Optax's names, signatures and defaults, made of gradtx: `import gradtx.optax as optax`, and a program goes on.

What gradtx has is gradtx's: a value, printed as it was called, fused in chains, compiled once for all its numbers. It
keeps its state in Optax's own types, so that what programs read of a state stays where it was, and saved states fit.
What gradtx lacks is Optax's own object: losses, projections, other optimizers; `docs/optax_names.md` says which is
which. An argument for which gradtx has nothing (`mu_dtype`), or a number beyond gradtx's ranges (a negative rate),
makes a value of Optax's own transformation.

What differs, on purpose:

- moments are in at least float32 whatever the parameters are in, and formulas compute in at least float32;
- a complex array is a pair of real ones, in `adam` as elsewhere in gradtx;
- a state of another optimizer, a gradient of another shape, a whole number that would be updated, and a misspelled
  argument are refused, with gradtx's messages; `apply_updates` leaves alone what has None for its update;
- under a mask, each array that is not meant has a `MaskedNode` in the state, also where the mask has one False for all;
- `contrib.reduce_on_plateau` does not take a worse value for a better one where values are negative;
- `lbfgs` leaves out pairs without curvature, and has a field more in its state: where the next pair goes.
"""

import sys
from typing import Any

import optax as original_optax

from gradtx.optax import contrib, schedules, transforms
from gradtx.optax.blocks import (
    add_decayed_weights,
    clip,
    clip_by_global_norm,
    ema,
    freeze,
    identity,
    scale,
    scale_by_adadelta,
    scale_by_adam,
    scale_by_adamax,
    scale_by_amsgrad,
    scale_by_learning_rate,
    scale_by_lion,
    scale_by_rms,
    scale_by_rss,
    scale_by_schedule,
    scale_by_sign,
    scale_by_stddev,
    selective_transform,
    set_to_zero,
    trace,
)
from gradtx.optax.hyperparams import inject_hyperparams
from gradtx.optax.loop import apply_updates, global_norm
from gradtx.optax.optimizers import (
    adadelta,
    adagrad,
    adam,
    adamax,
    adamaxw,
    adamw,
    amsgrad,
    lbfgs,
    lion,
    nadam,
    nadamw,
    rmsprop,
    sgd,
    sign_sgd,
    signum,
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
from gradtx.optax.wrappers import MultiSteps, apply_if_finite, chain, masked, named_chain, partition

multi_transform = partition  # Optax has two names for it

__all__ = [
    "MultiSteps",
    "adadelta",
    "adagrad",
    "adam",
    "adamax",
    "adamaxw",
    "adamw",
    "add_decayed_weights",
    "amsgrad",
    "apply_if_finite",
    "apply_updates",
    "chain",
    "clip",
    "clip_by_global_norm",
    "constant_schedule",
    "contrib",
    "cosine_decay_schedule",
    "cosine_onecycle_schedule",
    "ema",
    "exponential_decay",
    "freeze",
    "global_norm",
    "identity",
    "inject_hyperparams",
    "join_schedules",
    "lbfgs",
    "linear_onecycle_schedule",
    "linear_schedule",
    "lion",
    "masked",
    "multi_transform",
    "nadam",
    "nadamw",
    "named_chain",
    "partition",
    "piecewise_constant_schedule",
    "piecewise_interpolate_schedule",
    "polynomial_schedule",
    "rmsprop",
    "scale",
    "scale_by_adadelta",
    "scale_by_adam",
    "scale_by_adamax",
    "scale_by_amsgrad",
    "scale_by_learning_rate",
    "scale_by_lion",
    "scale_by_rms",
    "scale_by_rss",
    "scale_by_schedule",
    "scale_by_sign",
    "scale_by_stddev",
    "schedules",
    "selective_transform",
    "set_to_zero",
    "sgd",
    "sgdr_schedule",
    "sign_sgd",
    "signum",
    "trace",
    "transforms",
    "warmup_constant_schedule",
    "warmup_cosine_decay_schedule",
    "warmup_exponential_decay_schedule",
]


# What gradtx lacks is found by `import gradtx.optax.losses` too.
_public = {f"gradtx.{name}": x for name, x in sys.modules.items() if name.startswith("optax.") and "._" not in name}
sys.modules.update({name: x for name, x in _public.items() if name not in sys.modules})


def __getattr__(name: str) -> Any:  # what gradtx lacks
    return getattr(original_optax, name)


def __dir__() -> list[str]:
    return sorted({*dir(original_optax), *globals()})
