"""gradtx: composable gradient transformations for JAX. An optimizer is a value."""

from gradtx.core.apply import apply_updates
from gradtx.core.combine import chain, identity
from gradtx.core.lift import per_array, scaling, stateless
from gradtx.core.recipe import Decay, Fraction, NonNegative, Positive, Scalar, Steps
from gradtx.core.transformation import (
    ScheduledState,
    Transformation,
    composition,
    extra_for,
    hyperparameters,
    transformation,
)
from gradtx.core.tree import global_norm
from gradtx.curvature import (
    condition_number,
    convergence_factor,
    hvp,
    largest_eigenvalue,
    max_learning_rate,
    smallest_eigenvalue,
)
from gradtx.optimizers.adam import ScaleByAdamState, adam, adamw, scale_by_adam
from gradtx.optimizers.lbfgs import ScaleByLbfgsState, lbfgs, scale_by_lbfgs
from gradtx.optimizers.newton import newton, scale_by_newton
from gradtx.optimizers.rmsprop import rmsprop
from gradtx.optimizers.sgd import sgd
from gradtx.schedules.decay import constant, cosine, exponential, linear
from gradtx.schedules.value import Schedule, schedule
from gradtx.schedules.warmup import warmup
from gradtx.transforms.clip import clip_by_global_norm, clip_by_norm, clip_by_value
from gradtx.transforms.conjugate import conjugate
from gradtx.transforms.decay import add_decayed_weights
from gradtx.transforms.linesearch import scale_by_zoom_linesearch
from gradtx.transforms.momentum import (
    BiasCorrectionState,
    EmaState,
    ScaleByMomentumState,
    bias_correction,
    ema,
    scale_by_momentum,
)
from gradtx.transforms.rate import ScaleByLearningRateState, scale, scale_by_learning_rate
from gradtx.transforms.rms import ScaleByRmsState, scale_by_rms

__all__ = [  # noqa: RUF022  # in reading order
    # Using an optimizer
    "Transformation",
    "apply_updates",
    "hyperparameters",
    # Optimizers
    "sgd",
    "rmsprop",
    "adam",
    "adamw",
    "lbfgs",
    "newton",
    # Putting one together
    "chain",
    "identity",
    # Its blocks
    "scale",
    "scale_by_learning_rate",
    "scale_by_momentum",
    "ema",
    "bias_correction",
    "scale_by_rms",
    "scale_by_adam",
    "scale_by_lbfgs",
    "scale_by_newton",
    "scale_by_zoom_linesearch",
    "clip_by_value",
    "clip_by_norm",
    "clip_by_global_norm",
    "add_decayed_weights",
    "conjugate",
    # Schedules
    "Schedule",
    "constant",
    "linear",
    "exponential",
    "cosine",
    "warmup",
    # Curvature
    "hvp",
    "largest_eigenvalue",
    "smallest_eigenvalue",
    "condition_number",
    "max_learning_rate",
    "convergence_factor",
    # Writing a new one
    "transformation",
    "composition",
    "schedule",
    "stateless",
    "per_array",
    "scaling",
    "global_norm",
    "extra_for",
    "Scalar",
    "Positive",
    "NonNegative",
    "Fraction",
    "Decay",
    "Steps",
    # States
    "ScheduledState",
    "ScaleByLearningRateState",
    "ScaleByMomentumState",
    "EmaState",
    "BiasCorrectionState",
    "ScaleByRmsState",
    "ScaleByAdamState",
    "ScaleByLbfgsState",
]
