"""Adam-mini: one second moment for a block of elements."""

import math
from typing import Annotated, Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from gradtx.core.collectives import mean_parts, require_whole_arrays
from gradtx.core.combine import chain
from gradtx.core.count import Count
from gradtx.core.factories import composition, transformation
from gradtx.core.lift import per_array
from gradtx.core.placement import stay_like
from gradtx.core.quantity import Squares
from gradtx.core.transformation import Updates
from gradtx.core.tree import root
from gradtx.selectors import Mask, as_selector, maybe
from gradtx.transforms.decay import add_decayed_weights
from gradtx.transforms.momentum import debias
from gradtx.transforms.rate import scale_by_learning_rate
from gradtx.values.annotations import Check, Decay, NonNegative
from gradtx.values.errors import Refusal
from gradtx.values.printing import excerpt
from gradtx.wrappers.select import partition

AxesOrAll = int | tuple[int, ...] | None
WHOLE_FOR_MEANS = "the means of its squares need it whole: use jit, which shards it by itself"


class ScaleByAdamMiniState(NamedTuple):
    """The state of `scale_by_adam_mini`.

    >>> import gradtx, jax.numpy as jnp
    >>> gradtx.scale_by_adam_mini().init(jnp.zeros((4, 3))).nu.shape
    (1, 3)
    """

    count: Count
    mu: Updates  # first moment
    nu: Squares  # second moment, of size 1 along the axes that share it


def as_shared_axes(name: str, value: Any) -> AxesOrAll:
    """An axis or several, counted from the last; None for all."""
    axes = tuple(value) if isinstance(value, list) else value  # as JSON has it
    several = axes if isinstance(axes, tuple) else () if axes is None else (axes,)
    if not all(type(axis) is int for axis in several):
        expected = "an axis, a tuple of axes, or None for all"
        raise Refusal(TypeError, f"{name} must be {expected}, got {excerpt(value)}")
    if any(axis >= 0 for axis in several) or len(set(several)) < len(several):
        expected = "different axes counted from the last, such as -2 or (-3, -1)"
        raise Refusal(ValueError, f"{name} must be {expected}, got {excerpt(value)}")
    return axes


def as_shares(name: str, value: Any) -> Any:
    """Axes for all arrays, or pairs of a selector and axes."""
    rows = tuple(value) if isinstance(value, list) else value
    if not (isinstance(rows, tuple) and rows and all(isinstance(row, tuple | list) for row in rows)):
        return as_shared_axes(name, value)
    if not all(len(row) == 2 for row in rows):
        raise Refusal(TypeError, f"{name} must be axes, or a tuple of pairs (selector, axes), got {excerpt(value)}")
    return tuple(
        [
            (as_selector(f"{name}[{i}][0]", where), as_shared_axes(f"{name}[{i}][1]", axes))
            for i, (where, axes) in enumerate(rows)
        ]
    )


SharedAxes = Annotated[AxesOrAll, Check(as_shared_axes)]
Shares = Annotated[Any, Check(as_shares, selects=True)]


@transformation
def scale_by_adam_mini(
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    *,
    share: SharedAxes = -2,
):
    r"""Adam's direction with one second moment for a block of elements, $\hat m/(\sqrt{\hat v} + \varepsilon)$ with
    $m \leftarrow \beta_1 m + (1 - \beta_1)\,g$ and $v \leftarrow \beta_2 v + (1 - \beta_2)\operatorname{mean}(g^2)$
    over the block: the inputs of an output, unless `share` says otherwise.

    **Arguments:** `b1` $\beta_1$ and `b2` $\beta_2 \in [0, 1)$; `eps` $\varepsilon \ge 0$, not 0 where gradients may
    stay zero (0/0); `share`, the axes that a block goes along, counted from the last: an axis, a tuple of axes, None
    for the whole array, `()` for Adam itself. An array that lacks one of them, as a bias does, has a $v$ for each
    element.

    | arrays of | shape | a block is | `share` |
    | --- | --- | --- | --- |
    | a dense layer | (in, out) | an output | -2 |
    | a dense layer of torch | (out, in) | an output | -1 |
    | an embedding | (tokens, features) | a token | -1 |
    | queries or keys | (in, head, size) | a head | (-3, -1) |
    | a convolution of Flax | (height, width, in, out) | an output | (-4, -3, -2) |

    **State:** `count`, `mu` $m$, one array per parameter, and `nu` $v$, one number per block; the parts of a complex
    array have blocks of their own, unless its whole is one.

    **Raises:** `TypeError` and `ValueError` for another `share`; (`update`) `ValueError` for an array that is in parts
    inside of `shard_map`, of which some axes share.

    **Source:** Zhang et al., Adam-mini (2024), algorithm 1: an output, a token, a head of queries and keys.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.scale_by_adam_mini()
    >>> g = jnp.array([[7.0, -3.0], [1.0, 3.0]])
    >>> tx.update(g, tx.init(g))[0].round(1)
    Array([[ 1.4, -1. ],
           [ 0.2,  1. ]], dtype=float32)
    """

    def block_of(shape: tuple[int, ...], parts: int = 0) -> tuple[int, ...]:
        if share is None:
            return tuple(range(-len(shape), 0))
        axes = share if isinstance(share, tuple) else (share,)
        return axes if len(shape) - parts >= -min(axes, default=0) else ()

    def shape_of_means(shape: tuple[int, ...], parts: int) -> tuple[int, ...]:
        axes = block_of(shape, parts)
        return tuple([1 if i - len(shape) in axes else n for i, n in enumerate(shape)])

    def mean_of_blocks(q: Array, nu: Array) -> Array:
        axes = block_of(q.shape)
        if not axes:
            return q
        if share is None:
            return jnp.expand_dims(mean_parts(q), axes)
        require_whole_arrays([q], WHOLE_FOR_MEANS)
        if nu.shape == q.shape:  # blocks of one element, as of a complex array that lacks an axis without its parts
            return q
        return jnp.sum(q, axes, keepdims=True) / max(math.prod([q.shape[axis] for axis in axes]), 1)

    def init(p: Array, parts: int):
        return dict(mu=jnp.zeros_like(p), nu=jnp.zeros(shape_of_means(p.shape, parts), p.dtype))

    def update(g: Array, state: ScaleByAdamMiniState):
        t = state.count + 1.0
        mu = b1 * state.mu + (1.0 - b1) * g
        nu = stay_like(b2 * state.nu + (1.0 - b2) * mean_of_blocks(g**2, state.nu), state.nu)
        return debias(mu, b1, t) / (root(debias(nu, b2, t)) + eps), dict(mu=mu, nu=nu)

    return per_array(ScaleByAdamMiniState, init, update)


@composition
def adam_mini(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    *,
    share: Shares = -2,
    weight_decay: NonNegative = 1e-4,
    mask: Mask | None = None,
):
    r"""Adam-mini, $w \leftarrow w - \eta\,(\hat m/(\sqrt{\hat v} + \varepsilon) + \lambda w)$ with the direction of
    `scale_by_adam_mini`: AdamW with half of its state.

    **Arguments:** `learning_rate` $\eta \ge 0$, that of AdamW; `share`, the axes of a block as in `scale_by_adam_mini`,
    or pairs of a selector and such axes, of which the first that takes an array counts. What none takes has a block
    for each output, -2. For a transformer, for instance,
    `share=((by_path("embed"), -1), (by_path("query|key"), (-3, -1)))`, and `explain(tx, params)` shows who got what.
    `weight_decay` $\lambda \ge 0$ and `mask` as in `adamw`; the others as in `scale_by_adam_mini`.

    **State:** as `scale_by_adam_mini`; with pairs, one such state for each and one for all else.

    **Source:** Zhang et al., Adam-mini (2024), algorithm 1, with AdamW's decay.

    >>> import gradtx as gx
    >>> gx.adam_mini(1e-3, share=((gx.by_path("embed"), -1),))
    adam_mini(learning_rate=0.001, share=((by_path(pattern='embed'), -1),))
    """
    if isinstance(share, tuple) and any(isinstance(row, tuple) for row in share):
        groups = [(maybe(where), scale_by_adam_mini(b1, b2, eps, share=axes)) for where, axes in share]
        direction = partition(*groups, default=scale_by_adam_mini(b1, b2, eps))
    else:
        direction = scale_by_adam_mini(b1, b2, eps, share=share)
    return chain(direction, add_decayed_weights(weight_decay, mask), scale_by_learning_rate(learning_rate))
