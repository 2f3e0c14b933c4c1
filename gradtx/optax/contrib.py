"""Optax's `contrib`, with what gradtx has of it."""

from typing import Any

import optax

from gradtx.optax.borrow import Real, StepCount, optax_transformation
from gradtx.optax.distance_free import cocob, dadapt_adamw, dog, dowg, momo, momo_adam, prodigy, scale_by_cocob
from gradtx.optax.frontier import (
    ademamix,
    adopt,
    madgrad,
    scale_by_ademamix,
    scale_by_adopt,
    scale_by_madgrad,
    scale_by_simplified_ademamix,
    simplified_ademamix,
)
from gradtx.optax.galore import galore, scale_by_galore
from gradtx.optax.kin import acprop, scale_by_acprop
from gradtx.optax.loop import schedule_free_eval_params
from gradtx.optax.muon import muon, scale_by_muon
from gradtx.optax.other_trees import split_real_and_imaginary
from gradtx.optax.over_any import mechanize, schedule_free, schedule_free_adamw, schedule_free_sgd
from gradtx.optax.private import differentially_private_aggregate, dpsgd
from gradtx.optax.sharpness import sam
from gradtx.optax.sophia import hutchinson_estimator_diag_hessian, sophia
from gradtx.optax.states import restate
from gradtx.optax.weights import normalize
from gradtx.transforms import plateau as of_plateau

__all__ = [
    "acprop",
    "ademamix",
    "adopt",
    "cocob",
    "dadapt_adamw",
    "differentially_private_aggregate",
    "dog",
    "dowg",
    "dpsgd",
    "galore",
    "hutchinson_estimator_diag_hessian",
    "madgrad",
    "mechanize",
    "momo",
    "momo_adam",
    "muon",
    "normalize",
    "prodigy",
    "reduce_on_plateau",
    "sam",
    "scale_by_acprop",
    "scale_by_ademamix",
    "scale_by_adopt",
    "scale_by_cocob",
    "scale_by_galore",
    "scale_by_madgrad",
    "scale_by_muon",
    "scale_by_simplified_ademamix",
    "schedule_free",
    "schedule_free_adamw",
    "schedule_free_eval_params",
    "schedule_free_sgd",
    "simplified_ademamix",
    "sophia",
    "split_real_and_imaginary",
]


@optax_transformation
def reduce_on_plateau(
    factor: Real = 0.1,
    patience: StepCount = 10,
    rtol: Real = 1e-4,
    atol: Real = 0.0,
    cooldown: StepCount = 0,
    accumulation_size: StepCount = 1,
    min_scale: Real = 0.0,
):
    scheduler = of_plateau.reduce_on_plateau(
        factor, patience, cooldown=cooldown, min_scale=min_scale, rtol=rtol, atol=atol, every=accumulation_size
    )
    return restate(scheduler, of_plateau.ReduceOnPlateauState)


def __getattr__(name: str) -> Any:  # what gradtx lacks
    return getattr(optax.contrib, name)


def __dir__() -> list[str]:
    return sorted({*dir(optax.contrib), *globals()})
