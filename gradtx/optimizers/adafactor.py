"""Adafactor: second moments of matrices as the product of a row and a column."""

from typing import Annotated, Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from gradtx.core.collectives import require_whole_arrays
from gradtx.core.combine import chain
from gradtx.core.count import Count
from gradtx.core.factories import composition, transformation
from gradtx.core.lift import per_array
from gradtx.core.placement import stay_like
from gradtx.core.quantity import Squares
from gradtx.core.tree import root
from gradtx.selectors import Mask
from gradtx.transforms.clip import clip_by_rms
from gradtx.transforms.decay import add_decayed_weights
from gradtx.transforms.momentum import ema
from gradtx.transforms.rate import scale, scale_by_learning_rate
from gradtx.transforms.relative import scale_by_parameter_rms
from gradtx.values.annotations import Bound, Check, Decay, Natural, NonNegative
from gradtx.values.errors import Refusal, require_whole
from gradtx.values.printing import excerpt

TwoAxes = tuple[int, int]
WHOLE_FOR_FACTORS = "the factors of its second moment need it whole: use jit, which shards it by itself"


class ScaleByFactoredRmsState(NamedTuple):
    """The state of `scale_by_factored_rms`. What an array does not have is one zero, as in Optax: each field is a tree
    of arrays like the parameters, whichever of them are factored.

    >>> import gradtx, jax.numpy as jnp
    >>> state = gradtx.scale_by_factored_rms().init(jnp.zeros((1000, 500)))
    >>> state.v_row.shape, state.v_col.shape, state.v.shape
    ((500,), (1000,), (1,))
    """

    count: Count
    v_row: Squares  # the average of squares, its mean over the largest axis
    v_col: Squares  # its mean over the second largest
    v: Squares  # of an array that is not factored, the average itself


def as_pair_of_dims(name: str, value: Any) -> TwoAxes:
    """Two axes, counted from the last."""
    axes = tuple(value) if isinstance(value, list) else value  # as JSON has it
    if not (isinstance(axes, tuple) and len(axes) == 2 and all(type(axis) is int for axis in axes)):
        raise Refusal(TypeError, f"{name} must be two axes, such as (-2, -1), got {excerpt(value)}")
    if max(axes) >= 0 or axes[0] == axes[1]:
        raise Refusal(
            ValueError, f"{name} must be two axes counted from the last, such as (-2, -1), got {excerpt(value)}"
        )
    return axes[0], axes[1]


@transformation
def scale_by_factored_rms(
    decay_rate: NonNegative = 0.8,
    offset: Natural = 0,
    min_dim: int = 128,
    eps: NonNegative = 1e-30,
    *,
    dims: Annotated[TwoAxes, Check(as_pair_of_dims)] | None = None,
):
    r"""The gradient over its root mean square, of which a matrix keeps the means of rows and of columns alone,
    $g_{ij}/\sqrt{r_i c_j / \bar r}$ with $r_i \leftarrow \beta_t r_i + (1 - \beta_t)\operatorname{mean}_j q_{ij}$,
    $c_j \leftarrow \beta_t c_j + (1 - \beta_t)\operatorname{mean}_i q_{ij}$, $q = g^2 + \varepsilon$ and
    $\beta_t = 1 - t^{-\gamma}$. Any other array keeps $v \leftarrow \beta_t v + (1 - \beta_t)\,q$: $g/\sqrt v$.

    **Arguments:** `decay_rate` $\gamma \ge 0$; `offset` $t_0$, which is taken from $t$ where the count goes on from an
    earlier training: up to $t_0 + 1$ the last gradient alone counts. `min_dim`: an array is factored where its second
    largest size is at least this, along its two largest axes (of equal ones the last). `eps` $\varepsilon \ge 0$, not 0
    where gradients may stay zero (0/0). `dims`, the two axes to factor in place of the largest, counted from the last:
    `(-2, -1)` where layers are stacked in one array, or heads, each of which then has factors of its own.

    **State:** `count`, `v_row` $r$ and `v_col` $c$, or `v`: $n + m$ numbers for a matrix of $n \times m$, one
    array per parameter for all else.

    **Raises:** `TypeError` and `ValueError` for `min_dim` or `dims` that are none; (`update`) `ValueError` for an array
    of two dimensions or more that is in parts inside of `shard_map`.

    **Source:** Shazeer & Stern, Adafactor (2018), algorithms 4 and 5. Equals Optax's function of this name, whose
    $\beta_t$ is in float32 and NaN up to `offset`. torch and Keras factor the last two axes of any size:
    `min_dim=1, dims=(-2, -1)`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.scale_by_factored_rms(min_dim=2)
    >>> g = jnp.array([[1.0, 2.0], [-3.0, 6.0]])
    >>> tx.update(g, tx.init(g))[0].round(4)
    Array([[ 1.,  1.],
           [-1.,  1.]], dtype=float32)
    """
    require_whole("min_dim", min_dim)

    def init(p: Array, parts: int):
        factored, none = axes_to_factor(p.shape, min_dim, dims, parts), jnp.zeros(1, p.dtype)
        if factored is None:
            return dict(v_row=none, v_col=none, v=jnp.zeros_like(p))
        row, col = [jnp.zeros(tuple(np.delete(p.shape, axis).tolist()), p.dtype) for axis in factored[::-1]]
        return dict(v_row=row, v_col=col, v=jnp.zeros((1,) * (1 + parts), p.dtype))

    def update(g: Array, state: ScaleByFactoredRmsState):
        if g.ndim > 1:
            require_whole_arrays([g], WHOLE_FOR_FACTORS)
        t = jnp.maximum(state.count + 1.0 - offset, 1.0)
        beta, q = 1.0 - t**-decay_rate, g**2 + eps
        if state.v.shape == g.shape:
            v = beta * state.v + (1.0 - beta) * q
            return g / root(v), dict(v_row=state.v_row, v_col=state.v_col, v=v)
        parts = state.v.ndim - 1  # axes in front that are none of the array's
        factored = axes_to_factor(g.shape, min_dim, dims, parts)
        assert factored
        second, largest = factored
        row = stay_like(beta * state.v_row + (1.0 - beta) * jnp.mean(q, largest), state.v_row)
        col = stay_like(beta * state.v_col + (1.0 - beta) * jnp.mean(q, second), state.v_col)
        wide = jnp.expand_dims(row, largest)
        # Roots one by one: the product of two small numbers, and the square of one in a derivative, may be none in
        # float32.
        share = root(jnp.mean(wide, second, keepdims=True)) / root(jnp.expand_dims(col, second))
        return (g / root(wide)) * share, dict(v_row=row, v_col=col, v=state.v)

    return per_array(ScaleByFactoredRmsState, init, update)


def axes_to_factor(shape: tuple[int, ...], min_dim: int, dims: TwoAxes | None, parts: int = 0) -> TwoAxes | None:
    """The axes of an array that are factored, the largest one last; None where none are. So many `parts` in front are
    none of its axes.
    """
    n = len(shape)
    axes = range(parts, n) if dims is None else [n + dim for dim in dims if n + dim >= parts]
    found = sorted(axes, key=lambda axis: (shape[axis], axis))[-2:]
    return (found[0], found[1]) if len(found) == 2 and shape[found[0]] >= min_dim else None


@composition
def adafactor(
    learning_rate: NonNegative,
    min_dim: int = 128,
    decay_rate: NonNegative = 0.8,
    offset: Natural = 0,
    *,
    relative: bool = True,
    max_rms: Bound = 1.0,
    momentum: Decay | None = None,
    weight_decay: NonNegative | None = None,
    mask: Mask | None = None,
    eps: NonNegative = 1e-30,
    dims: Annotated[TwoAxes, Check(as_pair_of_dims)] | None = None,
):
    r"""Adafactor, $w \leftarrow w - \eta\,\max(\operatorname{rms}(w), 10^{-3})\,u$, where $u$ is the direction of
    `scale_by_factored_rms`, clipped to a root mean square of 1: states much smaller than the parameters. Equals Optax's
    by default, whose decay is none and not times the rate.

    **Arguments:** `learning_rate` $\eta \ge 0$, the share of itself by which an array moves at most; `relative=False`
    leaves out the parameter's size: a rate as Adam's. `max_rms` bounds $u$, `inf` for none. `momentum` averages the
    steps, rate and all, as `ema`; `weight_decay` $\lambda$ adds $-\lambda w$, *not* times the rate, for the arrays of
    `mask`; the others as in `scale_by_factored_rms`. `update` needs the parameters, where `relative` or with decay.

    **State:** that of `scale_by_factored_rms`, with `momentum` one array per parameter more.

    **Source:** Shazeer & Stern, Adafactor (2018), algorithms 4 and 5. torch and Keras have
    `dims=(-2, -1), min_dim=1`, the rate $\min(\eta, 1/\sqrt t)$, and the decay times the rate ahead of the step.

    >>> import gradtx
    >>> gradtx.adafactor(1e-2, momentum=0.9)
    adafactor(learning_rate=0.01, momentum=0.9)
    """
    steps = [
        scale_by_factored_rms(decay_rate, offset, min_dim, eps, dims=dims),
        clip_by_rms(max_rms),
        scale_by_learning_rate(learning_rate),
    ]
    if relative:
        steps.append(scale_by_parameter_rms())
    if momentum is not None:
        steps.append(ema(momentum))
    if weight_decay is not None:
        steps += [scale(-1.0), add_decayed_weights(weight_decay, mask), scale(-1.0)]  # the rate has flipped the sign
    return chain(*steps)
