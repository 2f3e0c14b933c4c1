"""Estimates of the Hessian's diagonal, made in the place of the gradient: for Sophia."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradtx.core import check
from gradtx.core.collectives import require_whole_arrays
from gradtx.core.count import Count, increment
from gradtx.core.factories import transformation
from gradtx.core.flow import Flow
from gradtx.core.keys import Seed, make_key
from gradtx.core.lift import init_empty
from gradtx.core.loss import loss_of_params
from gradtx.core.placement import with_automatic_axes
from gradtx.core.reals import put_back, reals
from gradtx.core.rule import Rule
from gradtx.curvature import scalar
from gradtx.values.annotations import NonNegative

RealArrays = list[jax.Array]
BY_LOSS = frozenset({"loss_fn"})


class HutchinsonState(NamedTuple):
    """The state of `hutchinson`.

    >>> import gradtx
    >>> gradtx.hutchinson().init(None)
    HutchinsonState(count=Array(0, dtype=int32))
    """

    count: Count  # of the estimates made: each has signs of its own


@transformation
def hutchinson(key: Seed = 0):
    r"""An estimate of the Hessian's diagonal at the parameters, in the place of the gradient,
    $z \odot (\nabla^2 L(w)\,z)$ with random signs $z$: right on average, and exact where the Hessian is diagonal. It
    costs about two gradients.

    `update` takes the parameters and `loss_fn`, the loss as a function of them. What else that takes and returns is as
    in `scale_by_zoom_linesearch`.

    **Arguments:** `key`, a seed or a key of JAX's.

    **State:** `count`, of estimates.

    **Raises:** `TypeError` for a key that is none and where `update` is called without `loss_fn`; `ValueError` where it
    is called without the parameters, or with arrays that are in parts inside of `shard_map`.

    **Source:** Hutchinson (1990); Bekas, Kokiopoulou & Saad (2007); in Sophia (2023) algorithm 1, with normal $z$. As
    in Optax's `hutchinson_estimator_diag_hessian`, $z$ are signs.

    >>> import gradtx, jax, jax.numpy as jnp
    >>> tx, w = gradtx.hutchinson(), jnp.array([1.0, 2.0])
    >>> tx.update(w, tx.init(w), w, loss_fn=lambda w: jnp.sum(w**4))[0].round(4)
    Array([12., 48.], dtype=float32)
    """

    def init(params: Any) -> HutchinsonState:
        return HutchinsonState(jnp.zeros([], jnp.int32))

    def advance_signs(flow: Flow, state: Any, extra: dict[str, Any]) -> HutchinsonState:
        check.require_state(state, HutchinsonState)
        now = jax.random.fold_in(make_key(key), state.count)

        def draw_signs(w: RealArrays) -> RealArrays:
            keys = jax.random.split(now, len(w))
            return [jax.random.rademacher(own, x.shape, x.dtype) for own, x in zip(keys, w, strict=True)]

        put_estimate(flow, extra, estimate_by_signs, draw_signs)
        return HutchinsonState(increment(state.count))

    return Rule(init, advance_signs, takes=BY_LOSS, needs=("loss_fn",))


def estimate_by_signs(loss: Any, w: RealArrays, signs: RealArrays) -> RealArrays:
    products = jax.jvp(jax.grad(loss), (w,), (signs,))[1]
    return [z * h for z, h in zip(signs, products, strict=True)]


@transformation
def gauss_newton(size: NonNegative = 1.0) -> Rule:
    r"""The Gauss-Newton-Bartlett estimate of the Hessian's diagonal, in the place of the gradient, $B\,\hat g^2$.

    `update` takes the parameters and `loss_fn`, the mean loss as a function of them over a batch whose labels were
    drawn from what the model itself predicts. What else that takes and returns is as in `scale_by_zoom_linesearch`.

    **Arguments:** `size` $B \ge 0$, of the batch.

    **State:** none.

    **Raises:** `TypeError` where `update` is called without `loss_fn`; `ValueError` where it is called without the
    parameters, or with arrays that are in parts inside of `shard_map`.

    **Source:** Liu et al., Sophia (2023), algorithm 2, for losses that are cross-entropies.

    >>> import gradtx, jax.numpy as jnp
    >>> tx, w = gradtx.gauss_newton(size=8.0), jnp.array([1.0])
    >>> tx.update(w, tx.init(w), w, loss_fn=lambda w: 0.5 * jnp.sum(w))[0]
    Array([2.], dtype=float32)
    """

    def advance_squares(flow: Flow, state: Any, extra: dict[str, Any]) -> Any:
        def estimate(loss: Any, w: RealArrays, _: RealArrays) -> RealArrays:
            return [(size * g**2).astype(g.dtype) for g in jax.grad(loss)(w)]

        put_estimate(flow, extra, estimate)
        return state

    return Rule(init_empty, advance_squares, takes=BY_LOSS, needs=("loss_fn",))


def put_estimate(
    flow: Flow,
    extra: dict[str, Any],
    estimate: Callable[[Any, RealArrays, RealArrays], RealArrays],
    draw: Callable[[RealArrays], RealArrays] = lambda w: [],
    name: str = "loss_fn",
) -> None:
    """Go on with what a function makes of the loss, which has this name among the extra arguments, the parameters, both
    as those of real arrays, and what is drawn.
    """
    check.require_params(flow.params)
    updates, params = flow.tree, flow.own_params
    further = {key: x for key, x in extra.items() if key != name}
    given = extra[name]
    loss_fn = loss_of_params(name, flow.widen_function(given) if callable(given) else given, further)
    scalar(loss_fn, params)
    w = reals(params, updates, "params")
    require_whole_arrays(w, "an estimate of the Hessian needs them whole: run it outside of shard_map")

    def loss(arrays: RealArrays) -> jax.Array:
        return loss_fn(put_back(arrays, params, updates))

    found = with_automatic_axes(estimate, loss, w, (w, draw(w)), lambda: w) if w else []
    wide = jax.tree.map(lambda u: jnp.zeros_like(u, check.promote(u.dtype)), updates)
    rows = flow.match(put_back(found, wide, updates), "an estimate")
    flow.then(lambda g, row: (row.astype(g.dtype), {}), rows)
