"""SOAP: Adam in the eigenbasis of Shampoo's preconditioner."""

import optax

from gradtx.core.factories import composition
from gradtx.matrices.defaults import IS_MATRIX, MATRICES, OTHERS, descend_matrices
from gradtx.matrices.eigenbasis import in_eigenbasis
from gradtx.matrices.views import Views, over
from gradtx.optimizers.adam import scale_by_adam
from gradtx.selectors import Where
from gradtx.values.annotations import Decay, NonNegative, Steps


@composition
def scale_by_soap(
    b1: Decay = 0.95,
    b2: Decay = 0.95,
    eps: NonNegative = 1e-8,
    every: Steps = 10,
    max_dim: int = 10000,
    *,
    view: Views = MATRICES,
):
    r"""SOAP's direction, Adam's in the eigenbasis, $Q_L\,\hat m' / (\sqrt{\hat v'} + \hat\varepsilon)\,Q_R^T$, with the
    moments $m'$, $v'$ of $G' = Q_L^T\,G\,Q_R$ and the bases of `in_eigenbasis`: of the averages of $G G^T$, $G^T G$.

    The first update makes the bases alone, and is zero. The rotations take $4\,n_{in} n_{out} (n_{in} + n_{out})$
    operations, the averages half as many; at every $k$-th update a new basis of an axis of length $n$ takes about
    $5\,n^3$.

    **Arguments:** `b1` $\beta_1$ and `b2` $\beta_2 \in [0, 1)$, that of the averages too; `eps`
    $\varepsilon \ge 0$ beside $\sqrt{v'}$ itself, as `scale_by_adam(…, eps_hat=True)` has it; `every` $k$ and `max_dim`
    as in `in_eigenbasis`; `view`, how an array is a stack of matrices, as in `over`. Schedules of `b1` and `eps` count
    Adam's own updates, one less than all.

    **State:** two arrays per parameter, and $2 (n_{in}^2 + n_{out}^2)$ numbers per matrix.

    **Raises:** (`init`) `ValueError` for an array that is no matrix.

    **Source:** Vyas et al., SOAP (2024), algorithm 3. Equal to its author's, where vectors have Adam, one update late:
    with the identity for a basis this is that, `scale_by_soap(max_dim=1, view=matrices(reduce=0, output=()))`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.scale_by_soap()
    >>> g = jnp.array([[3.0, 0.0], [0.0, 0.5]])
    >>> _, state = tx.update(g, tx.init(g))
    >>> tx.update(g, state)[0].round(3) + 0.0
    Array([[1., 0.],
           [0., 1.]], dtype=float32)
    """
    return over(view, in_eigenbasis(scale_by_adam(b1, b2, eps, eps_hat=True), b2, every, max_dim))


@composition
def soap(
    learning_rate: NonNegative,
    b1: Decay = 0.95,
    b2: Decay = 0.95,
    eps: NonNegative = 1e-8,
    every: Steps = 10,
    max_dim: int = 10000,
    *,
    weight_decay: NonNegative = 0.01,
    where: Where = IS_MATRIX,
    others: optax.GradientTransformation = OTHERS,
    view: Views = MATRICES,
):
    r"""SOAP for matrices, $w \leftarrow w - \eta\,(u + \lambda w)$ with the direction $u$ of `scale_by_soap`, and
    another optimizer for all else.

    **Arguments:** `learning_rate` $\eta \ge 0$, about 3e-3; `weight_decay` $\lambda \ge 0$; `where`, which arrays it
    takes, and it may be none: by default all of two dimensions, which `explain(tx, params)` shows. Embeddings and heads
    may be among them: of an axis longer than `max_dim` no basis is made. `others`, a transformation with a learning
    rate of its own; `view` as in `muon`; the others as in `scale_by_soap`.

    **State:** that of `scale_by_soap` for the arrays in `where`, for all else that of `others`.

    **Source:** as `scale_by_soap`. Its author's decay comes behind the step, $w \leftarrow (1 - \eta\lambda)(w -
    \eta\,u)$, and not with the first update; the difference is of the order of $\eta^2 \lambda$.

    >>> import gradtx as gx, jax.numpy as jnp
    >>> tx = gx.soap(3e-3, others=gx.adamw(1e-3))
    >>> params = {"kernel": jnp.ones((3, 2)), "bias": jnp.zeros(2)}
    >>> updates, state = tx.update(params, tx.init(params), params)
    """
    direction = scale_by_soap(b1, b2, eps, every, max_dim, view=view)
    return descend_matrices(direction, learning_rate, weight_decay, where, others)
