"""Optax's `contrib`, with what gradtx has of it."""

import optax

from gradtx.optax.borrow import Real, StepCount, fall_through, optax_transformation
from gradtx.optax.states import restate
from gradtx.transforms import plateau as of_plateau

__getattr__, __dir__ = fall_through(optax.contrib, globals())


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
