"""PSGD Kron: a matrix between two factors that are fitted so that what comes out is white."""

from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gradtx.core.count import Count, as_real
from gradtx.core.factories import composition, transformation
from gradtx.core.keys import Seed, make_key
from gradtx.core.transformation import Updates
from gradtx.core.tree import norm
from gradtx.matrices.batch import per_matrix
from gradtx.matrices.blocks import as_size
from gradtx.matrices.decompositions import solve_transposed
from gradtx.matrices.defaults import IS_MATRIX, MATRICES, OTHERS, descend_matrices
from gradtx.matrices.sides import squares
from gradtx.matrices.views import Views, over
from gradtx.schedules.value import schedule
from gradtx.selectors import Where
from gradtx.transforms.momentum import debias
from gradtx.values.annotations import Bound, Check, Decay, Fraction, NonNegative, Positive, Steps
from gradtx.wrappers.branch import keep_unless

DAMPING = float(np.sqrt(np.finfo(np.float32).eps))
BALANCED = 0.01  # the share of the fits ahead of which the factors are balanced
TINY = float(np.finfo(np.float32).tiny)


@schedule
def fading(steps: Steps = 500, scale: Positive = 1000.0, floor: Fraction = 0.03):
    r"""A probability of 1 for the first steps, which then fades, $p_t = \min(\max(e^{-(t - s)/k}, f), 1)$ with
    $t = \tau + 1$.

    **Arguments:** `steps` $s \ge 1$; `scale` $k > 0$, the steps in which it falls to $1/e$; `floor` $f \in [0, 1]$.

    **Source:** psgd_jax, for the updates at which Kron fits its factors.

    >>> import gradtx
    >>> [round(float(gradtx.fading()(t)), 3) for t in (0, 499, 1499, 10_000)]
    [1.0, 1.0, 0.368, 0.03]
    """
    return lambda count: jnp.clip(jnp.exp((steps - 1.0 - as_real(count)) / scale), floor, 1.0)


FADING = fading()


class ScaleByKronState(NamedTuple):
    """The state of `scale_by_kron`.

    >>> import gradtx, jax.numpy as jnp
    >>> state = gradtx.scale_by_kron(probability=1.0, max_dim=3).init(jnp.zeros((4, 3)))
    >>> state.left.shape, state.right.shape
    ((4,), (3, 3))
    """

    count: Count
    wait: jax.Array  # updates until the factors are fitted again
    mu: Updates  # first moment
    left: Updates  # Q of the rows, triangular; of an axis with a number for each place only, its diagonal
    right: Updates  # Q of the columns


@transformation
def scale_by_kron(
    b1: Decay = 0.9,
    precond_rate: NonNegative = 0.1,
    probability: Fraction = FADING,
    *,
    clip: Bound = 1.1,
    max_dim: Annotated[int, Check(as_size)] = 8192,
    key: Seed = 0,
):
    r"""Kron's direction, $P_L\,\hat m\,P_R$ with $P = Q^T Q$, at most as large as a root mean square of $c$ over the
    matrix, and $\hat m$ the average of $g$ by $\beta_1$, $\hat m = m/(1 - \beta_1^t)$.

    $Q_L$ and $Q_R$ are triangular, at first $I$. Each fit goes a step towards
    $P_R \otimes P_L = E[\hat m \hat m^T]^{-1/2}$, for which what comes out is white. With $V$ of normal random numbers,
    $G = \hat m + \sqrt{\epsilon_{32}}\,\operatorname{mean}|\hat m|\,V$, $A = Q_L G Q_R^T$,
    $B = Q_L^{-T} V Q_R^{-1}$,
    $Q_L \leftarrow Q_L - \mu\,\mathrm{triu}(A A^T - B B^T)\,Q_L / \|A A^T + B B^T\|$, and $Q_R$ likewise with $A^T A$
    and $B^T B$; the norm is a lower bound of the spectral one. A matrix of zeros says nothing, and its $Q$ stay.

    **Arguments:** `b1` $\beta_1 \in [0, 1)$; `precond_rate` $\mu \ge 0$; `probability` $p \in [0, 1]$, the share of the
    updates with a fit: the first has one, and each fit the next after $1/p$ updates. By default `fading()`: 1 for 500
    updates, then $e^{-(t - 500)/1000}$, at least 0.03. `clip` $c > 0$, `inf` for none; `max_dim`: the $Q$ of an
    axis longer than this is diagonal, and that of size 1 is 1; `key`, a seed or a key of JAX's for $V$, which is the
    same for all matrices of one shape.

    **State:** `count`, `wait`, `mu` $m$, `left` $Q_L$, `right` $Q_R$: of a matrix of $n \times m$,
    $4 + 4\,(n^2 + m^2)/nm$ bytes per parameter. They are statistics: no derivative goes through $Q$.

    **Raises:** `TypeError` for a key that is none; (`init`) `ValueError` for an array of less than two dimensions.

    **Source:** Li, Preconditioned stochastic gradient descent (2018, 2024). Equals psgd_jax's Kron, whose keys differ,
    apart from matrices of zeros, for which its $Q$ grow without end, and from those with an axis of size 1, whose $Q$
    it fits too; and it asks for $p$ at each update, not at a fit. As there, one fit in a hundred begins by giving both
    $Q$ the same largest element. A vector has a diagonal $Q$ there: as a column with `max_dim=1` here.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.scale_by_kron(b1=0.0, probability=1.0)
    >>> g, state = jnp.array([[3.0, 0.0], [0.0, -0.5]]), tx.init(jnp.zeros((2, 2)))
    >>> for _ in range(300):
    ...     u, state = tx.update(g, state)
    >>> bool(u[0, 0] < -2.0 * u[1, 1])  # six times as large before
    True
    """

    def init(p: jax.Array) -> dict[str, Any]:
        left, right = (jnp.ones(n, p.dtype) if n == 1 or n > max_dim else jnp.eye(n, dtype=p.dtype) for n in p.shape)
        return dict(mu=jnp.zeros_like(p), left=left, right=right)

    def update(g: jax.Array, state: ScaleByKronState):
        t = state.count + 1.0
        mu = b1 * state.mu + (1.0 - b1) * g
        average = debias(mu, b1, t)
        before = (state.left, state.right)

        def refit() -> tuple[jax.Array, jax.Array]:
            v, turn = draw_noise(key, state.count, g)
            seen, held = jax.lax.stop_gradient((average, before))
            after = fit_factors(balance_factors(held, turn), seen, v, precond_rate)
            some = jnp.any(seen != 0.0)
            return jnp.where(some, after[0], before[0]), jnp.where(some, after[1], before[1])

        left, right = keep_unless(state.wait <= 0.0, refit, before)
        out = apply_left(apply_left(average, left), left, turned=True)
        out = apply_left(apply_left(out.T, right), right, turned=True).T
        size = norm(out) / out.size**0.5
        return out / jnp.maximum(size / clip, 1.0), dict(mu=mu, left=left, right=right)

    def wait_on(state: Any) -> jax.Array:
        apart = 1.0 / jnp.maximum(jnp.asarray(probability, state.wait.dtype), TINY)
        return jnp.where(state.wait <= 0.0, jnp.ceil(apart * (1.0 - 1e-6)) - 1.0, state.wait - 1.0)  # 1/p is rounded

    return per_matrix(ScaleByKronState, init, update, shared=dict(wait=(0.0, wait_on)))


def draw_noise(key: Any, count: jax.Array, like: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The noise of a fit, the same in all precisions, and whether it is one that is balanced."""
    now = jax.random.fold_in(make_key(key), count.astype(jnp.int32))
    noise, turn = jax.random.split(now)
    v = jax.random.normal(noise, like.shape, jnp.float32).astype(like.dtype)
    return v, jax.random.uniform(turn, dtype=jnp.float32) <= BALANCED


def balance_factors(qs: tuple[jax.Array, jax.Array], turn: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Both with the same largest element, where it is their turn: what they make together is as it was."""
    if 1 in (qs[0].shape[0], qs[1].shape[0]):
        return qs
    left, right = (jnp.max(jnp.abs(q)) for q in qs)
    factor = jnp.where(turn, jnp.sqrt(right / left), 1.0)
    return qs[0] * factor, qs[1] / factor


def fit_factors(qs: tuple[jax.Array, jax.Array], average: jax.Array, v: jax.Array, rate: Any) -> tuple[jax.Array, ...]:
    """One step of both factors, each from where the other was. That of a column is its rows' alone, that of a row its
    columns': a number in the place of the other would be a second rate.
    """
    left, right = qs
    g = average + DAMPING * jnp.mean(jnp.abs(average)) * v
    a = apply_left(apply_left(g, left).T, right).T
    b = solve_left(solve_left(v, left).T, right).T
    n, m = g.shape
    return left if n == 1 < m else descend(left, a, b, rate), right if m == 1 else descend(right, a.T, b.T, rate)


def descend(q: jax.Array, a: jax.Array, b: jax.Array, rate: Any) -> jax.Array:
    if q.ndim == 1:
        aa, bb = jnp.sum(a * a, axis=1), jnp.sum(b * b, axis=1)
        return q - rate * ((aa - bb) * q / jnp.maximum(jnp.max(aa + bb), TINY))
    aa, bb = squares(a, -2), squares(b, -2)
    return q - rate * (jnp.triu(aa - bb) @ q / jnp.maximum(norm_bound(aa + bb), TINY))


def apply_left(x: jax.Array, q: jax.Array, turned: bool = False) -> jax.Array:
    r"""$Q x$, or with `turned` $Q^T x$."""
    if q.ndim == 1:
        return q[:, None] * x
    return (q.T if turned else q) @ x


def solve_left(x: jax.Array, q: jax.Array) -> jax.Array:
    r"""$Q^{-T} x$."""
    return x / q[:, None] if q.ndim == 1 else solve_transposed(q, x)


def norm_bound(s: jax.Array) -> jax.Array:
    """A lower bound of the largest singular value of a symmetric matrix, by two steps from its longest column."""
    largest = jnp.maximum(jnp.max(jnp.abs(s)), TINY)
    s = s / largest
    x = jnp.take(s, jnp.argmax(jnp.sum(s * s, axis=0)), axis=1)
    y = s @ x
    return largest * norm(s @ (y / jnp.maximum(norm(y), TINY)))


@composition
def kron(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    precond_rate: NonNegative = 0.1,
    probability: Fraction = FADING,
    *,
    weight_decay: NonNegative = 0.0,
    where: Where = IS_MATRIX,
    others: optax.GradientTransformation = OTHERS,
    clip: Bound = 1.1,
    max_dim: Annotated[int, Check(as_size)] = 8192,
    key: Seed = 0,
    view: Views = MATRICES,
):
    r"""PSGD Kron for matrices, $w \leftarrow w - \eta\,(s + \lambda w)$ with the direction $s$ of `scale_by_kron`, and
    another optimizer for all else.

    By default it takes all arrays of two dimensions, and `explain(tx, params)` shows which they are.

    **Arguments:** `learning_rate` $\eta \ge 0$, about a third of Adam's, since the elements of a direction are about 1;
    `weight_decay` $\lambda \ge 0$; `where`, which arrays it takes, and it may be none; `others`, a transformation with
    a learning rate of its own; `view`, how their arrays are stacks of matrices, such as
    `matrices(reduce=(0, 1, 2), output=3)` for convolutions, or pairs of a selector and a view; the others as in
    `scale_by_kron`.

    **State:** that of `scale_by_kron` for those in `where`, for all else that of `others`.

    **Source:** as `scale_by_kron`. psgd_jax's rate is 1e-3.

    >>> import gradtx as gx, jax.numpy as jnp
    >>> tx = gx.kron(1e-3, weight_decay=0.1, others=gx.adamw(3e-3))
    >>> params = {"kernel": jnp.ones((3, 2)), "bias": jnp.zeros(2)}
    >>> updates, state = tx.update(params, tx.init(params), params)
    """
    direction = scale_by_kron(b1, precond_rate, probability, clip=clip, max_dim=max_dim, key=key)
    return descend_matrices(over(view, direction), learning_rate, weight_decay, where, others)
