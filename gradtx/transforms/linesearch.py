"""How far to go along a direction: Optax's line search as a value, in the precision that gradtx keeps."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from gradtx.core import check
from gradtx.core.collectives import require_whole_arrays
from gradtx.core.factories import transformation
from gradtx.core.loss import loss_of_params
from gradtx.core.measurement import as_measurement
from gradtx.core.placement import with_automatic_axes
from gradtx.core.reals import put_back, reals
from gradtx.curvature import scalar
from gradtx.values.annotations import Fraction, Positive
from gradtx.values.errors import require_whole


class ScaleByZoomLinesearchState(optax.ScaleByZoomLinesearchState):
    """The state of `scale_by_zoom_linesearch`: Optax's, with its measurements.

    >>> import gradtx, jax, jax.numpy as jnp
    >>> tx, w = gradtx.lbfgs(max_linesearch_steps=1), jnp.array([100.0])
    >>> value, grad = jax.value_and_grad(loss := lambda w: jnp.sum(w**2))(w)
    >>> _, state = tx.update(grad, tx.init(w), w, value=value, grad=grad, value_fn=loss)
    >>> {name: round(float(x), 1) for name, x in gradtx.metrics(state).items()}
    {'learning_rate': 1.0, 'linesearch_steps': 1.0, 'linesearch_succeeded': 0.0, 'linesearch_error': 18.0}
    """

    __slots__ = ()

    @property
    def metrics(self) -> dict[str, jax.Array]:
        info = self.info
        error = jnp.maximum(info.decrease_error, info.curvature_error)
        return {
            "learning_rate": jnp.asarray(self.learning_rate),
            "linesearch_steps": jnp.asarray(info.num_linesearch_steps),
            "linesearch_succeeded": error <= 0.0,
            "linesearch_error": error,  # how far the worse condition is from holding; infinite before the first update
        }


@transformation
def scale_by_zoom_linesearch(
    max_linesearch_steps: int = 20,
    *,
    slope_rtol: Fraction = 1e-4,
    curv_rtol: Fraction = 0.9,
    max_learning_rate: Positive | None = None,
):
    r"""The direction $u$ times a step $\eta$ that keeps the strong Wolfe conditions,
    $L(w + \eta u) \le L(w) + c_1 \eta\, g^\top u$ and $|\nabla L(w + \eta u)^\top u| \le c_2 |g^\top u|$.
    The step 1 is tried first, as suits a Newton-like direction behind `scale(-1.0)`. Optax's equals it with
    `initial_guess_strategy="one"`; its default is to start from the step of the last time.

    The direction must lead downward.
    `update` takes, beside the parameters, `value` and `grad`, the loss there and JAX's gradient of it, and `value_fn`,
    the loss as a function of the parameters; `loss_fn`, as Newton's method has it, is as good. What else it takes, such
    as data, is handed to `update` under the same names. Where it returns a pair, as for JAX's `has_aux`, the first of
    it is the value. The step counts as a constant in gradients through the update.

    **Arguments:** `max_linesearch_steps`, evaluations of the loss and its gradient at most; `slope_rtol`
    $c_1$, `curv_rtol` $c_2 \in [0, 1]$; `max_learning_rate` > 0, None for no bound.

    **State:** Optax's: `learning_rate`, and `value` and `grad` at the end of the step: one array per parameter.
    `optax.value_and_grad_from_state` reads these two, which saves an evaluation. `metrics` says whether the search
    succeeded, which it may not have within so many evaluations or below `max_learning_rate`, and how far the worse of
    the two conditions was from it.

    **Raises:** `ValueError` where `update` is called without the parameters, `TypeError` without `value`, `grad` or
    `value_fn`, and without something that `value_fn` needs.

    **Source:** Nocedal & Wright, Numerical Optimization (2006), algorithms 3.5 and 3.6.

    >>> import gradtx, jax, jax.numpy as jnp
    >>> tx, w = gradtx.chain(gradtx.scale(-1.0), gradtx.scale_by_zoom_linesearch()), jnp.array([1.0, 3.0])
    >>> value, grad = jax.value_and_grad(loss := lambda w, x: 2 * x @ w**2)(w, x := jnp.ones(2))
    >>> updates, state = tx.update(grad, tx.init(w), w, value=value, grad=grad, value_fn=loss, x=x)
    >>> updates, bool(gradtx.metrics(state)["linesearch_succeeded"])
    (Array([-1., -3.], dtype=float32), True)
    """
    require_whole("max_linesearch_steps", max_linesearch_steps)
    search = optax.scale_by_zoom_linesearch(
        max_linesearch_steps,
        max_learning_rate=max_learning_rate,
        slope_rtol=slope_rtol,
        curv_rtol=curv_rtol,
        initial_guess_strategy="one",
    )
    return search_along(search, ScaleByZoomLinesearchState, store_grad=True)


# ---- what line searches share ----


def search_along(search: Any, kind: Any, *, store_grad: bool) -> Any:
    """The pair of a line search of Optax's, in real arrays of at least float32; its state is of a kind like Optax's,
    which has the gradient at the end of the step if it is to store it.
    """

    def init(params: Any) -> Any:
        grad = jax.tree.map(lambda p: jnp.zeros_like(p, check.promote(p.dtype)), params)
        state: Any = search.init([origin(reals(grad, grad, "params"))])
        info = state.info._replace(num_linesearch_steps=jnp.zeros([], jnp.int32))
        return jax.tree.map(strong, kind(*state._replace(grad=grad if store_grad else None, info=info)))

    def update(
        updates: Any,
        state: Any,
        params: Any = None,
        *,
        value: Any = None,
        grad: Any = None,
        value_fn: Any = None,
        loss_fn: Any = None,
        **further: Any,
    ):
        check.require_params(params)
        check.require_state(state, next(x for x in kind.__mro__ if x.__bases__ == (tuple,)))  # Optax's own
        name, value_fn = ("loss_fn", loss_fn) if value_fn is None else ("value_fn", value_fn)
        given = dict(value=value, grad=grad, value_fn=value_fn)
        check.require_extra([name for name, x in given.items() if x is None])
        value_fn = loss_of_params(name, value_fn, further | dict(value=value, grad=grad))
        scalar(value_fn, params)
        value = as_measurement("value", value)
        u, w = reals(updates, updates, "updates"), reals(params, updates, "params")
        g = reals(jax.tree.map(jnp.conj, grad), updates, "grad")
        if store_grad:
            reals(state.grad, updates, "the state's grad")
        require_whole_arrays(u + w, "a line search needs them whole: run it outside of shard_map")
        zero = origin(u + w)

        def loss(arrays: list[jax.Array]) -> jax.Array:
            return jnp.asarray(value_fn(put_back(arrays[1:], params, updates)), zero.dtype)

        def find(loss: Any, at: Any, along: Any, slope: Any, now: Any, last: Any) -> Any:
            start: Any = search.init(at)
            return search.update(along, start._replace(learning_rate=last), at, value=now, grad=slope, value_fn=loss)[1]

        numbers = value.astype(zero.dtype), state.learning_rate.astype(zero.dtype)
        places, *others = jax.lax.stop_gradient(([zero, *w], [zero, *u], [zero, *g], *numbers))

        def like() -> Any:
            fresh: Any = search.init(places)
            return fresh._replace(grad=places if store_grad else None)

        with jax.numpy_dtype_promotion("standard"):  # Optax leaves promotion to JAX, and reshapes arrays
            found = with_automatic_axes(find, loss, places, (places, *others), like)
        after: Any = jax.lax.stop_gradient(found)
        learned = None
        if store_grad:
            learned = jax.tree.map(jnp.conj, put_back(after.grad[1:], jax.tree.map(jnp.conj, state.grad), updates))
        after, before = map(kind._make, (after._replace(grad=learned), state))  # from Optax's
        after = jax.tree.map(lambda x, old: x.astype(old.dtype), after, before)
        return put_back([after.learning_rate * x for x in u], updates, updates), after

    return init, update


def origin(arrays: list[jax.Array]) -> jax.Array:
    """A zero that goes first: Optax computes in the first array's dtype, and wants one."""
    return jnp.zeros([], jnp.result_type(jnp.float32, *arrays))


def strong(x: Any) -> jax.Array:
    return jnp.asarray(x).astype(jnp.result_type(x))
