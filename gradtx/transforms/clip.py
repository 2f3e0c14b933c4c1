"""Clipping: bounds on elements, on arrays and on the whole tree."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradtx.core import check
from gradtx.core.collectives import largest
from gradtx.core.factories import transformation
from gradtx.core.flow import Flow
from gradtx.core.lift import scaling, stateless
from gradtx.core.rule import Rule
from gradtx.core.tree import joint_norm, norm, root_mean_square
from gradtx.values.annotations import Bound, Fraction, Positive


class ClipState(NamedTuple):
    """What clipping did in the last update; zeros before the first.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.clip_by_norm(1.0)
    >>> _, state = tx.update(jnp.array([3.0, 4.0]), tx.init(None))
    >>> float(state.norm), bool(state.clipped)
    (5.0, True)
    """

    norm: jax.Array  # of what came in, in the norm that is bounded; where each array is, the largest
    clipped_norm: jax.Array  # of what went out; NaN where no finite norm came in, unless elements are clipped
    clipped: jax.Array  # bool, (): whether they differ

    only_measured = ("norm", "clipped_norm", "clipped")  # no update reads them

    @property
    def metrics(self) -> dict[str, jax.Array]:
        return self._asdict()


@transformation
def clip_by_value(limit: Bound):
    r"""Each element into the interval, $\min(\max(g, -\ell), \ell)$: the direction changes.

    **Arguments:** `limit` $\ell > 0$, in the units of the gradient; `inf` for none.

    **State:** `ClipState`, for `metrics`.

    Equals Optax's `clip`, torch's `clip_grad_value_` and Keras' `clipvalue`. A complex element is clipped in its real
    and its imaginary part.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.clip_by_value(1.0)
    >>> tx.update(jnp.array([0.5, 100.0]), tx.init(None))[0]
    Array([0.5, 1. ], dtype=float32)
    """

    def formula(g: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jnp.clip(g, -limit, limit), largest(jax.lax.stop_gradient(jnp.abs(g)))  # which is only measured

    return clip_each(formula, limit, jnp.minimum)


@transformation
def squash(scale: Positive = 1.5, share: Fraction = 0.9, limit: Bound = 2.0):
    r"""Each element bounded smoothly: with $y = g/s$ it is $s\,(a \tanh y + (1 - a)\operatorname{sign}(y)
    \log(1 + |y|))$, and at most $\ell$ in size. Small elements stay as they are.

    It stands behind a direction whose elements are about 1, as whitened ones are.

    **Arguments:** `scale` $s > 0$, in the units of what comes in; `share` $a \in [0, 1]$, that of the part that is
    bounded by itself; `limit` $\ell > 0$, `inf` for none.

    **Source:** the trust region of HeavyBall's code, whose limit is 2.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.squash()
    >>> out = tx.update(jnp.array([0.1, -1.0, 1000.0]), tx.init(None))[0]
    >>> [round(float(x), 2) for x in out]
    [0.1, -0.86, 2.0]
    """

    def formula(g: jax.Array) -> jax.Array:
        y = g / scale
        rising = jnp.sign(y) * jnp.log1p(jnp.abs(y))
        return jnp.clip(scale * (share * jnp.tanh(y) + (1.0 - share) * rising), -limit, limit)

    return stateless(formula)


@transformation
def clip_by_norm(max_norm: Bound):
    r"""Each array by itself to a norm of at most $c$, $g \cdot c / \max(\lVert g\rVert_2, c)$: the direction stays.

    **Arguments:** `max_norm` $c > 0$, in the units of the gradient; `inf` for none.

    **State:** `ClipState`, for `metrics`.

    Equals Keras' `clipnorm`; `clip_by_rms` bounds $\lVert g\rVert_2/\sqrt n$.
    A finite norm beyond float32 (1.8e19) gives zeros.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.clip_by_norm(5.0)
    >>> tx.update({"w": jnp.array([6.0, 8.0]), "b": jnp.array([1.0])}, tx.init(None))[0]
    {'b': Array([1.], dtype=float32), 'w': Array([3., 4.], dtype=float32)}
    """

    def formula(g: jax.Array) -> tuple[jax.Array, jax.Array]:
        size = norm(g)
        return g * shrinkage(size, max_norm), size

    return clip_each(formula, max_norm, bound_norm)


@transformation
def clip_by_rms(max_rms: Bound):
    r"""Each array by itself to a root mean square of at most $c$, $g \cdot c / \max(\operatorname{rms}(g), c)$ with
    $\operatorname{rms}(g) = \lVert g\rVert_2/\sqrt n$ of its $n$ elements: the direction stays, and the bound means
    the same for arrays of all sizes.

    **Arguments:** `max_rms` $c > 0$, in the units of an element of the gradient; `inf` for none.

    **State:** `ClipState`, for `metrics`; its norms are root mean squares.

    **Source:** Shazeer & Stern, Adafactor (2018), section 6. Equals Optax's `clip_by_block_rms`. The parts of a complex
    array are two elements here. An array whose squares have a sum beyond float32 becomes zeros.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.clip_by_rms(1.0)
    >>> tx.update({"w": jnp.array([2.0, -2.0]), "b": jnp.array([0.5])}, tx.init(None))[0]
    {'b': Array([0.5], dtype=float32), 'w': Array([ 1., -1.], dtype=float32)}
    """

    def formula(g: jax.Array) -> tuple[jax.Array, jax.Array]:
        size = root_mean_square(g)
        return g * shrinkage(size, max_rms), size

    return clip_each(formula, max_rms, bound_norm)


@transformation
def clip_by_global_norm(max_norm: Bound):
    r"""All arrays as one vector to a norm of at most $c$, $g \cdot c / \max(\lVert g\rVert_2, c)$: the direction stays.

    **Arguments:** `max_norm` $c > 0$, in the units of the gradient; `inf` for none.

    **State:** `ClipState`, for `metrics`.

    **Raises:** `ValueError` where only some arrays are in sight, as in a group of a `partition`: `clip_by_group_norm`
    bounds the norm of those.

    **Source:** Pascanu, Mikolov & Bengio, On the difficulty of training recurrent neural networks (2013), algorithm 1.
    Equals Optax's function of this name and Keras' `global_clipnorm`; torch's `clip_grad_norm_` adds 1e-6 to the norm.
    A finite norm beyond float32 (1.8e19) gives zeros.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.clip_by_global_norm(5.0)
    >>> tx.update({"w": jnp.array([6.0]), "b": jnp.array([8.0])}, tx.init(None))[0]
    {'b': Array([4.], dtype=float32), 'w': Array([3.], dtype=float32)}
    """
    remedy = "put it ahead of what selects them, or take clip_by_group_norm for the norm of these"
    return clip_together(max_norm, whole=remedy)


@transformation
def clip_by_group_norm(max_norm: Bound):
    r"""The arrays in sight as one vector to a norm of at most $c$, $g \cdot c / \max(\lVert g\rVert_2, c)$.

    Inside of `masked`, `only` and `partition` these are the arrays of the group, elsewhere all.

    **Arguments:** `max_norm` $c > 0$, in the units of the gradient; `inf` for none.

    **State:** `ClipState`, for `metrics`.

    **Source:** torch's `clip_grad_norm_` called with the parameters of a group, which adds 1e-6 to the norm.

    >>> import gradtx as gx, jax.numpy as jnp
    >>> tx = gx.masked(gx.clip_by_group_norm(1.0), gx.by_path("w"))
    >>> u = {"w": jnp.array([2.0]), "b": jnp.array([2.0])}
    >>> tx.update(u, tx.init(u))[0]
    {'b': Array([2.], dtype=float32), 'w': Array([1.], dtype=float32)}
    """
    return clip_together(max_norm)


def clip_together(max_norm: Bound, whole: str = "") -> Rule:
    """The pair that bounds the norm of all arrays in sight."""

    def factor(state: ClipState, updates: Any) -> tuple[jax.Array, ClipState]:
        size = joint_norm(updates)
        return shrinkage(size, max_norm), next_state(state, size, bound_norm(size, max_norm), max_norm)

    return scaling(init_clip, factor, whole=whole)


class Size(NamedTuple):
    size: jax.Array


def clip_each(
    formula: Callable[[jax.Array], tuple[jax.Array, jax.Array]], bound: Bound, after: Callable[[Any, Any], Any]
) -> Rule:
    """The rule that applies `formula(g) -> (update, norm of g)` to each array; `after(norm, bound)` is the update's."""

    def measured(g: jax.Array, _: Size) -> tuple[jax.Array, dict[str, jax.Array]]:
        u, size = formula(g)
        return u, dict(size=size)

    def advance(flow: Flow, state: ClipState, extra: dict[str, Any]) -> Any:
        check.require_state(state, ClipState)
        results = flow.then(measured, [Size(state.norm)] * len(flow.leaves), ["size"])

        def filled() -> ClipState:
            sizes = [row["size"] for row in results if row is not None]
            size = jnp.max(jnp.array(sizes), initial=0.0)
            return next_state(state, size, after(size, bound), bound)

        return flow.promise(filled)

    return Rule(init_clip, advance)


def init_clip(params: Any) -> ClipState:
    zero = jnp.zeros([], jnp.result_type(float))
    return ClipState(zero, jnp.copy(zero), jnp.zeros([], bool))


def bound_norm(size: jax.Array, bound: Bound) -> jax.Array:
    """The norm of what went out; where what came in had none that is finite, it is no norm that one could bound."""
    return jnp.minimum(size, bound) + 0.0 * size  # NaN there; written out, debuggers of NaN would stop at it


def next_state(before: ClipState, size: jax.Array, clipped_size: jax.Array, bound: Bound) -> ClipState:
    """The state after an update of these norms."""
    check.require_state(before, ClipState)
    dtype = before.norm.dtype
    return ClipState(size.astype(dtype), clipped_size.astype(dtype), size > bound)


def shrinkage(norm: jax.Array, max_norm: Bound) -> jax.Array:
    """The factor that brings a norm down to its bound; exactly 1 below it, without a kink in its gradient at zero."""
    bound = jnp.asarray(max_norm, norm.dtype)
    finite = jnp.minimum(bound, float(jnp.finfo(norm.dtype).max))
    return jnp.where(bound == jnp.inf, 1.0, finite / jnp.maximum(norm, finite))
