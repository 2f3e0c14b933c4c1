"""Optax's state for each of gradtx's: which fields mean the same, and what is refused because they don't."""

import functools
from collections.abc import Callable
from typing import Any, NoReturn

import jax.numpy as jnp
import optax

from gradtx.checkpoints import conversions
from gradtx.checkpoints.optax_row import OptaxRow, always, made_by
from gradtx.core.pair import SOME_SCHEDULE, state_kind
from gradtx.core.paths import paths_and_leaves
from gradtx.core.transformation import Transformation
from gradtx.core.walk import walk
from gradtx.matrices.galore import galore
from gradtx.matrices.muon import scale_by_muon
from gradtx.matrices.subspace import InSubspaceState
from gradtx.optimizers.adadelta import ScaleByAdadeltaState
from gradtx.optimizers.adafactor import ScaleByFactoredRmsState
from gradtx.optimizers.adagrad import ScaleByRssState
from gradtx.optimizers.adam import ScaleByAdamState
from gradtx.optimizers.adamax import ScaleByAdamaxState
from gradtx.optimizers.adan import ScaleByAdanState
from gradtx.optimizers.ademamix import ScaleByAdemamixState, ScaleBySimplifiedAdemamixState
from gradtx.optimizers.adopt import ScaleByAdoptState
from gradtx.optimizers.amsgrad import ScaleByAmsgradState
from gradtx.optimizers.belief import ScaleByBeliefState
from gradtx.optimizers.cocob import CocobState
from gradtx.optimizers.d_adaptation import DAdaptAdamwState
from gradtx.optimizers.distance_over_gradients import ScaleByDistanceState, ScaleByDogState, ScaleByDowgState
from gradtx.optimizers.hessian import HutchinsonState
from gradtx.optimizers.lbfgs import ScaleByLbfgsState
from gradtx.optimizers.madgrad import MadgradState
from gradtx.optimizers.momo import MomoAdamState, MomoState
from gradtx.optimizers.nadam import ScaleByNadamState
from gradtx.optimizers.novograd import ScaleByNovogradState
from gradtx.optimizers.prodigy import ProdigyState
from gradtx.optimizers.radam import ScaleByRadamState
from gradtx.optimizers.rprop import ScaleByRpropState
from gradtx.optimizers.sign import ScaleByLionState
from gradtx.optimizers.sm3 import ScaleBySm3State
from gradtx.optimizers.sophia import ScaleBySophiaState
from gradtx.optimizers.yogi import ScaleByYogiState
from gradtx.transforms.average import AverageParametersState
from gradtx.transforms.backtracking import ScaleByBacktrackingLinesearchState
from gradtx.transforms.cleaning import ZeroNansState
from gradtx.transforms.clip import ClipState
from gradtx.transforms.examples import PrivateState
from gradtx.transforms.linesearch import ScaleByZoomLinesearchState
from gradtx.transforms.momentum import BiasCorrectionState, EmaState, ScaleByMomentumState
from gradtx.transforms.noise import AddNoiseState
from gradtx.transforms.past import OptimisticState
from gradtx.transforms.plateau import ReduceOnPlateauState
from gradtx.transforms.rate import ScaleByLearningRateState, turns_down
from gradtx.transforms.record import RecordState
from gradtx.transforms.rms import ScaleByRmsState
from gradtx.transforms.stopping import EarlyStoppingState
from gradtx.values.errors import Refusal
from gradtx.values.printing import package_of
from gradtx.values.recipe import Controlled
from gradtx.wrappers.accumulate import AccumulateState
from gradtx.wrappers.guard import SkipNonfiniteState
from gradtx.wrappers.lookahead import LookaheadState
from gradtx.wrappers.mechanize import MechanizeState
from gradtx.wrappers.sam import SamState
from gradtx.wrappers.schedule_free import ScheduleFreeState

# As they are now: a program may put gradtx's in their places.
RMS, STDDEV = optax.scale_by_rms, optax.scale_by_stddev
kinds_of_scheduled_decay = made_by(functools.partial(optax.add_decayed_weights, SOME_SCHEDULE))


# ---- kinds that turn on arguments ----


def kinds_of_amsgrad(tx: Any) -> tuple[type[Any], ...]:
    if tx.debias and not tx.debias_first:
        problem = "scale_by_amsgrad's nu_max is the largest nu, in Optax it is the largest nu/(1 - b2**t)"
        raise Refusal(ValueError, f"{problem}; take debias_first=True, which is Optax's rule")
    return (optax.ScaleByAmsgradState,)


def kinds_of_nadam(tx: Any) -> tuple[type[Any], ...]:
    problem = "scale_by_nadam's momentum_decay makes b1 rise, and the product of all momenta is in no state of Optax's"
    raise Refusal(ValueError, f"{problem}; take momentum_decay=None, which is Optax's rule")


def kinds_of_rms(tx: Any) -> tuple[type[Any], ...]:
    return (state_kind(STDDEV if tx.centered else RMS, bias_correction=bool(tx.debias)),)


def kinds_of_subspace(tx: Any) -> tuple[type[Any], ...]:
    if not tx.longer:
        problem = "in_subspace's projection is that of the shorter side of a matrix, in Optax of the longer one"
        raise Refusal(ValueError, f"{problem}; take longer=True, which is Optax's rule")
    return (optax.contrib.GaLoreState,)


def kinds_of_schedule_free(tx: Any) -> tuple[type[Any], ...]:
    rate = tx.learning_rate
    if callable(rate) and not isinstance(rate, Controlled) and not turns_down(tx.tx):
        problem = "schedule_free has one rate for a step and its weight, in Optax that of the step is one update behind"
        remedy = "give an optimizer with its own rate, schedule_free(chain(…, scale_by_learning_rate(rate)), later)"
        raise Refusal(ValueError, f"{problem}; {remedy} with later = lambda t: rate(t + 1)")
    return (optax.contrib.ScheduleFreeState,)


def differs_by(problem: str, remedy: str) -> Callable[[Any], NoReturn]:
    """For states whose fields mean something else in Optax, or from which it goes on otherwise."""

    def kinds(tx: Any) -> NoReturn:
        raise Refusal(ValueError, f"{problem}; {remedy}")

    return kinds


def as_it_is(name: str) -> str:
    return f"put {name} in its place, which goes on as it is"


DRAWN_OTHERWISE = "{} draws by its key and the count, Optax by the key in its state"

ROWS: dict[type[Any], OptaxRow] = {
    ScaleByAdamState: OptaxRow(always(optax.ScaleByAdamState)),
    ScaleByAdamaxState: OptaxRow(always(optax.ScaleByAdamState)),
    ScaleByAmsgradState: OptaxRow(kinds_of_amsgrad),
    ScaleByNadamState: OptaxRow(kinds_of_nadam),
    ScaleByRadamState: OptaxRow(always(optax.ScaleByAdamState)),
    ScaleByYogiState: OptaxRow(always(optax.ScaleByAdamState)),
    ScaleByAdoptState: OptaxRow(always(optax.ScaleByAdamState)),
    ScaleByBeliefState: OptaxRow(always(optax.ScaleByBeliefState)),
    ScaleByNovogradState: OptaxRow(always(optax.ScaleByNovogradState)),
    ScaleByAdemamixState: OptaxRow(
        always(optax.contrib.ScaleByAdemamixState),
        scheduled=("b3", "alpha"),
        read=conversions.read_slow_count,
        write=conversions.write_slow_count,
    ),
    ScaleBySimplifiedAdemamixState: OptaxRow(
        always(optax.contrib.ScaleBySimplifiedAdEMAMixState),
        renamed=dict(count="t", mu="m", nu="n"),
        scheduled=("alpha",),
    ),
    MadgradState: OptaxRow(always(optax.contrib.MadgradState), scheduled=("learning_rate",)),
    ScaleByRmsState: OptaxRow(kinds_of_rms),
    ScaleByRssState: OptaxRow(always(optax.ScaleByRssState)),
    ScaleByAdadeltaState: OptaxRow(always(optax.ScaleByAdaDeltaState)),
    ScaleByFactoredRmsState: OptaxRow(always(optax.FactoredState)),
    ScaleBySm3State: OptaxRow(
        always(optax.ScaleBySM3State),
        renamed=dict(mu="nu"),
        own=("maxima",),
        read=conversions.read_maxima,
        write=conversions.write_maxima,
    ),
    ScaleByLionState: OptaxRow(always(optax.ScaleByLionState)),
    ScaleByMomentumState: OptaxRow(always(optax.TraceState)),
    EmaState: OptaxRow(always(optax.EmaState)),
    OptimisticState: OptaxRow(
        made_by(optax.scale_by_optimistic_gradient),
        read=conversions.read_first_step,
        write=conversions.write_first_step,
    ),
    InSubspaceState: OptaxRow(kinds_of_subspace, renamed=dict(projection="projector"), inside="base_optimizer_state"),
    ScaleByDogState: OptaxRow(always(optax.contrib.DoGState), write=conversions.write_first_gradient),
    ScaleByDowgState: OptaxRow(always(optax.contrib.DoWGState)),
    ScaleByDistanceState: OptaxRow(
        made_by(optax.scale_by_distance_over_gradients),
        own=("grad_sum_of_squares",),
        read=conversions.read_sums_of_squares,
        write=conversions.write_sums_of_squares,
    ),
    ProdigyState: OptaxRow(always(optax.contrib.ProdigyState), scheduled=("learning_rate",)),
    DAdaptAdamwState: OptaxRow(always(optax.contrib.DAdaptAdamWState), scheduled=("learning_rate",)),
    MomoState: OptaxRow(always(optax.contrib.MomoState), scheduled=("learning_rate",)),
    MomoAdamState: OptaxRow(always(optax.contrib.MomoAdamState), scheduled=("learning_rate",)),
    CocobState: OptaxRow(always(optax.contrib.COCOBState)),
    ZeroNansState: OptaxRow(always(optax.ZeroNansState), renamed=dict(found="found_nan")),
    ReduceOnPlateauState: OptaxRow(always(optax.contrib.ReduceLROnPlateauState)),
    ScaleByLbfgsState: OptaxRow(
        always(optax.ScaleByLBFGSState), read=conversions.read_memory, write=conversions.write_memory
    ),
    ScaleByZoomLinesearchState: OptaxRow(always(optax.ScaleByZoomLinesearchState)),
    ScaleByBacktrackingLinesearchState: OptaxRow(always(optax.ScaleByBacktrackingLinesearchState)),
    AccumulateState: OptaxRow(
        always(optax.MultiStepsState), renamed=dict(count="gradient_step"), inside="inner_opt_state"
    ),
    MechanizeState: OptaxRow(always(optax.contrib.MechanicState), inside="base_optimizer_state"),
    ScheduleFreeState: OptaxRow(
        kinds_of_schedule_free,
        scheduled=("learning_rate",),
        read=conversions.read_count_from_one,
        write=conversions.write_count_from_one,
        inside="base_optimizer_state",
    ),
    LookaheadState: OptaxRow(always(optax.LookaheadState), inside="fast_state"),
    SamState: OptaxRow(always(optax.contrib.SAMState), read=conversions.read_way_up, inside="opt_state"),
    SkipNonfiniteState: OptaxRow(
        always(optax.ApplyIfFiniteState),
        renamed=dict(total="total_notfinite", in_a_row="notfinite_count"),
        read=conversions.read_skips,
        write=conversions.write_skips,
        inside="inner_state",
    ),
    # What Optax would go on from otherwise.
    ScaleByAdanState: OptaxRow(
        differs_by(
            "scale_by_adan's n has the squares of g + b2 * d, in Optax those of g + (1 - b2) * d",
            as_it_is("optax.adan"),
        )
    ),
    ScaleByRpropState: OptaxRow(
        differs_by(
            "scale_by_rprop's prev_updates are gradients, in Optax the steps that the next update takes",
            as_it_is("optax.rprop"),
        )
    ),
    ScaleBySophiaState: OptaxRow(
        differs_by(
            "scale_by_sophia's nu is renewed ahead of a step, in Optax behind it", as_it_is("optax.contrib.sophia")
        )
    ),
    AddNoiseState: OptaxRow(differs_by(DRAWN_OTHERWISE.format("add_noise"), as_it_is("optax.add_noise"))),
    PrivateState: OptaxRow(
        differs_by(DRAWN_OTHERWISE.format("private"), as_it_is("optax.contrib.differentially_private_aggregate"))
    ),
    HutchinsonState: OptaxRow(
        differs_by(DRAWN_OTHERWISE.format("hutchinson"), as_it_is("optax.contrib.hutchinson_estimator_diag_hessian"))
    ),
}
COUNTERS = {  # of updates, in Optax's states that have another name for it: that, and the first number
    optax.contrib.ScaleBySimplifiedAdEMAMixState: ("t", 0),
    optax.contrib.ScheduleFreeState: ("step_count", 1),
}
DIFFERENT: dict[Any, str] = {  # compositions whose parts are there, but not their sum
    scale_by_muon: "it turns the average as it is, Optax's one whose bias is corrected; "
    + as_it_is("optax.contrib.muon"),
    galore: "it projects the shorter side of a matrix, Optax's the longer one; " + as_it_is("optax.contrib.galore"),
}
OF_PARTS = dict.fromkeys(  # what a complex array has of both its parts here, and of what Optax has it
    ("nu", "nu_max", "sum_of_squares", "e_g", "e_x", "v", "exp_avg_sq"), ("squares", "those of absolute values")
) | dict(grad_sum_sq=("squares", "those of complex numbers"), subgradients=("sizes", "absolute values"))
STATELESS_THERE = (ClipState, ScaleByLearningRateState, optax.EmptyState)  # in Optax without a state, but for a count
ABSENT_THERE = (BiasCorrectionState, AverageParametersState, RecordState, EarlyStoppingState)  # parts that Optax lacks


def kinds_of(tx: Any, state: Any) -> tuple[type[Any], ...]:
    """Optax's states that a state of this transformation goes on from."""
    if not isinstance(tx, Transformation):
        problem = f"{type(state).__name__} stands in a chain of Optax's, which does not show its parts"
        raise Refusal(ValueError, f"{problem}; put them together with gradtx.chain")
    return ROWS[type(state)].kinds(tx)


def is_theirs(state: Any) -> bool:
    """Whether it is a state of Optax's own."""
    return package_of(type(state)) == "optax"


def require_same_rules(tx: Any) -> None:
    """Refuse a transformation with a composition that Optax puts together in another way."""
    for node in walk(tx):
        recipe = getattr(node.tx, "recipe", None)
        if problem := DIFFERENT.get(recipe):
            raise Refusal(ValueError, f"{node.tx.recipe.__name__}: {problem}")


def require_same_squares(name: str, state: Any) -> None:
    """Refuse complex arrays where squares are kept: they are those of both parts here, and something else in Optax."""
    for field, (what, there) in OF_PARTS.items():
        for path, x in paths_and_leaves(getattr(state, field, None)):
            if jnp.iscomplexobj(x):
                problem = f"{name}'s {field} has the {what} of both parts of {path or 'a complex array'}"
                raise Refusal(ValueError, f"{problem}, in Optax {there}; start it anew with init")
