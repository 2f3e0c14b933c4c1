"""Muon and NorMuon: momentum whose matrices are orthogonalized."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import optax
from jax import Array

from gradtx.core.combine import chain
from gradtx.core.factories import composition, transformation
from gradtx.core.quantity import Squares
from gradtx.core.tree import norm, root
from gradtx.matrices.batch import per_matrix
from gradtx.matrices.coefficients import Coefficients
from gradtx.matrices.defaults import IS_MATRIX, MATRICES, OTHERS, descend_matrices
from gradtx.matrices.factor import Scale, times_factor
from gradtx.matrices.orthogonalize import JORDAN, SHAPE, FloatDtype, newton_schulz, orthogonalize
from gradtx.matrices.views import Views, over
from gradtx.selectors import Where
from gradtx.transforms.momentum import scale_by_momentum
from gradtx.values.annotations import Decay, NonNegative


@composition
def scale_by_muon(
    momentum: Decay = 0.95,
    *,
    nesterov: bool = True,
    coefficients: Coefficients = JORDAN,
    scale: Scale | None = SHAPE,
    eps: NonNegative = 1e-7,
    dtype: FloatDtype | None = None,
    view: Views = MATRICES,
    axis: str | None = None,
):
    r"""Muon's direction, the orthogonalized momentum $f \cdot U V^T$ of $u = U \Sigma V^T$, with
    $m \leftarrow \mu m + (1 - \mu)\,g$ and $u = m$, or $\mu m + (1 - \mu)\,g$ with `nesterov`. No call of it equals
    Optax's, which corrects the bias of both terms of $u$, has its factor elsewhere, and whose `eps` is 1e-8.

    **Arguments:** `momentum` $\mu \in [0, 1)$; `coefficients`, `scale` $f$, `eps` and `dtype` as in `orthogonalize`;
    `view`, how an array is a stack of matrices, and `axis`, of the mesh, as in `over`.

    **State:** `trace` $m$, one array per parameter.

    **Raises:** (`init`) `ValueError` for an array that is no matrix.

    **Source:** Jordan et al., Muon (2024). Equal to its author's, and to torch's apart from its bfloat16.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.scale_by_muon(coefficients=gradtx.polar_express(8))
    >>> u = jnp.array([[3.0, 0.0], [0.0, -0.5]])
    >>> tx.update(u, tx.init(u))[0].round(3)
    Array([[ 1.,  0.],
           [ 0., -1.]], dtype=float32)
    """
    return chain(
        scale_by_momentum(momentum, nesterov=nesterov, dampening=momentum),
        over(view, orthogonalize(coefficients, scale=scale, eps=eps, dtype=dtype), axis),
    )


@composition
def muon(
    learning_rate: NonNegative,
    momentum: Decay = 0.95,
    *,
    nesterov: bool = True,
    weight_decay: NonNegative = 0.0,
    where: Where = IS_MATRIX,
    others: optax.GradientTransformation = OTHERS,
    coefficients: Coefficients = JORDAN,
    scale: Scale | None = SHAPE,
    eps: NonNegative = 1e-7,
    dtype: FloatDtype | None = None,
    view: Views = MATRICES,
    axis: str | None = None,
):
    r"""Muon for the matrices of hidden layers, $w \leftarrow w - \eta\,(f \cdot U V^T + \lambda w)$ with the direction
    of `scale_by_muon`, and another optimizer for all else. No call of it equals Optax's, which is
    `gradtx.optax.contrib.muon` and whose `eps` is 1e-8.

    Give it the hidden layers alone: the embeddings and the head, matrices too, belong to `others`, as norms and biases
    do. Only you know their names: `muon(0.02, where=by_ndim(at_least=2) & ~by_path("embed|head"))`. By default it takes
    all arrays of two dimensions, and `explain(tx, params)` shows which they are.

    **Arguments:** `learning_rate` $\eta \ge 0$, about 0.02, or that of AdamW with `scale=rms_factor()`; `weight_decay`
    $\lambda \ge 0$, which `scale` does not multiply; `where`, which arrays it takes, and it may be none; `others`, a
    transformation with a learning rate of its own; `view`, how their arrays are stacks of matrices, such as
    `matrices(reduce=(0, 1, 2), output=3)` for convolutions, or pairs of a selector and a view; the others as in
    `scale_by_muon`.

    **State:** one array per parameter for those in `where`, for all else that of `others`.

    **Source:** as `scale_by_muon`. Its author's rate is 0.02 without decay, torch's 1e-3 with 0.1.

    >>> import gradtx as gx, jax.numpy as jnp
    >>> tx = gx.muon(0.02, others=gx.adamw(1e-3))
    >>> tx
    muon(
        learning_rate=0.02,
        where=(by_ndim(at_least=2) & ~by_ndim(at_least=3)),
        others=adamw(learning_rate=0.001),
    )
    >>> params = {"kernel": jnp.ones((3, 2)), "bias": jnp.zeros(2)}
    >>> updates, state = tx.update(params, tx.init(params), params)
    """
    options: dict[str, Any] = dict(coefficients=coefficients, scale=scale, eps=eps, dtype=dtype, view=view, axis=axis)
    direction = scale_by_muon(momentum, nesterov=nesterov, **options)
    return descend_matrices(direction, learning_rate, weight_decay, where, others)


class ScaleByRowsState(NamedTuple):
    """The state of `scale_by_rows`.

    >>> import gradtx, jax.numpy as jnp
    >>> gradtx.scale_by_rows().init(jnp.zeros((4, 3))).nu.shape
    (3,)
    """

    nu: Squares  # of each output, the average of its squares


@transformation
def scale_by_rows(decay: Decay = 0.95, eps: NonNegative = 1e-10):
    r"""Each output of a matrix over the root of its average square, $u_{ij}/(\sqrt{v_j} + \varepsilon)$ with
    $v_j \leftarrow \beta v_j + (1 - \beta)\,\frac{1}{n_{in}} \sum_i u_{ij}^2$, then as a whole as large as it was,
    $\|u\|_F$.

    Behind `orthogonalize` this is NorMuon: all singular values are one there, but some outputs (the rows of a matrix
    written as outputs by inputs, the columns here) get more than others.

    **Arguments:** `decay` $\beta \in [0, 1)$, `eps` $\varepsilon \ge 0$.

    **State:** `nu` $v$, one number per output.

    **Source:** Li et al., NorMuon (2025). dion's `eps` is 1e-8.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.scale_by_rows()
    >>> tx.update(jnp.array([[3.0, 4.0]]), tx.init(jnp.zeros((1, 2))))[0].round(2)
    Array([[3.54, 3.54]], dtype=float32)
    """

    def update(g: Array, state: ScaleByRowsState):
        u, nu = even_out(g, state.nu, decay, eps)
        return u, dict(nu=nu)

    return per_matrix(ScaleByRowsState, init_outputs, update)


def init_outputs(p: Array) -> dict[str, Array]:
    return dict(nu=jnp.zeros(p.shape[1], p.dtype))


def even_out(g: Array, nu: Array, decay: Decay, eps: NonNegative) -> tuple[Array, Array]:
    """The rule of `scale_by_rows`."""
    nu = decay * nu + (1.0 - decay) * jnp.mean(g**2, axis=0)
    u = g / (root(nu)[None, :] + eps)
    return u * (norm(g) / (norm(u) + eps)), nu


@transformation
def _orthogonalize_by_rows(
    coefficients: Coefficients,
    b2: Decay,
    *,
    scale: Scale | None,
    eps: NonNegative,
    dtype: FloatDtype | None,
):
    r"""$f \cdot R(U V^T)$ of $u = U \Sigma V^T$ with the rule $R$ of `scale_by_rows`. The factor $f(u, O)$ may be
    another one at each update, and so is no part of what is averaged.
    """

    def update(g: Array, state: ScaleByRowsState):
        o, nu = even_out(newton_schulz(g / (norm(g) + eps), coefficients, dtype), state.nu, b2, 1e-10)
        return times_factor(scale, g, o), dict(nu=nu)

    return per_matrix(ScaleByRowsState, init_outputs, update)


@composition
def normuon(
    learning_rate: NonNegative,
    momentum: Decay = 0.95,
    b2: Decay = 0.95,
    *,
    nesterov: bool = True,
    weight_decay: NonNegative = 0.0,
    where: Where = IS_MATRIX,
    others: optax.GradientTransformation = OTHERS,
    coefficients: Coefficients = JORDAN,
    scale: Scale | None = SHAPE,
    eps: NonNegative = 1e-7,
    dtype: FloatDtype | None = None,
    view: Views = MATRICES,
    axis: str | None = None,
):
    r"""Muon whose outputs all move equally far: `scale_by_muon`, then `scale_by_rows`.

    **Arguments:** `b2` $\beta$, that of `scale_by_rows`; the others as in `muon`, and so is its first advice.

    **State:** as `muon`, and one number per output.

    **Source:** Li et al., NorMuon (2025).

    >>> import gradtx as gx, jax.numpy as jnp
    >>> tx = gx.normuon(0.02, others=gx.adamw(1e-3))
    >>> params = {"kernel": jnp.ones((3, 2)), "bias": jnp.zeros(2)}
    >>> updates, state = tx.update(params, tx.init(params), params)
    """
    momentum_of = scale_by_momentum(momentum, nesterov=nesterov, dampening=momentum)
    turned = over(view, _orthogonalize_by_rows(coefficients, b2, scale=scale, eps=eps, dtype=dtype), axis)
    return descend_matrices(chain(momentum_of, turned), learning_rate, weight_decay, where, others)
