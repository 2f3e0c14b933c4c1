"""SM3: AdaGrad with one number for each place along each axis, in the room of one for each element."""

import functools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from gradtx.core.collectives import require_whole_arrays
from gradtx.core.combine import chain
from gradtx.core.factories import composition, transformation
from gradtx.core.lift import per_array
from gradtx.core.placement import run_on_automatic_axes, stay_like
from gradtx.core.quantity import Squares
from gradtx.core.transformation import Updates
from gradtx.core.tree import root
from gradtx.transforms.rate import scale_by_learning_rate
from gradtx.values.annotations import Decay, NonNegative

WHOLE_FOR_MAXIMA = "its maxima along each axis need it whole: use jit, which shards it by itself"


class ScaleBySm3State(NamedTuple):
    """The state of `scale_by_sm3`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx, g = gradtx.sm3(0.1), jnp.array([[1.0, 2.0, 3.0], [0.0, 4.0, 0.0]])
    >>> gradtx.find(tx.update(g, tx.init(g))[1], "maxima")  # two rows, then three columns
    Array([ 9., 16.,  1., 16.,  9.], dtype=float32)
    """

    # Along each axis, one axis after the other; of a vector or a number, the sums themselves. Those of the parts of a
    # complex array are stacked.
    maxima: Squares
    mu: Updates  # the average of what goes out


@transformation
def scale_by_sm3(b1: Decay = 0.9, eps: NonNegative = 1e-8):
    r"""The average $m \leftarrow \beta_1 m + (1 - \beta_1)\,g/\sqrt{\nu + \varepsilon}$, where $\nu$ bounds the sum of
    all squares so far from above: $\nu_{ij} = \min(r_i, c_j) + g_{ij}^2$, $r_i \leftarrow \max_j \nu_{ij}$,
    $c_j \leftarrow \max_i \nu_{ij}$, and so on for further axes.

    **Arguments:** `b1` $\beta_1 \in [0, 1)$; `eps` $\varepsilon \ge 0$. Where all squares so far are zero, so is what
    goes out.

    **State:** `maxima`, of a matrix of $n \times m$ its $n + m$ numbers; of an array of less than two dimensions $\nu$
    itself, $\nu \leftarrow \nu + g^2$, as in AdaGrad. `mu` $m$, one array per parameter. The parts of a complex array
    are two arrays here.

    **Raises:** (`update`) `ValueError` for an array of two dimensions or more that is in parts inside of `shard_map`.

    **Source:** Anil et al., Memory-Efficient Adaptive Optimization (2019), SM3-II. Equals Optax's `sm3`, whose momentum
    is an average, too.

    >>> import gradtx, jax.numpy as jnp
    >>> tx, g = gradtx.scale_by_sm3(b1=0.0), jnp.array([[3.0, 0.0], [0.0, -4.0]])
    >>> tx.update(g, tx.update(g, tx.init(g))[1])[0].round(4)
    Array([[ 0.7071,  0.    ],
           [ 0.    , -0.7071]], dtype=float32)
    """

    def init(p: Array, parts: int):
        of_axes = (*p.shape[:parts], sum(p.shape[parts:]))
        maxima = jnp.zeros_like(p) if p.ndim - parts < 2 else jnp.zeros(of_axes, p.dtype)
        return dict(maxima=maxima, mu=jnp.zeros_like(p))

    def update(g: Array, state: ScaleBySm3State):
        if state.maxima.shape == g.shape:
            nu = maxima = state.maxima + g**2
        else:
            require_whole_arrays([g], WHOLE_FOR_MAXIMA)
            parts = state.maxima.ndim - 1  # axes in front that are none of the array's
            nu = functools.reduce(jnp.minimum, split_by_axis(state.maxima, g.shape, parts)) + g**2
            of_axes = functools.partial(maxima_by_axis, parts=parts)
            maxima = stay_like(run_on_automatic_axes(of_axes, (nu,), state.maxima), state.maxima)
        some = nu > 0.0
        u = jnp.where(some, g, 0.0) / root(jnp.where(some, nu + eps, 1.0))
        mu = b1 * state.mu + (1.0 - b1) * u
        return mu, dict(maxima=maxima, mu=mu)

    return per_array(ScaleBySm3State, init, update)


def maxima_by_axis(nu: Array, parts: int) -> Array:
    """The maximum at each place along each axis, one axis after the other."""
    own = range(parts, nu.ndim)
    others = [tuple(j for j in own if j != i) for i in own]
    return jnp.concatenate([jnp.max(nu, axis=axes, initial=0.0) for axes in others], axis=-1)


def cut_by_axis(maxima: Array, shape: tuple[int, ...]) -> list[Array]:
    """The numbers of each axis of an array of this shape; of less than two dimensions they are one part."""
    return jnp.split(maxima, np.cumsum(shape)[:-1].tolist(), axis=-1) if len(shape) > 1 else [maxima]


def split_by_axis(x: Array, shape: tuple[int, ...], parts: int) -> list[Array]:
    """The numbers of each axis, to be met by arrays of this shape."""
    rows = cut_by_axis(x, shape[parts:])
    shapes = [[n if j in (*range(parts), i) else 1 for j, n in enumerate(shape)] for i in range(parts, len(shape))]
    return [row.reshape(own) for row, own in zip(rows, shapes, strict=True)]


@composition
def sm3(learning_rate: NonNegative, b1: Decay = 0.9, eps: NonNegative = 1e-8):
    r"""SM3, $w \leftarrow w - \eta\,m$: `scale_by_sm3` times the learning rate. For large embeddings and matrices, with
    half of Adam's state.

    **Arguments:** `learning_rate` $\eta \ge 0$, in the order of AdaGrad's; the others, the state and the source are
    those of `scale_by_sm3`.

    >>> import gradtx
    >>> gradtx.sm3(0.1)
    sm3(learning_rate=0.1)
    """
    return chain(scale_by_sm3(b1, eps), scale_by_learning_rate(learning_rate))
