"""APOLLO: Adam's learning rates, one for each column, from gradients projected at random."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from gradtx.core.count import Count, period_of
from gradtx.core.factories import composition, transformation
from gradtx.core.keys import Seed, make_key
from gradtx.core.quantity import Squares
from gradtx.core.transformation import Updates
from gradtx.core.tree import norm, root
from gradtx.matrices.batch import per_matrix
from gradtx.matrices.defaults import IS_MATRIX, MATRICES, OTHERS, descend_matrices
from gradtx.matrices.sides import are_rows_projected, zeros_with_columns, zeros_with_rows
from gradtx.matrices.views import Views, over
from gradtx.selectors import Where
from gradtx.transforms.momentum import debias
from gradtx.values.annotations import Bound, Decay, NonNegative, Steps
from gradtx.values.errors import require_whole

BESIDE = 1e-8  # beside norms that may be zero


class ScaleByApolloState(NamedTuple):
    """The state of `scale_by_apollo`.

    >>> import gradtx, jax.numpy as jnp
    >>> state = gradtx.scale_by_apollo(2).init(jnp.zeros((4, 8)))
    >>> state.mu.shape, state.size.shape
    ((2, 8), ())
    """

    count: Count
    mu: Updates  # first moment of the projected gradients
    nu: Squares  # second moment
    size: Updates  # the norm of each matrix's last scaled gradient


@transformation
def scale_by_apollo(
    rank: int,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-6,
    *,
    scale: NonNegative = 1.0,
    every: Steps = 200,
    channel: bool = True,
    limit: Bound = 1.01,
    key: Seed = 0,
):
    r"""APOLLO's direction, $\sqrt{\alpha}\,\frac{\sqrt{1 - \beta_2^t}}{1 - \beta_1^t}\, S$, the gradient $S = f G$
    scaled by what Adam would do to it, which is estimated at a rank $r$: of $R = P^T G$ it has the moments
    $m \leftarrow \beta_1 m + (1 - \beta_1) R$ and $v \leftarrow \beta_2 v + (1 - \beta_2) R^2$, and with
    $u = m/(\sqrt v + \varepsilon)$ each column $j$ has the factor $f_j = \|u_j\|/\|R_j\|$.

    $P$ projects the shorter side of the matrix and is random, $N(0, 1)/\sqrt r$; it is drawn anew every $k$ updates
    and never held. Where columns are the shorter side, $R = G P$ and rows have factors. Where both sides are equally
    long the rows are projected. The norm of $S$ grows by no more than a factor from one update to the next: it is cut
    to $\gamma$ times what it was. An array is a stack of matrices of $n_{in}$ rows and $n_{out}$ columns in its last
    two dimensions; `over` shows others so.

    **Arguments:** `rank` $r \ge 1$, at most the shorter side of a matrix, which is taken where it is larger; `b1`
    $\beta_1$ and `b2` $\beta_2 \in [0, 1)$; `eps` $\varepsilon \ge 0$, not 0 where gradients may stay zero; `scale`
    $\alpha \ge 0$; `every` $k \ge 1$; `channel`, a factor for each column, else $\|u\|/\|R\|$ for the whole matrix;
    `limit` $\gamma > 0$, `inf` for none; `key`, a seed or a key of JAX's for $P$, which is the same for all matrices of
    one shape. APOLLO-Mini is `rank=1, scale=128.0, channel=False`.

    **State:** `count`, `mu` and `nu`, $2 r$ numbers per column of the longer side, and `size`, one per matrix.

    **Raises:** `TypeError` and `ValueError` for a rank that is no whole number from 1 on, `TypeError` for another kind
    of key; (`init`) `ValueError` for an array of less than two dimensions.

    **Source:** Zhu et al., APOLLO (2024), algorithm 1 and the limiter of Fira. As in the authors' code, $\varepsilon$
    stands beside the root of the uncorrected $v$.

    >>> import gradtx as gx, jax.numpy as jnp
    >>> tx = gx.scale_by_apollo(2)
    >>> u = jnp.array([[3.0, 0.0], [0.0, -0.5]])
    >>> tx.update(u, tx.init(u))[0].shape
    (2, 2)
    """
    require_whole("rank", rank)

    def lengths(x: Array, on_rows: bool) -> Array:
        return root(jnp.sum(x**2, axis=0 if on_rows else 1, keepdims=True)) if channel else norm(x)

    def init(p: Array):
        r = min(rank, *p.shape)
        zeros = zeros_with_columns(p, r) if are_rows_projected(p) else zeros_with_rows(p, r)
        return dict(mu=zeros, nu=zeros, size=jnp.zeros([], p.dtype))

    def update(g: Array, state: ScaleByApolloState):
        t = state.count + 1.0
        on_rows = are_rows_projected(g)
        epoch = jnp.floor((state.count + 0.5) / period_of(every).astype(g.dtype))  # half a step off any rounding
        p = draw_projection(key, epoch.astype(jnp.int32), g.shape[0 if on_rows else 1], min(rank, *g.shape), g.dtype)
        r = p.T @ g if on_rows else g @ p
        mu = b1 * state.mu + (1.0 - b1) * r
        nu = b2 * state.nu + (1.0 - b2) * r**2
        u = mu / (root(nu) + eps)
        f = lengths(u, on_rows) / (lengths(r, on_rows) + BESIDE)
        size = norm(f * lengths(g, on_rows))  # of the scaled gradient, which is not written out for it
        grown = jnp.maximum(size / (state.size + BESIDE) / limit, 1.0)
        held = jnp.where(state.size > 0, grown, 1.0)  # at first there is nothing to compare with
        one = jnp.ones_like(t)
        factor = root(jnp.asarray(scale, g.dtype)) * debias(one, b1, t) / root(debias(one, b2, t))
        return g * (f * factor / held), dict(mu=mu, nu=nu, size=size / held)

    return per_matrix(ScaleByApolloState, init, update)


def draw_projection(key: Seed, epoch: Array, n: int, rank: int, dtype: Any) -> Array:
    """The random projection of columns of n numbers onto so many, the same throughout an epoch."""
    return jax.random.normal(jax.random.fold_in(make_key(key), epoch), (n, rank), dtype) / rank**0.5


@composition
def apollo(
    learning_rate: NonNegative,
    rank: int,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-6,
    *,
    scale: NonNegative = 1.0,
    every: Steps = 200,
    channel: bool = True,
    limit: Bound = 1.01,
    weight_decay: NonNegative = 0.0,
    where: Where = IS_MATRIX,
    others: optax.GradientTransformation = OTHERS,
    view: Views = MATRICES,
    key: Seed = 0,
):
    r"""APOLLO for the matrices of hidden layers, $w \leftarrow w - \eta\,(d + \lambda w)$ with the direction $d$ of
    `scale_by_apollo`, and another optimizer for all else. Its state is as small as a low rank makes it, and no matrix
    is factorized.

    **Arguments:** `learning_rate` $\eta \ge 0$; `rank`; `weight_decay` $\lambda \ge 0$; `where`, which arrays it
    takes, and it may be none; `others`, a transformation with a learning rate of its own; `view`, how their arrays are
    stacks of matrices, as in `over`; the others as in `scale_by_apollo`. APOLLO-Mini, whose state is next to nothing,
    is `apollo(0.01, rank=1, scale=128.0, channel=False)`.

    **State:** for arrays in `where` that of `scale_by_apollo`, for all else that of `others`.

    **Raises:** as `scale_by_apollo`.

    **Source:** as `scale_by_apollo`.

    >>> import gradtx as gx, jax.numpy as jnp
    >>> tx = gx.apollo(0.01, 2, others=gx.adamw(1e-3))
    >>> params = {"kernel": jnp.ones((3, 2)), "bias": jnp.zeros(2)}
    >>> updates, state = tx.update(params, tx.init(params), params)
    """
    direction = scale_by_apollo(rank, b1, b2, eps, scale=scale, every=every, channel=channel, limit=limit, key=key)
    return descend_matrices(over(view, direction), learning_rate, weight_decay, where, others)
