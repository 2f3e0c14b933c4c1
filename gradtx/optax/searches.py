"""Optax's line searches and L-BFGS, which goes with one."""

from typing import Annotated, Any

import jax.numpy as jnp
import optax

from gradtx.core.factories import Composed
from gradtx.core.rule import going_down
from gradtx.optax.blocks import identity, scale, scale_by_learning_rate
from gradtx.optax.borrow import Real, as_plain_number, leave_unless, optax_transformation, original
from gradtx.optax.over_any import Optimizer
from gradtx.optax.wrappers import chain
from gradtx.optimizers.lbfgs import pair_of_lbfgs
from gradtx.transforms.backtracking import search_anew
from gradtx.transforms.linesearch import search_along
from gradtx.values.annotations import Check
from gradtx.values.errors import require_whole

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


# ---- quasi-Newton ----


@optax_transformation
def scale_by_lbfgs(memory_size: Tries = 10, scale_init_precond: bool = True):
    leave_unless(scale_init_precond=scale_init_precond)
    require_whole("memory_size", memory_size)
    return pair_of_lbfgs(optax.ScaleByLBFGSState, memory_size)


class DefaultSearch(optax.GradientTransformationExtraArgs):
    """Optax's default line search, equal to it; it pickles by its name, since its functions don't."""

    def __reduce__(self) -> str:
        return "DEFAULT_SEARCH"


DEFAULT_SEARCH = DefaultSearch(*original("lbfgs").__defaults__[-1])


@optax_transformation
def lbfgs(
    learning_rate: Real | None = None,
    memory_size: Tries = 10,
    scale_init_precond: bool = True,
    linesearch: Optimizer | None = DEFAULT_SEARCH,
):
    search = identity() if linesearch is None else linesearch
    if search == DEFAULT_SEARCH:
        search = scale_by_zoom_linesearch(20, initial_guess_strategy="one")
    rate = scale(-1.0) if learning_rate is None else scale_by_learning_rate(learning_rate)
    return going_down(Composed.of(tx=chain(scale_by_lbfgs(memory_size, scale_init_precond), rate, search)))


def with_their_count(pair: Any) -> Any:
    """The pair with a count of tries as wide as JAX's whole numbers are, as Optax has it."""
    init, update = pair

    def start_wide(params: Any) -> Any:
        state = init(params)
        return state._replace(info=state.info._replace(num_linesearch_steps=jnp.zeros([], jnp.result_type(int))))

    return start_wide, update
