"""Dion: momentum orthonormalized at a low rank, from where the last update left off."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from gradtx.core.factories import composition, transformation
from gradtx.core.keys import Seed, make_key
from gradtx.core.transformation import Updates
from gradtx.core.tree import root
from gradtx.matrices.batch import per_matrix
from gradtx.matrices.decompositions import orthonormal
from gradtx.matrices.defaults import IS_MATRIX, MATRICES, OTHERS, descend_matrices
from gradtx.matrices.factor import ratio
from gradtx.matrices.sides import zeros_with_rows
from gradtx.matrices.views import Views, over
from gradtx.selectors import Where
from gradtx.values.annotations import Decay, NonNegative
from gradtx.values.errors import require_whole


class ScaleByDionState(NamedTuple):
    """The state of `scale_by_dion`.

    >>> import gradtx, jax.numpy as jnp
    >>> state = gradtx.scale_by_dion(2).init(jnp.zeros((8, 4)))
    >>> state.mu.shape, state.basis.shape
    ((8, 4), (8, 2))
    """

    mu: Updates  # what has not yet been applied of the gradients
    basis: Updates  # the directions of the inputs, n_in by r


@transformation
def scale_by_dion(rank: int, momentum: Decay = 0.95, eps: NonNegative = 1e-8, *, key: Seed = 0):
    r"""Dion's direction, $\sqrt{n_{out}/n_{in}}\, Q P^T$, the momentum orthonormalized at a rank $r$: with
    $B = M + G$ and the last directions $Q$ of the inputs, those of the outputs are $P = \operatorname{qr}(B^T Q)$, and
    $R = B P$ has the new $Q$ for its columns, each over its norm, $R_j/(\|R_j\| + \varepsilon)$. What was applied
    leaves the momentum, $M \leftarrow B - (1 - \mu)\, R P^T$; what was not is kept for later.

    One step of the power iteration takes the place of a singular value decomposition, since the momentum changes
    little from one update to the next. An array is a stack of matrices of $n_{in}$ rows and $n_{out}$ columns in its
    last two dimensions; `over` shows others so.

    **Arguments:** `rank` $r \ge 1$, at most the smaller size of a matrix, which is taken where it is larger;
    `momentum` $\mu \in [0, 1)$; `eps` $\varepsilon \ge 0$, 0 only where no column of $R$ becomes zero; `key`, a seed or
    a key of JAX's for the first $Q$, which is normal and the same for all matrices of one shape.

    **State:** `mu` $M$, one array per parameter, and `basis` $Q$, $n_{in} \cdot r$ numbers per matrix.

    **Raises:** `TypeError` and `ValueError` for a rank that is no whole number from 1 on, `TypeError` for another kind
    of key; (`init`) `ValueError` for an array of less than two dimensions. Its derivative takes $P$ as given.

    **Source:** Ahn et al., Dion (2025), algorithm 1. The authors' code, whose matrices are outputs by inputs.

    >>> import gradtx as gx, jax.numpy as jnp
    >>> tx = gx.scale_by_dion(1)
    >>> u = jnp.array([[0.0, -4.0], [0.0, 0.0]])
    >>> tx.update(u, tx.init(u))[0].round(3) + 0.0
    Array([[ 0., -1.],
           [ 0.,  0.]], dtype=float32)
    """
    require_whole("rank", rank)

    def init(p: Array):
        zeros = zeros_with_rows(p, min(rank, *p.shape))
        return dict(mu=jnp.zeros_like(p), basis=zeros + jax.random.normal(make_key(key), zeros.shape, p.dtype))

    def update(g: Array, state: ScaleByDionState):
        b = state.mu + g
        # A derivative by way of the factorization divides by what is zero where the rank of b is lower.
        p = orthonormal(b.T @ state.basis)
        r = b @ p
        lengths = root(jnp.sum(r**2, axis=0))[None, :]
        turned = r / (lengths + eps)
        basis = jnp.where(lengths > 0, turned, state.basis)  # where nothing came, as it was
        out = ratio(g) ** 0.5 * (turned @ p.T)
        return out, dict(mu=b - (1.0 - momentum) * (r @ p.T), basis=basis)

    return per_matrix(ScaleByDionState, init, update)


@composition
def dion(
    learning_rate: NonNegative,
    rank: int,
    momentum: Decay = 0.95,
    *,
    weight_decay: NonNegative = 0.01,
    where: Where = IS_MATRIX,
    others: optax.GradientTransformation = OTHERS,
    eps: NonNegative = 1e-8,
    view: Views = MATRICES,
    key: Seed = 0,
):
    r"""Dion for the matrices of hidden layers, $w \leftarrow w - \eta\,(\sqrt{n_{out}/n_{in}}\, Q P^T + \lambda w)$
    with the direction of `scale_by_dion`, and another optimizer for all else.

    **Arguments:** `learning_rate` $\eta \ge 0$, about 0.01; `rank`, a quarter of the size or so; `weight_decay`
    $\lambda \ge 0$; `where`, which arrays it takes, and it may be none: not the embeddings and the head, as in `muon`;
    `others`, a transformation with a learning rate of its own; `view`, how their arrays are stacks of matrices, as in
    `over`; the others as in `scale_by_dion`.

    **State:** for arrays in `where` that of `scale_by_dion`, for all else that of `others`.

    **Raises:** as `scale_by_dion`.

    **Source:** as `scale_by_dion`; the rate and the decay are those of the authors' code.

    >>> import gradtx as gx, jax.numpy as jnp
    >>> tx = gx.dion(0.01, 2, others=gx.adamw(1e-3))
    >>> params = {"kernel": jnp.ones((3, 2)), "bias": jnp.zeros(2)}
    >>> updates, state = tx.update(params, tx.init(params), params)
    """
    direction = over(view, scale_by_dion(rank, momentum, eps, key=key))
    return descend_matrices(direction, learning_rate, weight_decay, where, others)
