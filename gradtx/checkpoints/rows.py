"""Optax's state for each of gradtx's: which fields mean the same, and what is refused because they don't."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gradtx.core.paths import paths_and_leaves
from gradtx.optimizers.adadelta import ScaleByAdadeltaState
from gradtx.optimizers.adafactor import ScaleByFactoredRmsState
from gradtx.optimizers.adagrad import ScaleByRssState
from gradtx.optimizers.adam import ScaleByAdamState
from gradtx.optimizers.adamax import ScaleByAdamaxState
from gradtx.optimizers.amsgrad import ScaleByAmsgradState
from gradtx.optimizers.belief import ScaleByBeliefState
from gradtx.optimizers.cocob import CocobState
from gradtx.optimizers.d_adaptation import DAdaptAdamwState
from gradtx.optimizers.distance_over_gradients import ScaleByDowgState
from gradtx.optimizers.lbfgs import ScaleByLbfgsState
from gradtx.optimizers.momo import MomoAdamState, MomoState
from gradtx.optimizers.nadam import ScaleByNadamState
from gradtx.optimizers.novograd import ScaleByNovogradState
from gradtx.optimizers.prodigy import ProdigyState
from gradtx.optimizers.radam import ScaleByRadamState
from gradtx.optimizers.sign import ScaleByLionState
from gradtx.optimizers.yogi import ScaleByYogiState
from gradtx.transforms.average import AverageParametersState
from gradtx.transforms.cleaning import ZeroNansState
from gradtx.transforms.clip import ClipState
from gradtx.transforms.linesearch import ScaleByZoomLinesearchState
from gradtx.transforms.momentum import BiasCorrectionState, EmaState, ScaleByMomentumState
from gradtx.transforms.plateau import ReduceOnPlateauState
from gradtx.transforms.rate import ScaleByLearningRateState
from gradtx.transforms.record import RecordState
from gradtx.transforms.rms import ScaleByRmsState
from gradtx.transforms.stopping import EarlyStoppingState
from gradtx.values.errors import Refusal
from gradtx.values.printing import package_of
from gradtx.wrappers.accumulate import AccumulateState
from gradtx.wrappers.guard import SkipNonfiniteState
from gradtx.wrappers.mechanize import MechanizeState


class OptaxRow(NamedTuple):
    """The counterpart of a state of gradtx's."""

    kinds: Callable[[Any], tuple[type[Any], ...]]  # of Optax's states, for the transformation; the first is made
    renamed: Mapping[str, str] = MappingProxyType({})  # Optax's names of fields
    own: tuple[str, ...] = ()  # what is not copied, though both have it, or is derived
    read: Callable[[Any, dict[str, Any]], dict[str, Any]] | None = (
        None  # (transformation, Optax's fields) -> own fields
    )
    write: Callable[[Any], Any] | None = None  # an equal own state whose fields are Optax's

    def names(self, state: Any, theirs: tuple[str, ...]) -> dict[str, str]:
        """The fields that both have, with Optax's names."""
        pairs = {name: self.renamed.get(name, name) for name in state._fields if name not in self.own}
        return {name: other for name, other in pairs.items() if other in theirs and getattr(state, name) is not None}


def always(*kinds: type[Any]) -> Callable[[Any], tuple[type[Any], ...]]:
    return lambda tx: kinds


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
    theirs = optax.scale_by_stddev if tx.centered else optax.scale_by_rms
    return (type(theirs(bias_correction=tx.debias).init(())),)  # not all of them are public


# ---- L-BFGS: where Optax puts a pair turns on the count alone ----


def read_memory(tx: Any, theirs: dict[str, Any]) -> dict[str, Any]:
    count, weights = int(theirs["count"]), jnp.asarray(theirs["weights_memory"])
    pairs = min(max(count - 1, 0), weights.size)
    if int(jnp.sum(weights > 0.0)) != pairs:
        problem = "weights_memory has a pair without positive curvature, which gradtx's L-BFGS leaves out"
        raise Refusal(ValueError, f"{problem}; start anew with init")
    return dict(next_pair=jnp.asarray(max(count - 1, 0) % weights.size, jnp.int32))


def write_memory(state: Any) -> Any:
    """The memory turned until its next place is Optax's: here pairs may have been left out."""
    size = state.weights_memory.size
    shift = (state.count - 1 - state.next_pair) % size

    def turned(tree: Any) -> Any:
        return jax.tree.map(lambda x: jnp.roll(x, shift, axis=0), tree)

    names = ("diff_params_memory", "diff_updates_memory", "weights_memory")
    return state._replace(**{name: turned(getattr(state, name)) for name in names})


# ---- wrappers ----


def read_skips(tx: Any, theirs: dict[str, Any]) -> dict[str, Any]:
    skipped, in_a_row = ~jnp.asarray(theirs["last_finite"]), jnp.asarray(theirs["notfinite_count"])
    return dict(skipped=skipped, exceeded=in_a_row > tx.limit if not callable(tx.limit) else jnp.zeros([], bool))


def write_skips(state: Any) -> Any:
    return state._replace(skipped=~state.skipped)


ROWS: dict[type[Any], OptaxRow] = {
    ScaleByAdamState: OptaxRow(always(optax.ScaleByAdamState)),
    ScaleByAdamaxState: OptaxRow(always(optax.ScaleByAdamState)),
    ScaleByAmsgradState: OptaxRow(kinds_of_amsgrad),
    ScaleByNadamState: OptaxRow(kinds_of_nadam),
    ScaleByRadamState: OptaxRow(always(optax.ScaleByAdamState)),
    ScaleByYogiState: OptaxRow(always(optax.ScaleByAdamState)),
    ScaleByBeliefState: OptaxRow(always(optax.ScaleByBeliefState)),
    ScaleByNovogradState: OptaxRow(always(optax.ScaleByNovogradState)),
    ScaleByRmsState: OptaxRow(kinds_of_rms),
    ScaleByRssState: OptaxRow(always(optax.ScaleByRssState)),
    ScaleByAdadeltaState: OptaxRow(always(optax.ScaleByAdaDeltaState)),
    ScaleByFactoredRmsState: OptaxRow(always(optax.FactoredState)),
    ScaleByLionState: OptaxRow(always(optax.ScaleByLionState)),
    ScaleByMomentumState: OptaxRow(always(optax.TraceState)),
    EmaState: OptaxRow(always(optax.EmaState)),
    ScaleByDowgState: OptaxRow(always(optax.contrib.DoWGState)),
    ProdigyState: OptaxRow(always(optax.contrib.ProdigyState)),
    DAdaptAdamwState: OptaxRow(always(optax.contrib.DAdaptAdamWState)),
    MomoState: OptaxRow(always(optax.contrib.MomoState)),
    MomoAdamState: OptaxRow(always(optax.contrib.MomoAdamState)),
    CocobState: OptaxRow(always(optax.contrib.COCOBState)),
    ZeroNansState: OptaxRow(always(optax.ZeroNansState), renamed=dict(found="found_nan")),
    ReduceOnPlateauState: OptaxRow(always(optax.contrib.ReduceLROnPlateauState)),
    ScaleByLbfgsState: OptaxRow(always(optax.ScaleByLBFGSState), read=read_memory, write=write_memory),
    ScaleByZoomLinesearchState: OptaxRow(always(optax.ScaleByZoomLinesearchState)),
    AccumulateState: OptaxRow(always(optax.MultiStepsState), renamed=dict(count="gradient_step"), own=("inner_state",)),
    MechanizeState: OptaxRow(always(optax.contrib.MechanicState), own=("inner_state",)),
    SkipNonfiniteState: OptaxRow(
        always(optax.ApplyIfFiniteState),
        renamed=dict(skipped="last_finite", total="total_notfinite", in_a_row="notfinite_count"),
        own=("inner_state",),
        read=read_skips,
        write=write_skips,
    ),
}
SQUARES = ("nu", "nu_max", "sum_of_squares", "e_g", "e_x", "v", "exp_avg_sq")
STATELESS_THERE = (ClipState, ScaleByLearningRateState, optax.EmptyState)  # in Optax without a state, but for a count
ABSENT_THERE = (BiasCorrectionState, AverageParametersState, RecordState, EarlyStoppingState)  # parts that Optax lacks


def kinds_of(tx: Any, state: Any) -> tuple[type[Any], ...]:
    """Optax's states that a state of this transformation goes on from."""
    return ROWS[type(state)].kinds(tx)


def is_theirs(state: Any) -> bool:
    """Whether it is a state of Optax's own."""
    return package_of(type(state)) == "optax"


def require_same_squares(name: str, state: Any) -> None:
    """Refuse complex arrays where squares are kept: they are those of both parts here, of absolute values in Optax."""
    for field in SQUARES:
        for path, x in paths_and_leaves(getattr(state, field, None)):
            if jnp.iscomplexobj(x):
                problem = f"{name}'s {field} has the squares of both parts of {path or 'a complex array'}"
                raise Refusal(ValueError, f"{problem}, in Optax those of absolute values; start it anew with init")
