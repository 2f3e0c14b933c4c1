"""Optax's line searches, in real arrays of at least float32."""

from typing import Annotated, Any

import jax.numpy as jnp
import optax

from gradtx.optax.borrow import Real, as_plain_number, optax_transformation, original
from gradtx.transforms.backtracking import search_anew
from gradtx.transforms.linesearch import search_along
from gradtx.values.annotations import Check

Tries = Annotated[int, Check(as_plain_number)]  # how often the loss is evaluated
ARMIJO, WOLFE = map(original, ("scale_by_backtracking_linesearch", "scale_by_zoom_linesearch"))


@optax_transformation
def scale_by_backtracking_linesearch(
    max_backtracking_steps: Tries,
    slope_rtol: Real = 1e-4,
    decrease_factor: Real = 0.8,
    increase_factor: Real = 1.5,
    max_learning_rate: Real = 1.0,
    atol: Real = 0.0,
    rtol: Real = 0.0,
    store_grad: bool = False,
    verbose: bool = False,
):
    numbers = slope_rtol, decrease_factor, increase_factor, max_learning_rate, atol, rtol
    armijo = ARMIJO(max_backtracking_steps, *numbers, verbose=verbose)
    search = search_anew(armijo, store_grad=store_grad)
    return with_their_count(search_along(search, optax.ScaleByBacktrackingLinesearchState, store_grad=store_grad))


@optax_transformation
def scale_by_zoom_linesearch(
    max_linesearch_steps: Tries,
    max_learning_rate: Real | None = None,
    tol: Real = 0.0,
    increase_factor: Real = 2.0,
    slope_rtol: Real = 1e-4,
    curv_rtol: Real = 0.9,
    approx_dec_rtol: Real | None = 1e-6,
    stepsize_precision: Real = 1e-5,
    initial_guess_strategy: str = "keep",
    verbose: bool = False,
):
    numbers = max_learning_rate, tol, increase_factor, slope_rtol, curv_rtol, approx_dec_rtol, stepsize_precision
    search = WOLFE(max_linesearch_steps, *numbers, initial_guess_strategy, verbose)
    return with_their_count(search_along(search, optax.ScaleByZoomLinesearchState, store_grad=True))


def with_their_count(pair: Any) -> Any:
    """The pair with a count of tries as wide as JAX's whole numbers are, as Optax has it."""
    init, update = pair

    def start_wide(params: Any) -> Any:
        state = init(params)
        return state._replace(info=state.info._replace(num_linesearch_steps=jnp.zeros([], jnp.result_type(int))))

    return start_wide, update
