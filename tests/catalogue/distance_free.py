"""Rules without a rate to tune: by the distance from the start, or by the loss."""

import functools
from typing import Any

import gradtx as gx
from gradtx.testing import measured, problem
from tests.catalogue.member import Member

WHOLE: dict[str, Any] = dict(needs_params=True, elementwise=False)
BY_LOSS: dict[str, Any] = dict(extra=measured, elementwise=False)

DOWNHILL = functools.partial(problem, sign=-1.0)

DISTANCE_FREE = [
    Member(gx.scale_by_dog(0.1, 0.1), once=True, **WHOLE),
    Member(gx.scale_by_dog(eps=0.1, initial_distance=0.3), unused=("reps",), once=True, **WHOLE),
    Member(gx.scale_by_dog(eps=0.1, initial_rate=0.3), unused=("reps", "eps"), once=True, **WHOLE),
    Member(gx.dog(0.7, 0.1, 0.1), once=True, **WHOLE),
    Member(gx.scale_by_dowg(0.1), once=True, **WHOLE),
    Member(gx.dowg(0.7, 0.1, initial_distance=0.3), once=True, **WHOLE),
    Member(gx.scale_by_distance(0.1, 0.1), once=True, factored=True, **WHOLE),
    # The laws' parameters stay where they were, so that no distance is seen.
    Member(gx.prodigy(0.7, weight_decay=0.1, d0=0.3), unused=("coef",), **WHOLE),
    Member(gx.prodigy(0.7, b3=0.9, d0=0.3, debias=True, safeguard=True), unused=("b3", "coef"), once=True, **WHOLE),
    Member(
        gx.prodigy(0.7, d0=0.3, growth_rate=4.0, slice_p=2),
        unused=("coef", "growth_rate"),
        once=True,
        factored=True,
        **WHOLE,
    ),
    Member(gx.dadapt_adamw(0.7, weight_decay=0.1, d0=0.3), once=True, **WHOLE),
    # The laws try 0.5 for what counts, by which nothing may grow.
    Member(gx.dadapt_adamw(0.7, d0=0.3, growth_rate=4.0), unused=("growth_rate",), once=True, **WHOLE),
    Member(gx.scale_by_polyak(0.3, 0.1, 0.1), once=True, **BY_LOSS),
    Member(gx.polyak(0.2, eps=0.1, positive=True), once=True, **BY_LOSS),
    Member(gx.momo(3.0, lower_bound=0.1, weight_decay=0.1), needs_params=True, **BY_LOSS),
    Member(gx.momo(0.5, lower_bound=0.3, adapt_lower_bound=True), needs_params=True, once=True, **BY_LOSS),
    Member(gx.momo_adam(3.0, lower_bound=0.1, weight_decay=0.1), needs_params=True, once=True, **BY_LOSS),
    Member(gx.momo_adam(0.5, lower_bound=0.3, adapt_lower_bound=True), needs_params=True, once=True, **BY_LOSS),
    Member(gx.cocob(5.0, 0.3), needs_params=True, once=True),
    Member(
        gx.scale_by_backtracking_linesearch(5, slope_rtol=0.9, rtol=0.1, atol=0.1, max_learning_rate=2.0),
        DOWNHILL,
        once=True,
        **WHOLE,
    ),
    Member(
        gx.scale_by_backtracking_linesearch(5, slope_rtol=0.9, store_grad=True), DOWNHILL, once=True, slow=True, **WHOLE
    ),
]
