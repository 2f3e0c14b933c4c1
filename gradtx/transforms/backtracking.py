"""How far to go along a direction: as far as last time and a bit, and back until the loss is low enough."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from gradtx.core.factories import transformation
from gradtx.transforms.linesearch import search_along
from gradtx.values.annotations import Bound, Decay, Fraction, NonNegative
from gradtx.values.errors import require_whole


class ScaleByBacktrackingLinesearchState(optax.ScaleByBacktrackingLinesearchState):
    """The state of `scale_by_backtracking_linesearch`: Optax's, with its measurements.

    >>> import gradtx, jax, jax.numpy as jnp
    >>> tx, w = gradtx.chain(gradtx.sgd(1.0), gradtx.scale_by_backtracking_linesearch()), jnp.array([2.0])
    >>> value, grad = jax.value_and_grad(loss := lambda w: jnp.sum(w**2))(w)
    >>> _, state = tx.update(grad, tx.init(w), w, value=value, grad=grad, value_fn=loss)
    >>> {name: float(x) for name, x in gradtx.metrics(state).items() if name.startswith("linesearch")}
    {'linesearch_steps': 2.0, 'linesearch_succeeded': 1.0, 'linesearch_error': 0.0}
    """

    __slots__ = ()

    @property
    def metrics(self) -> dict[str, jax.Array]:
        error = jnp.asarray(self.info.decrease_error)
        return {
            "learning_rate": jnp.asarray(self.learning_rate),
            "linesearch_steps": jnp.asarray(self.info.num_linesearch_steps),
            "linesearch_succeeded": error <= 0.0,
            "linesearch_error": error,  # how far the loss is above what it should be; infinite before the first update
        }


@transformation
def scale_by_backtracking_linesearch(
    max_backtracking_steps: int = 15,
    *,
    slope_rtol: Fraction = 1e-4,
    decrease_factor: Decay = 0.8,
    increase_factor: Bound = 1.5,
    max_learning_rate: Bound = 1.0,
    atol: NonNegative = 0.0,
    rtol: NonNegative = 0.0,
    store_grad: bool = False,
):
    r"""The direction $u$ times a step $\eta$ that lowers the loss enough,
    $L(w + \eta u) \le (1 + \delta)\,L(w) + c\,\eta\,g^\top u + \epsilon$. The first try is
    $\min(a\,\eta_-, \eta_{\max})$ with the step $\eta_-$ of the last time, 1 at first; each further one is $b$ times
    the one before.

    The direction must lead downward, as that of `sgd` does. A loss that is NaN or infinite is not low enough; where
    all tries have such a one, the step is 0, and the next search starts as the first. What `update` takes is as in
    `scale_by_zoom_linesearch`, and so is how gradients go through the step. Each try is one evaluation of the loss,
    none of its gradient.

    **Arguments:** `max_backtracking_steps` $n \ge 1$, for $n + 1$ tries at most; `slope_rtol` $c \in [0, 1]$;
    `decrease_factor` $b \in [0, 1)$; `increase_factor` $a > 0$, `inf` to start each time from
    `max_learning_rate` $\eta_{\max} > 0$; `atol` $\epsilon$ and `rtol` $\delta \ge 0$. With `store_grad` the gradient
    at the end of the step is computed and kept, for `optax.value_and_grad_from_state`.

    **State:** Optax's: `learning_rate` $\eta$, the `value` at the end of the step, `info`; with `store_grad` the
    gradient there, one array per parameter. `metrics` says whether the search succeeded.

    **Raises:** `ValueError` where `update` is called without the parameters, `TypeError` without `value`, `grad` or
    `value_fn`, and without something that `value_fn` needs.

    **Source:** Armijo's condition; Nocedal & Wright, Numerical Optimization (2006), algorithm 3.1; Vaswani et al.,
    Painless Stochastic Gradient (2019). Equals Optax's, whose step stays 0 once it was.

    >>> import gradtx, jax, jax.numpy as jnp
    >>> tx, w = gradtx.chain(gradtx.sgd(1.0), gradtx.scale_by_backtracking_linesearch()), jnp.array([1.0, 3.0])
    >>> value, grad = jax.value_and_grad(loss := lambda w: w @ w)(w)
    >>> updates, state = tx.update(grad, tx.init(w), w, value=value, grad=grad, value_fn=loss)
    >>> updates, bool(gradtx.metrics(state)["linesearch_succeeded"])
    (Array([-1.6, -4.8], dtype=float32), True)
    """
    require_whole("max_backtracking_steps", max_backtracking_steps)
    armijo = optax.scale_by_backtracking_linesearch(
        max_backtracking_steps,
        slope_rtol=slope_rtol,
        decrease_factor=decrease_factor,
        increase_factor=increase_factor,
        max_learning_rate=max_learning_rate,
        atol=atol,
        rtol=rtol,
    )

    search = search_anew(armijo, store_grad=store_grad)

    def update(updates: Any, state: Any, params: Any = None, **given: Any) -> Any:
        out, after = search.update(updates, state, params, **given)
        error = after.info.decrease_error
        above = jnp.maximum(error - atol, 0.0).astype(error.dtype)  # Optax's leaves out what is tolerated
        return out, after._replace(info=after.info._replace(decrease_error=above))

    search_measured = optax.GradientTransformationExtraArgs(search.init, update)
    return search_along(search_measured, ScaleByBacktrackingLinesearchState, store_grad=store_grad)


def search_anew(armijo: Any, *, store_grad: bool) -> Any:
    """Optax's search, which starts as at first where its last step was 0, and differentiates at its end alone."""

    def update(updates: Any, state: Any, params: Any = None, *, value_fn: Any = None, **given: Any) -> Any:
        rate = jnp.where(state.learning_rate > 0.0, state.learning_rate, 1.0)
        start = state._replace(learning_rate=rate, grad=None)
        out, found = armijo.update(updates, start, params, value_fn=value_fn, **given)
        after: Any = found
        if store_grad:  # where Optax's own does at each try
            end = [(w + after.learning_rate * u).astype(w.dtype) for w, u in zip(params, updates, strict=True)]
            value, grad = jax.value_and_grad(value_fn)(end)
            after = after._replace(value=value, grad=grad)
        return out, after

    return optax.GradientTransformationExtraArgs(armijo.init, update)
