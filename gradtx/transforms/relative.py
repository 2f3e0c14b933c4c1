"""Steps in proportion to the size of what they move."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from gradtx.core import check
from gradtx.core.collectives import require_whole_arrays
from gradtx.core.factories import transformation
from gradtx.core.flow import Flow
from gradtx.core.lift import init_empty, stateless
from gradtx.core.rule import Rule
from gradtx.core.stage import LEFT_OUT, Fields
from gradtx.core.tree import norm, root, root_mean_square
from gradtx.selectors import Mask
from gradtx.transforms.clip import shrinkage
from gradtx.transforms.decay import on_masked
from gradtx.transforms.project import as_unit_axes, has_axes
from gradtx.values.annotations import Bound, NonNegative, Positive


@transformation
def scale_by_parameter_norm(minimum: NonNegative = 1e-3):
    r"""Each array's updates times the norm of its parameter, $g\cdot\max(\lVert w\rVert_2, \mu)$: steps become relative
    to what they move.

    **Arguments:** `minimum` $\mu \ge 0$, in the units of a parameter: with 0, parameters that are zeros stay so.

    **Raises:** `ValueError` where `update` is called without the parameters.

    **Source:** equals Optax's `scale_by_param_block_norm`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.scale_by_parameter_norm()
    >>> w = jnp.array([3.0, 4.0])
    >>> tx.update(jnp.array([1.0, -1.0]), tx.init(w), w)[0]
    Array([ 5., -5.], dtype=float32)
    """
    return times_size(norm, minimum)


@transformation
def scale_by_parameter_rms(minimum: NonNegative = 1e-3):
    r"""Each array's updates times the root mean square of its parameter, $g\cdot\max(\operatorname{rms}(w), \mu)$ with
    $\operatorname{rms}(w) = \lVert w\rVert_2/\sqrt n$ of its $n$ elements: steps become relative to what they move.

    **Arguments:** `minimum` $\mu \ge 0$, in the units of a parameter: with 0, parameters that are zeros stay so.

    **Raises:** `ValueError` where `update` is called without the parameters.

    **Source:** Shazeer & Stern, Adafactor (2018), section 8. Equals Optax's `scale_by_param_block_rms`. The parts of a
    complex array are two elements here.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.scale_by_parameter_rms()
    >>> w = jnp.array([2.0, -2.0])
    >>> tx.update(jnp.array([1.0, -1.0]), tx.init(w), w)[0]
    Array([ 2., -2.], dtype=float32)
    """
    return times_size(root_mean_square, minimum)


def times_size(size: Callable[[Array], Array], minimum: NonNegative) -> Rule:
    """The rule that multiplies each array by a size of its parameter."""
    return stateless(lambda g, p: g * jnp.maximum(size(p), minimum))


@transformation
def trust_ratio(
    coefficient: NonNegative = 1.0,
    min_norm: NonNegative = 0.0,
    eps: NonNegative = 0.0,
    *,
    mask: Mask | None = None,
):
    r"""Each array's updates as long as its parameter, times a coefficient, $c\,g\,\lVert w\rVert_2/(\lVert g\rVert_2 +
    \varepsilon)$: every layer moves by the same share of itself. Where either norm is 0 it is $g$ itself.

    **Arguments:** `coefficient` $c \ge 0$; `min_norm` $\mu \ge 0$, from which on both norms count,
    $\max(\lVert w\rVert_2, \mu)$ and $\max(\lVert g\rVert_2, \mu)$, in the units of both; `eps` $\varepsilon \ge 0$;
    `mask`, which arrays: a selector and the like, as in `masked`. The others stay as they are. By default there are
    none, though biases and gains usually are left out.

    **Raises:** `ValueError` where `update` is called without the parameters; (`init`) where the mask means no array.

    **Source:** You, Gitman & Ginsburg, Large batch training of convolutional networks (2017). Equals Optax's
    function of this name, which has `min_norm` first.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.trust_ratio(0.1)
    >>> w = {"kernel": jnp.array([30.0, 40.0]), "bias": jnp.zeros(1)}
    >>> u = {"kernel": jnp.array([0.0, 2.0]), "bias": jnp.ones(1)}
    >>> tx.update(u, tx.init(w), w)[0]
    {'bias': Array([1.], dtype=float32), 'kernel': Array([0., 5.], dtype=float32)}
    """

    def formula(g: Array, p: Array) -> Array:
        size, length = jnp.maximum(norm(p), min_norm), jnp.maximum(norm(g), min_norm)
        moves = (size > 0) & (length > 0)
        return g * jnp.where(moves, coefficient * size / jnp.where(moves, length + eps, 1.0), 1.0)

    return on_masked(stateless(formula), mask, "by its trust ratio")


@transformation
def adaptive_grad_clip(clip: Bound, eps: Positive = 1e-3, axis: int | tuple[int, ...] | None = None):
    r"""Each unit's updates to a norm of at most a share of its weights', $g\cdot\min(1,\ c\,\max(\lVert w\rVert_2,
    \varepsilon)/\lVert g\rVert_2)$: the bound grows with what is to be moved.

    **Arguments:** `clip` $c > 0$, about 0.01, `inf` for none; `eps` $\varepsilon > 0$, in the units of a parameter,
    from which on its norm counts; `axis`, one or several, along which a unit's weights lie, as in `constrain_norm`. By
    default a unit is what belongs to one output, the last axis: the norms go over all other axes, in three dimensions
    over the first alone. An array with at most one axis longer than 1 is one unit.

    **Raises:** `ValueError` where `update` is called without the parameters, for an array of two dimensions or more
    that lacks an axis, and for one given twice; `TypeError` for an axis that is no whole number.

    **Source:** Brock et al., High-performance large-scale image recognition without normalization (2021), equation 3.
    Equals Optax's function of this name, whose arrays have at most five dimensions, unless the bound is below 1e-6.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.adaptive_grad_clip(0.1)
    >>> w = jnp.array([[3.0, 0.0], [4.0, 1.0]])
    >>> tx.update(jnp.array([[6.0, 0.0], [8.0, 0.01]]), tx.init(w), w)[0]
    Array([[0.3 , 0.  ],
           [0.4 , 0.01]], dtype=float32)
    """
    axes = None if axis is None else as_unit_axes(axis)

    def formula(g: Array, row: Any, p: Array, parts: int) -> tuple[Array, Fields]:
        limit, size = (length_of_units(x, axes, parts) for x in (p, g))
        return g * shrinkage(size, clip * jnp.maximum(limit, eps)), {}

    def advance(flow: Flow, state: Any, extra: dict[str, Any]) -> Any:
        check.require_state(state, optax.EmptyState)
        check.require_params(flow.params)
        arrays = [isinstance(u, jax.Array) for u in flow.leaves]
        pairs = [array and jnp.iscomplexobj(u) for u, array in zip(flow.leaves, arrays, strict=True)]
        for i, u in enumerate(flow.leaves):
            if axes is not None and arrays[i] and u.ndim > 1:
                has_axes(u, axes, flow.tree, i)
        for parts in {*pairs}:  # a complex array comes to the formula with its parts along an axis in front
            rows = [None if x is parts else LEFT_OUT for x in pairs]
            flow.then(functools.partial(formula, parts=int(parts)), rows, needs_params=True)
        return state

    return Rule(init_empty, advance)


def length_of_units(x: Array, axes: tuple[int, ...] | None, front: int) -> Array:
    """The norms of the units of an array, whose first axes, so many, are no axes of the array itself."""
    n = x.ndim - front
    if n < 2:
        return norm(x)
    require_whole_arrays([x], "a unit's weights may lie on several devices: clip them outside of shard_map")
    if axes is None and sum(size > 1 for size in x.shape[front:]) < 2:
        return norm(x)
    own = axes if axes is not None else (0,) if n == 3 else tuple(range(n - 1))
    return root(jnp.sum(jnp.square(x), (*range(front), *[a % n + front for a in own]), keepdims=True))
