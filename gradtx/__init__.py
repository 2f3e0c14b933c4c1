"""gradtx: composable gradient transformations for JAX. An optimizer is a value."""

from gradtx.checkpoints.flat import from_flat, to_flat
from gradtx.checkpoints.of_optax import from_optax, to_optax
from gradtx.checkpoints.of_torch import from_torch
from gradtx.config.read import from_config
from gradtx.config.write import to_config
from gradtx.core.apply import apply_updates
from gradtx.core.collectives import total
from gradtx.core.combine import chain, identity, parallel
from gradtx.core.count import ScheduledState
from gradtx.core.factories import composition, transformation
from gradtx.core.lift import per_array, scaling, stateless
from gradtx.core.transformation import Transformation, extra_for
from gradtx.core.tree import global_norm
from gradtx.curvature import (
    condition_number,
    convergence_factor,
    hvp,
    largest_eigenvalue,
    max_learning_rate,
    smallest_eigenvalue,
)
from gradtx.devices.across import across
from gradtx.devices.layout import state_shardings
from gradtx.devices.offload import offload
from gradtx.devices.zero import zero_redundancy
from gradtx.inspect.describe import describe
from gradtx.inspect.explain import explain
from gradtx.inspect.hyperparameters import controlled, hyperparameters, set_hyperparameters
from gradtx.inspect.state import find, metrics
from gradtx.inspect.summary import summary
from gradtx.optimizers.adadelta import ScaleByAdadeltaState, adadelta, scale_by_adadelta
from gradtx.optimizers.adagrad import ScaleByRssState, adagrad, scale_by_rss
from gradtx.optimizers.adam import ScaleByAdamState, adam, adamw, scale_by_adam
from gradtx.optimizers.adamax import ScaleByAdamaxState, adamax, scale_by_adamax
from gradtx.optimizers.amsgrad import ScaleByAmsgradState, amsgrad, scale_by_amsgrad
from gradtx.optimizers.lbfgs import ScaleByLbfgsState, lbfgs, scale_by_lbfgs
from gradtx.optimizers.nadam import ScaleByNadamState, nadam, nadamw, scale_by_nadam
from gradtx.optimizers.newton import newton, scale_by_newton
from gradtx.optimizers.rmsprop import rmsprop
from gradtx.optimizers.sgd import sgd
from gradtx.optimizers.sign import ScaleByLionState, lion, scale_by_lion, scale_by_sign, sign_sgd
from gradtx.schedules.cycles import cosine_restarts, cyclic, one_cycle, one_cycle_momentum
from gradtx.schedules.decay import exponential, inverse_sqrt, inverse_time, power
from gradtx.schedules.epochs import per_epoch
from gradtx.schedules.pieces import piecewise_constant, step
from gradtx.schedules.ramp import constant, cosine, linear, polynomial
from gradtx.schedules.value import Schedule, schedule
from gradtx.schedules.warmup import warmup, warmup_stable_decay
from gradtx.selectors import Selector, by, by_ndim, by_path, by_tree, maybe
from gradtx.transforms.average import AverageParametersState, average_parameters, evaluation_parameters
from gradtx.transforms.clip import ClipState, clip_by_global_norm, clip_by_group_norm, clip_by_norm, clip_by_value
from gradtx.transforms.conjugate import conjugate
from gradtx.transforms.decay import add_decayed_weights, add_sign_decay
from gradtx.transforms.factors import scale_by_tree
from gradtx.transforms.layers import layerwise
from gradtx.transforms.linesearch import ScaleByZoomLinesearchState, scale_by_zoom_linesearch
from gradtx.transforms.momentum import (
    BiasCorrectionState,
    EmaState,
    ScaleByMomentumState,
    bias_correction,
    ema,
    scale_by_momentum,
)
from gradtx.transforms.plateau import ReduceOnPlateauState, reduce_on_plateau
from gradtx.transforms.project import constrain_norm, soft_threshold, sparsity
from gradtx.transforms.rate import ScaleByLearningRateState, scale, scale_by_learning_rate, square
from gradtx.transforms.record import RecordState, record
from gradtx.transforms.rms import ScaleByRmsState, scale_by_rms
from gradtx.transforms.stopping import EarlyStoppingState, best_parameters, early_stopping
from gradtx.values.annotations import Bound, Decay, Fraction, Natural, NonNegative, Positive, Scalar, Steps
from gradtx.wrappers.accumulate import AccumulateState, accumulate, has_updated
from gradtx.wrappers.flush import flush
from gradtx.wrappers.guard import SkipNonfiniteState, SkipSpikesState, skip_nonfinite, skip_spikes
from gradtx.wrappers.select import MaskedState, freeze, masked, only, partition
from gradtx.wrappers.when import EveryState, SwitchState, every, switch

__all__ = [  # noqa: RUF022  # in reading order
    # Using an optimizer
    "Transformation",
    "apply_updates",
    # Optimizers
    "sgd",
    "adagrad",
    "rmsprop",
    "adadelta",
    "adam",
    "adamw",
    "nadam",
    "nadamw",
    "adamax",
    "amsgrad",
    "sign_sgd",
    "lion",
    "lbfgs",
    "newton",
    # Hyperparameters
    "hyperparameters",
    "set_hyperparameters",
    "controlled",
    # Inspection
    "describe",
    "summary",
    "explain",
    # State queries
    "find",
    "metrics",
    "record",
    # Serialization
    "to_config",
    "from_config",
    # Checkpoints
    "to_flat",
    "from_flat",
    "from_optax",
    "to_optax",
    "from_torch",
    # Combining
    "chain",
    "parallel",
    "identity",
    # Masking and partitioning
    "Selector",
    "by_path",
    "by_ndim",
    "by",
    "by_tree",
    "maybe",
    "masked",
    "only",
    "freeze",
    "partition",
    # Accumulation and guards
    "accumulate",
    "flush",
    "has_updated",
    "every",
    "switch",
    "skip_nonfinite",
    "skip_spikes",
    # On many devices
    "state_shardings",
    "across",
    "zero_redundancy",
    "offload",
    # Building blocks
    "square",
    "scale",
    "scale_by_tree",
    "layerwise",
    "scale_by_learning_rate",
    "scale_by_momentum",
    "ema",
    "bias_correction",
    "scale_by_rms",
    "scale_by_rss",
    "scale_by_adadelta",
    "scale_by_adam",
    "scale_by_nadam",
    "scale_by_adamax",
    "scale_by_amsgrad",
    "scale_by_sign",
    "scale_by_lion",
    "scale_by_lbfgs",
    "scale_by_newton",
    "scale_by_zoom_linesearch",
    "clip_by_value",
    "clip_by_norm",
    "clip_by_global_norm",
    "clip_by_group_norm",
    "add_decayed_weights",
    "add_sign_decay",
    "soft_threshold",
    "sparsity",
    "constrain_norm",
    "conjugate",
    "average_parameters",
    "evaluation_parameters",
    # Measurement-driven
    "reduce_on_plateau",
    "early_stopping",
    "best_parameters",
    # Schedules
    "Schedule",
    "constant",
    "linear",
    "polynomial",
    "cosine",
    "exponential",
    "power",
    "inverse_time",
    "inverse_sqrt",
    "step",
    "piecewise_constant",
    "warmup",
    "warmup_stable_decay",
    "one_cycle",
    "one_cycle_momentum",
    "cyclic",
    "cosine_restarts",
    "per_epoch",
    # Curvature
    "hvp",
    "largest_eigenvalue",
    "smallest_eigenvalue",
    "condition_number",
    "max_learning_rate",
    "convergence_factor",
    # Writing your own
    "transformation",
    "composition",
    "schedule",
    "stateless",
    "per_array",
    "scaling",
    "global_norm",
    "total",
    "extra_for",
    "Scalar",
    "Positive",
    "Bound",
    "NonNegative",
    "Fraction",
    "Decay",
    "Steps",
    "Natural",
    # States
    "ScheduledState",
    "MaskedState",
    "ClipState",
    "RecordState",
    "AccumulateState",
    "EveryState",
    "SwitchState",
    "SkipNonfiniteState",
    "SkipSpikesState",
    "ScaleByLearningRateState",
    "ScaleByMomentumState",
    "EmaState",
    "BiasCorrectionState",
    "ScaleByRmsState",
    "ScaleByRssState",
    "ScaleByAdadeltaState",
    "ScaleByAdamState",
    "ScaleByNadamState",
    "ScaleByAdamaxState",
    "ScaleByAmsgradState",
    "ScaleByLionState",
    "ReduceOnPlateauState",
    "EarlyStoppingState",
    "AverageParametersState",
    "ScaleByLbfgsState",
    "ScaleByZoomLinesearchState",
]
