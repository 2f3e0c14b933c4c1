"""gradtx: composable gradient transformations for JAX. An optimizer is a value."""

import typing as _typing

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
from gradtx.matrices.adam_mini import ScaleByAdamMiniState, adam_mini, scale_by_adam_mini
from gradtx.matrices.apollo import ScaleByApolloState, apollo, scale_by_apollo
from gradtx.matrices.batch import per_matrix
from gradtx.matrices.coefficients import (
    jiacheng_coefficients,
    jordan_coefficients,
    modded_coefficients,
    newton_schulz_coefficients,
    polar_express,
)
from gradtx.matrices.dion import ScaleByDionState, dion, scale_by_dion
from gradtx.matrices.eigenbasis import InEigenbasisState, in_eigenbasis
from gradtx.matrices.factor import Factor, dual_factor, rms_factor, shape_factor, spectral_factor
from gradtx.matrices.galore import galore
from gradtx.matrices.graft import graft
from gradtx.matrices.kron import ScaleByKronState, fading, kron, scale_by_kron
from gradtx.matrices.muon import ScaleByRowsState, muon, normuon, scale_by_muon, scale_by_rows
from gradtx.matrices.orthogonalize import orthogonalize
from gradtx.matrices.shampoo import ScaleByShampooState, scale_by_shampoo, shampoo
from gradtx.matrices.soap import scale_by_soap, soap
from gradtx.matrices.subspace import InSubspaceState, in_subspace
from gradtx.matrices.views import View, matrices, over
from gradtx.optimizers.adadelta import ScaleByAdadeltaState, adadelta, scale_by_adadelta
from gradtx.optimizers.adafactor import ScaleByFactoredRmsState, adafactor, scale_by_factored_rms
from gradtx.optimizers.adagrad import ScaleByRssState, adagrad, scale_by_rss
from gradtx.optimizers.adam import ScaleByAdamState, adam, adamw, scale_by_adam
from gradtx.optimizers.adamax import ScaleByAdamaxState, adamax, adamaxw, scale_by_adamax
from gradtx.optimizers.adan import ScaleByAdanState, adan, scale_by_adan
from gradtx.optimizers.ademamix import (
    ScaleByAdemamixState,
    ScaleBySimplifiedAdemamixState,
    ademamix,
    scale_by_ademamix,
    scale_by_simplified_ademamix,
    simplified_ademamix,
)
from gradtx.optimizers.adopt import ScaleByAdoptState, adopt, scale_by_adopt
from gradtx.optimizers.amsgrad import ScaleByAmsgradState, amsgrad, scale_by_amsgrad
from gradtx.optimizers.ano import ScaleByAnoState, ano, scale_by_ano
from gradtx.optimizers.asgd import asgd
from gradtx.optimizers.belief import ScaleByBeliefState, acprop, adabelief, scale_by_acprop, scale_by_belief
from gradtx.optimizers.cocob import CocobState, cocob
from gradtx.optimizers.d_adaptation import DAdaptAdamwState, dadapt_adamw
from gradtx.optimizers.distance_over_gradients import (
    ScaleByDistanceState,
    ScaleByDogState,
    ScaleByDowgState,
    dog,
    dowg,
    scale_by_distance,
    scale_by_dog,
    scale_by_dowg,
)
from gradtx.optimizers.ftrl import FtrlState, ftrl
from gradtx.optimizers.hessian import HutchinsonState, gauss_newton, hutchinson
from gradtx.optimizers.laprop import laprop, scale_by_laprop
from gradtx.optimizers.layerwise_rates import fromage, lamb, lars, renormalize
from gradtx.optimizers.lbfgs import ScaleByLbfgsState, lbfgs, scale_by_lbfgs
from gradtx.optimizers.madgrad import MadgradState, madgrad
from gradtx.optimizers.momo import MomoAdamState, MomoState, momo, momo_adam
from gradtx.optimizers.nadam import ScaleByNadamState, nadam, nadamw, scale_by_nadam
from gradtx.optimizers.newton import newton, scale_by_newton
from gradtx.optimizers.noisy import dpsgd, noisy_sgd
from gradtx.optimizers.novograd import ScaleByNovogradState, novograd, scale_by_novograd
from gradtx.optimizers.optimistic import optimistic_adam, optimistic_gradient_descent
from gradtx.optimizers.polyak import polyak, scale_by_polyak
from gradtx.optimizers.prodigy import ProdigyState, prodigy
from gradtx.optimizers.radam import ScaleByRadamState, radam, scale_by_radam
from gradtx.optimizers.rmsprop import rmsprop
from gradtx.optimizers.rprop import ScaleByRpropState, rprop, scale_by_rprop
from gradtx.optimizers.sgd import sgd
from gradtx.optimizers.sign import ScaleByLionState, lion, scale_by_lion, scale_by_sign, sign_sgd, signum, tiger
from gradtx.optimizers.sm3 import ScaleBySm3State, scale_by_sm3, sm3
from gradtx.optimizers.sophia import ScaleBySophiaState, scale_by_sophia, sophia
from gradtx.optimizers.spam import ScaleBySpamState, scale_by_spam, spam
from gradtx.optimizers.stable import ScaleByStableAdamwState, scale_by_stable_adamw, stable_adamw
from gradtx.optimizers.yogi import ScaleByYogiState, scale_by_yogi, yogi
from gradtx.precision.codec import Codec, bfloat16, blocks, float8, float16, of_root
from gradtx.precision.hold import HoldState, hold
from gradtx.precision.levels import Levels, dynamic_levels, linear_levels
from gradtx.precision.loss_scale import ScaleLossState, loss_scale, scale_loss
from gradtx.precision.write_rounded import (
    WriteCompensatedState,
    WriteResidualState,
    WriteStochasticallyState,
    write_compensated,
    write_residual,
    write_stochastically,
)
from gradtx.precision.write_whole import WriteFromMasterState, WriteSplitState, write_from_master, write_split
from gradtx.schedules.cycles import cosine_restarts, cyclic, one_cycle, one_cycle_momentum
from gradtx.schedules.decay import exponential, inverse_sqrt, inverse_time, power
from gradtx.schedules.epochs import per_epoch
from gradtx.schedules.pieces import piecewise_constant, step
from gradtx.schedules.ramp import constant, cosine, linear, polynomial
from gradtx.schedules.value import Schedule, schedule
from gradtx.schedules.warmup import warmup, warmup_memory, warmup_stable_decay
from gradtx.selectors import Selector, by, by_ndim, by_path, by_tree, maybe
from gradtx.transforms.average import AverageParametersState, average_parameters
from gradtx.transforms.backtracking import ScaleByBacktrackingLinesearchState, scale_by_backtracking_linesearch
from gradtx.transforms.cleaning import ZeroNansState, centralize, orthograd, zero_nans
from gradtx.transforms.clip import (
    ClipState,
    clip_by_global_norm,
    clip_by_group_norm,
    clip_by_norm,
    clip_by_rms,
    clip_by_value,
    squash,
)
from gradtx.transforms.conjugate import conjugate
from gradtx.transforms.decay import AddDecayedWeightsState, add_decayed_weights, add_sign_decay
from gradtx.transforms.evaluation import evaluation_parameters
from gradtx.transforms.examples import (
    PerExampleClipState,
    PrivateState,
    per_example_clip,
    per_example_clip_by_layer,
    private,
)
from gradtx.transforms.factors import scale_by_tree
from gradtx.transforms.history import (
    AdagcState,
    PercentileClipState,
    ZclipState,
    adagc,
    percentile_clip,
    zclip,
)
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
from gradtx.transforms.noise import AddNoiseState, add_noise
from gradtx.transforms.normalize import normalize
from gradtx.transforms.past import GrokfastState, MarsState, OptimisticState, grokfast, mars, optimistic
from gradtx.transforms.plateau import ReduceOnPlateauState, reduce_on_plateau
from gradtx.transforms.project import constrain_norm, keep_nonnegative, project, soft_threshold, sparsity
from gradtx.transforms.rate import ScaleByLearningRateState, scale, scale_by_learning_rate, square
from gradtx.transforms.record import RecordState, record
from gradtx.transforms.relative import (
    adaptive_grad_clip,
    scale_by_parameter_norm,
    scale_by_parameter_rms,
    trust_ratio,
)
from gradtx.transforms.rms import ScaleByRmsState, scale_by_rms
from gradtx.transforms.shrink import shrink_parameters
from gradtx.transforms.stopping import EarlyStoppingState, best_parameters, early_stopping
from gradtx.transforms.widths import scale_by_width
from gradtx.values.annotations import Bound, Decay, Fraction, Initial, Natural, NonNegative, Positive, Scalar, Steps
from gradtx.wrappers.accumulate import AccumulateState, accumulate, has_updated
from gradtx.wrappers.cautious import cautious
from gradtx.wrappers.flush import flush
from gradtx.wrappers.guard import SkipNonfiniteState, SkipSpikesState, skip_nonfinite, skip_spikes
from gradtx.wrappers.lookahead import LookaheadState, lookahead
from gradtx.wrappers.mechanize import MechanizeState, mechanize
from gradtx.wrappers.sam import SamState, sam
from gradtx.wrappers.schedule_free import ScheduleFreeState, schedule_free, schedule_free_adamw, schedule_free_sgd
from gradtx.wrappers.select import MaskedState, freeze, masked, only, partition
from gradtx.wrappers.when import EveryState, SwitchState, every, switch

__version__ = "0.2.0"  # here and nowhere else: pyproject.toml reads it

if not _typing.TYPE_CHECKING:  # behind it, a type checker would take any name for good
    from gradtx.values.errors import no_attribute as __getattr__  # noqa: F401

# fmt: off
__all__ = [  # noqa: RUF022  # in reading order
    # Using an optimizer
    "Transformation", "apply_updates",
    # Optimizers
    "sgd", "adagrad", "rmsprop", "adadelta", "adam", "adamw", "nadam", "nadamw", "adamax", "adamaxw", "amsgrad",
    "radam", "yogi", "adabelief", "acprop", "adan", "laprop", "stable_adamw", "novograd", "ademamix",
    "simplified_ademamix", "adopt", "ano", "spam", "madgrad", "sign_sgd", "signum", "lion", "tiger", "rprop", "ftrl",
    "asgd", "adafactor", "adam_mini", "sm3", "lamb", "lars", "fromage", "dog", "dowg", "prodigy", "dadapt_adamw",
    "polyak", "momo", "momo_adam", "cocob", "lbfgs", "newton", "sophia", "muon", "normuon", "dion", "galore", "apollo",
    "soap", "shampoo", "kron", "optimistic_gradient_descent", "optimistic_adam", "noisy_sgd", "dpsgd",
    # Hyperparameters
    "hyperparameters", "set_hyperparameters", "controlled",
    # Inspection
    "describe", "summary", "explain",
    # State queries
    "find", "metrics", "record",
    # Serialization
    "to_config", "from_config",
    # Checkpoints
    "to_flat", "from_flat", "from_optax", "to_optax", "from_torch",
    # Combining
    "chain", "parallel", "identity",
    # Masking and partitioning
    "Selector", "by_path", "by_ndim", "by", "by_tree", "maybe", "masked", "only", "freeze", "partition",
    # Accumulation and guards
    "accumulate", "flush", "has_updated", "every", "switch", "skip_nonfinite", "skip_spikes",
    # Wrappers over any transformation
    "cautious", "lookahead", "schedule_free", "schedule_free_sgd", "schedule_free_adamw", "sam", "mechanize",
    # On many devices
    "state_shardings", "across", "zero_redundancy", "offload",
    # Precision
    "hold", "Codec", "bfloat16", "float16", "float8", "blocks", "of_root", "Levels", "dynamic_levels", "linear_levels",
    "write_stochastically", "write_compensated", "write_residual", "write_from_master", "write_split", "scale_loss",
    "loss_scale",
    # Matrices
    "View", "matrices", "over", "orthogonalize", "Factor", "shape_factor", "spectral_factor", "rms_factor",
    "dual_factor", "jordan_coefficients", "jiacheng_coefficients", "polar_express", "modded_coefficients",
    "newton_schulz_coefficients", "scale_by_muon", "scale_by_rows", "scale_by_dion", "in_subspace", "scale_by_apollo",
    "in_eigenbasis", "scale_by_soap", "scale_by_shampoo", "scale_by_kron", "graft",
    # Building blocks
    "scale", "square", "scale_by_learning_rate", "scale_by_tree", "layerwise", "scale_by_width", "scale_by_momentum",
    "ema", "bias_correction", "clip_by_value", "clip_by_norm", "clip_by_rms", "clip_by_global_norm",
    "clip_by_group_norm", "adaptive_grad_clip", "squash", "normalize", "trust_ratio", "renormalize",
    "scale_by_parameter_norm", "scale_by_parameter_rms", "add_decayed_weights", "shrink_parameters", "add_sign_decay",
    "soft_threshold", "sparsity", "constrain_norm", "keep_nonnegative", "project", "conjugate", "average_parameters",
    "evaluation_parameters", "scale_by_zoom_linesearch", "scale_by_backtracking_linesearch",
    # Directions
    "scale_by_rms", "scale_by_rss", "scale_by_adadelta", "scale_by_adam", "scale_by_nadam", "scale_by_adamax",
    "scale_by_amsgrad", "scale_by_radam", "scale_by_yogi", "scale_by_belief", "scale_by_acprop", "scale_by_adan",
    "scale_by_laprop", "scale_by_stable_adamw", "scale_by_novograd", "scale_by_ademamix",
    "scale_by_simplified_ademamix", "scale_by_adopt", "scale_by_ano", "scale_by_spam", "scale_by_sign", "scale_by_lion",
    "scale_by_rprop", "scale_by_factored_rms", "scale_by_adam_mini", "scale_by_sm3", "scale_by_dog", "scale_by_dowg",
    "scale_by_distance", "scale_by_polyak", "scale_by_lbfgs", "scale_by_newton", "scale_by_sophia", "hutchinson",
    "gauss_newton",
    # In front of an optimizer
    "mars", "grokfast", "optimistic", "centralize", "orthograd", "zero_nans", "add_noise", "zclip", "percentile_clip",
    "adagc", "per_example_clip", "per_example_clip_by_layer", "private",
    # Measurement-driven
    "reduce_on_plateau", "early_stopping", "best_parameters",
    # Schedules
    "Schedule", "constant", "linear", "polynomial", "cosine", "exponential", "power", "inverse_time", "inverse_sqrt",
    "step", "piecewise_constant", "warmup", "warmup_stable_decay", "one_cycle", "one_cycle_momentum", "cyclic",
    "cosine_restarts", "per_epoch", "fading", "warmup_memory",
    # Curvature
    "hvp", "largest_eigenvalue", "smallest_eigenvalue", "condition_number", "max_learning_rate", "convergence_factor",
    # Writing your own
    "transformation", "composition", "schedule", "stateless", "per_array", "per_matrix", "scaling", "global_norm",
    "total", "extra_for", "Scalar", "Positive", "Bound", "NonNegative", "Fraction", "Decay", "Steps", "Natural",
    "Initial",
    # States
    "ScheduledState", "MaskedState", "ClipState", "RecordState", "AccumulateState", "EveryState", "SwitchState",
    "SkipNonfiniteState", "SkipSpikesState", "ScaleByLearningRateState", "ScaleByMomentumState", "EmaState",
    "BiasCorrectionState", "ScaleByRmsState", "ScaleByRssState", "ScaleByAdadeltaState", "ScaleByAdamState",
    "ScaleByNadamState", "ScaleByAdamaxState", "ScaleByAmsgradState", "ScaleByRadamState", "ScaleByYogiState",
    "ScaleByBeliefState", "ScaleByAdanState", "ScaleByStableAdamwState", "ScaleByNovogradState",
    "ScaleByFactoredRmsState", "ScaleByAdamMiniState", "ScaleByLionState", "ReduceOnPlateauState", "EarlyStoppingState",
    "AddDecayedWeightsState", "AverageParametersState", "ScaleByLbfgsState", "ScaleByZoomLinesearchState", "HoldState",
    "ScaleByRowsState", "ScaleByDionState", "InSubspaceState", "ScaleByApolloState", "InEigenbasisState",
    "ScaleByShampooState", "ScaleByKronState", "WriteStochasticallyState", "WriteCompensatedState",
    "WriteResidualState", "WriteFromMasterState", "WriteSplitState", "ScaleLossState", "ScaleByAdemamixState",
    "ScaleBySimplifiedAdemamixState", "ScaleByAdoptState", "ScaleByAnoState", "ScaleBySpamState", "MadgradState",
    "ScaleByRpropState", "ScaleBySm3State", "FtrlState", "ScaleBySophiaState", "HutchinsonState", "LookaheadState",
    "ScheduleFreeState", "SamState", "MechanizeState", "ScaleByDogState", "ScaleByDowgState", "ScaleByDistanceState",
    "ProdigyState", "DAdaptAdamwState", "MomoState", "MomoAdamState", "CocobState",
    "ScaleByBacktrackingLinesearchState", "MarsState", "GrokfastState", "OptimisticState", "ZeroNansState",
    "AddNoiseState", "ZclipState", "PercentileClipState", "AdagcState", "PerExampleClipState", "PrivateState",
]
# fmt: on
