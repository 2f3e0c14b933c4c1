"""Optax's `contrib`, with what gradtx has of it."""

from typing import Any

import optax

from gradtx.optax.borrow import Real, StepCount, optax_transformation
from gradtx.optax.states import restate
from gradtx.transforms import plateau as of_plateau


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
    return restate(scheduler, of_plateau.ReduceOnPlateauState, optax.contrib.ReduceLROnPlateauState)


def __getattr__(name: str) -> Any:  # what gradtx lacks
    return getattr(optax.contrib, name)


def __dir__() -> list[str]:
    return sorted({*dir(optax.contrib), *globals()})
