"""Newton's method by conjugate gradients, without the Hessian."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.sparse.linalg import cg

from gradtx.core import check
from gradtx.core.collectives import require_whole_arrays
from gradtx.core.combine import chain
from gradtx.core.factories import Composed, composition, transformation
from gradtx.core.lift import init_empty
from gradtx.core.loss import loss_of_params
from gradtx.core.placement import with_automatic_axes
from gradtx.core.reals import dot, put_back, reals
from gradtx.core.rule import going_down
from gradtx.core.tree import root
from gradtx.curvature import scalar, smallest_eigenvalue
from gradtx.transforms.linesearch import scale_by_zoom_linesearch
from gradtx.transforms.rate import scale
from gradtx.values.annotations import Fraction, NonNegative, Positive
from gradtx.values.errors import require_whole

Arrays = list[jax.Array]
LEAST_COSINE = 1e-4  # between a direction and the gradient: with less, hardly anything leads downward


@transformation
def scale_by_newton(damping: NonNegative = 0.0, *, tol: Fraction = 1e-3, max_steps: int | None = None):
    r"""Newton's direction $(\nabla^2 L(w) + \lambda I)^{-1} g$, by conjugate gradients on Hessian-vector products.

    Where that leads upward, or nearly so, the Hessian is indefinite. Then $\tfrac32|\lambda_{\min}|$ is added to
    $\lambda$, with the Hessian's smallest eigenvalue $\lambda_{\min}$. The result always has a positive product with
    $g$. `update` takes the parameters and `loss_fn`, the loss as a function of them. What else that takes and returns
    is as in `scale_by_zoom_linesearch`.

    **Arguments:** `damping` $\lambda \ge 0$ (Levenberg & Marquardt); `tol` $\in [0, 1]$, the norm of the residual over
    that of $g$ at which the conjugate gradients stop; `max_steps`, None for as many as there are parameters.

    **State:** none. For small problems: an indefinite Hessian costs up to 200 more products, and as many copies of the
    parameters meanwhile.

    **Raises:** `ValueError` where `update` is called without the parameters, `TypeError` without `loss_fn`.

    **Source:** Nocedal & Wright, Numerical Optimization (2006), sections 3.4 and 7.1. Optax and torch have none.

    >>> import gradtx, jax, jax.numpy as jnp
    >>> tx, w = gradtx.scale_by_newton(), jnp.array([1.0, 2.0])
    >>> grad = jax.grad(loss := lambda w: jnp.sum(w**4))(w)
    >>> tx.update(grad, tx.init(w), w, loss_fn=loss)[0].round(4)  # a third of the way
    Array([0.3333, 0.6667], dtype=float32)
    """
    if max_steps is not None:
        require_whole("max_steps", max_steps)

    def update(updates: Any, state: Any, params: Any = None, *, loss_fn: Any, **further: Any):
        check.require_params(params)
        loss_fn = loss_of_params("loss_fn", loss_fn, further)
        scalar(loss_fn, params)
        g, w = reals(updates, updates, "updates"), reals(params, updates, "params")
        require_whole_arrays(g + w, "Newton's method needs them whole: run it outside of shard_map")
        size = sum(x.size for x in g)
        if not size:
            return updates, state

        def loss(arrays: Arrays) -> jax.Array:
            return loss_fn(put_back(arrays, params, updates))

        def solve(loss: Any, g: Arrays, w: Arrays, extra: Any) -> Arrays:
            def matrix(v: Arrays) -> Arrays:
                tangents = [x.astype(p.dtype) for x, p in zip(v, w, strict=True)]
                products = jax.jvp(jax.grad(loss), (w,), (tangents,))[1]
                return [h.astype(x.dtype) + (extra * x).astype(x.dtype) for h, x in zip(products, v, strict=True)]

            limits: Any = dict(tol=tol, maxiter=max_steps or size)  # JAX says float, an array does too
            widest = functools.reduce(check.promote, [x.dtype for x in g])  # the steps are one vector's, of one dtype
            found = cg(matrix, [x.astype(widest) for x in g], **limits)[0]
            return [x.astype(like.dtype) for x, like in zip(found, g, strict=True)]

        def solve_with(extra: Any) -> Arrays:
            return with_automatic_axes(solve, loss, w, (g, w, jnp.asarray(extra)), lambda: g)

        def shifted() -> Arrays:
            least = jax.lax.stop_gradient(smallest_eigenvalue(loss, w, rtol=0.1))
            return solve_with(damping + 1.5 * jnp.abs(least))

        plain = solve_with(damping)
        direction = jax.lax.cond(leads_down(plain, g), lambda: plain, shifted)
        fallback = leads_down(direction, g)
        direction = [jnp.where(fallback, x, u) for x, u in zip(direction, g, strict=True)]
        return put_back(direction, updates, updates), state

    return init_empty, update


def leads_down(direction: Arrays, g: Arrays) -> jax.Array:
    """Whether a step against the direction clearly lowers the loss; where the gradient is zero, none is worse."""
    slope, squares, steps = dot(direction, g), dot(g, g), dot(direction, direction)
    return (slope > LEAST_COSINE * root(squares) * root(steps)) | (squares == 0.0)


@composition
def newton(
    damping: NonNegative = 0.0,
    *,
    tol: Fraction = 1e-3,
    max_steps: int | None = None,
    max_linesearch_steps: int = 20,
    slope_rtol: Fraction = 1e-4,
    curv_rtol: Fraction = 0.9,
    max_learning_rate: Positive | None = None,
):
    r"""Newton's method, $w \leftarrow w - \eta\,(\nabla^2 L(w) + \lambda I)^{-1} g$ with $\eta$ from a line search: for
    small problems without noise.

    `update` takes `value`, `grad` and `loss_fn` beside the parameters; `optax.value_and_grad_from_state(loss_fn)` gets
    the first two from the state, where the line search left them.

    **Arguments:** `damping`, `tol` and `max_steps` as in `scale_by_newton`, the others as in
    `scale_by_zoom_linesearch`. The states and the sources are those of both.

    >>> import gradtx, jax, jax.numpy as jnp
    >>> tx, w = gradtx.newton(), jnp.array([1.0, 2.0])
    >>> value, grad = jax.value_and_grad(loss := lambda w: jnp.sum(jnp.array([1.0, 100.0]) * (w - 3.0) ** 2))(w)
    >>> updates, state = tx.update(grad, tx.init(w), w, value=value, grad=grad, loss_fn=loss)
    >>> gradtx.apply_updates(w, updates).round()
    Array([3., 3.], dtype=float32)
    """
    search = scale_by_zoom_linesearch(
        max_linesearch_steps, slope_rtol=slope_rtol, curv_rtol=curv_rtol, max_learning_rate=max_learning_rate
    )
    steps = chain(scale_by_newton(damping, tol=tol, max_steps=max_steps), scale(-1.0), search)
    return going_down(Composed.of(tx=steps))
