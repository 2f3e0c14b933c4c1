"""GaLore: Adam in the subspace of the gradients' largest directions."""

import optax

from gradtx.core.combine import chain
from gradtx.core.factories import composition
from gradtx.matrices.defaults import IS_MATRIX, MATRICES, OTHERS, descend_matrices
from gradtx.matrices.subspace import in_subspace
from gradtx.matrices.views import Views, over
from gradtx.optimizers.adam import scale_by_adam
from gradtx.selectors import Where
from gradtx.transforms.rate import scale as times
from gradtx.values.annotations import Decay, NonNegative, Steps


@composition
def galore(
    learning_rate: NonNegative,
    rank: int,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-6,
    *,
    every: Steps = 200,
    scale: NonNegative = 0.25,
    weight_decay: NonNegative = 0.0,
    where: Where = IS_MATRIX,
    others: optax.GradientTransformation = OTHERS,
    view: Views = MATRICES,
):
    r"""GaLore for the matrices of hidden layers, $w \leftarrow w - \eta\,(\alpha P A(P^T G) + \lambda w)$ with Adam's
    direction $A$ in the subspace $P$ of `in_subspace`, and another optimizer for all else. Optax's has `scale=1.0`
    and projects the longer side.

    All weights learn, at the memory of a low rank. Adam's moments are $r$ by the longer side of a matrix.

    **Arguments:** `learning_rate` $\eta \ge 0$; `rank` $r$ and `every` as in `in_subspace`; `scale` $\alpha \ge 0$;
    `b1`, `b2` and `eps` as in `scale_by_adam` with `eps_hat`; `weight_decay` $\lambda \ge 0$, which `scale` does not
    multiply; `where`, which arrays it takes, and it may be none; `others`, a transformation with a learning rate of its
    own; `view`, how their arrays are stacks of matrices, as in `over`.

    **State:** for arrays in `where` $2 r$ numbers per column of the longer side and $r$ per row of the shorter one, for
    all else that of `others`.

    **Raises:** as `in_subspace`.

    **Source:** Zhao et al., GaLore (2024), algorithm 2. As in the authors' code, where the decay comes after the step.
    Optax's is `chain(in_subspace(scale_by_adam(), rank, longer=True), scale_by_learning_rate(learning_rate))`.

    >>> import gradtx as gx, jax.numpy as jnp
    >>> tx = gx.galore(0.01, 2, others=gx.adamw(1e-3))
    >>> params = {"kernel": jnp.ones((3, 2)), "bias": jnp.zeros(2)}
    >>> updates, state = tx.update(params, tx.init(params), params)
    """
    direction = over(view, in_subspace(scale_by_adam(b1, b2, eps, eps_hat=True), rank, every))
    return descend_matrices(chain(direction, times(scale)), learning_rate, weight_decay, where, others)
