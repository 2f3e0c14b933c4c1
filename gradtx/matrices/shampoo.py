"""Shampoo: a matrix between inverse roots of the sums of its squares, one for its rows and one for its columns."""

from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gradtx.core.count import Count, as_real
from gradtx.core.factories import composition, transformation
from gradtx.core.quantity import Slow
from gradtx.core.transformation import Updates
from gradtx.matrices.batch import per_matrix
from gradtx.matrices.blocks import as_size, cut, glue, shape_of_blocks
from gradtx.matrices.decompositions import eigen
from gradtx.matrices.defaults import IS_MATRIX, MATRICES, OTHERS, descend_matrices
from gradtx.matrices.graft import graft as graft_onto
from gradtx.matrices.sides import squares
from gradtx.matrices.views import Views, over
from gradtx.optimizers.adam import scale_by_adam
from gradtx.selectors import Where
from gradtx.transforms.momentum import debias
from gradtx.values.annotations import Check, Decay, NonNegative, Positive, Steps
from gradtx.values.errors import Refusal
from gradtx.values.printing import excerpt
from gradtx.wrappers.branch import keep_unless

BOTH: tuple[int, int] = (-2, -1)
ADAM = scale_by_adam()
Sides = int | tuple[int, ...]


class ScaleByShampooState(NamedTuple):
    """The state of `scale_by_shampoo`.

    >>> import gradtx, jax.numpy as jnp
    >>> state = gradtx.scale_by_shampoo().init(jnp.zeros((4, 3)))
    >>> state.left.shape, state.right_root.shape
    ((4, 4), (3, 3))
    """

    count: Count
    wait: jax.Array  # updates until the roots are made anew
    mu: Updates  # first moment
    left: Slow  # L, of the rows; without elements where an axis has none, as are the others
    right: Slow  # R, of the columns
    left_root: Updates  # the inverse roots as they are in use
    right_root: Updates


def as_sides(name: str, value: Any) -> Sides:
    """One of the last two axes, or both."""
    axes = value if isinstance(value, tuple) else (value,)
    if not axes or not all(type(i) is int and i in BOTH for i in axes) or len({*axes}) < len(axes):
        raise Refusal(ValueError, f"{name} must be -2 (rows), -1 (columns) or (-2, -1), got {excerpt(value)}")
    return value


@transformation
def scale_by_shampoo(
    b1: Decay = 0.9,
    b2: Decay | None = None,
    eps: Positive = 1e-12,
    every: Steps = 1,
    *,
    exponent: NonNegative | None = None,
    sides: Annotated[Sides, Check(as_sides)] = BOTH,
    one_sided: bool = False,
    max_dim: Annotated[int, Check(as_size)] = 1024,
):
    r"""Shampoo's direction, $\hat L^{-p}\,\hat m\,\hat R^{-p}$ with $p = 1/4$, for the rows
    $L \leftarrow L + g g^T$, for the columns $R \leftarrow R + g^T g$, and $\hat m$ the average of $g$ by $\beta_1$,
    $\hat m = m/(1 - \beta_1^t)$.

    A root has the eigenvalues $(\lambda - \min(\lambda_{min}, 0) + \varepsilon)^{-p}$. The roots are statistics: no
    derivative goes through $L$ and $R$.

    **Arguments:** `b1` $\beta_1 \in [0, 1)$. `b2`: None (the default) for the sums above, which never forget, as those
    of AdaGrad; $\beta_2 \in [0, 1)$ for averages, $L \leftarrow \beta_2 L + (1 - \beta_2)\,g g^T$ and
    $\hat L = L/(1 - \beta_2^t)$. `eps` $\varepsilon > 0$, in the units of $g^2$. `every`, the number of steps for which
    roots are kept; the first step makes them. `exponent` $p \ge 0$, by default $1/(2k)$ for $k$ axes. `sides`: the axes
    with a factor, -2 the rows, which are the inputs of a kernel (in, out), -1 the columns, or both. `one_sided`:
    only the shorter of these axes, the rows of a square. `max_dim`: an axis longer than this is cut into the fewest
    equal blocks that are not, and each block of the matrix is a matrix of its own; nothing is merged.

    **State:** `count`, `wait`, `mu` $m$, `left` $L$, `right` $R$ and their roots: of a matrix of $n \times m$,
    $4 + 8\,(n^2 + m^2)/nm$ bytes per parameter; with one axis, $4 + 8\,n/m$.

    **Raises:** `ValueError` for axes that are not the last two; (`init`) for an array of less than two dimensions.

    **Source:** Gupta, Koren & Singer, Shampoo (2018), algorithm 1, there $L$ starts at $\varepsilon I$; the roots and
    `b2` as in Shi et al. (2023). Equals Distributed Shampoo, where `b2` $= 1$ is None here, apart from grafting and
    from its merging of small dimensions. `one_sided`: ASGO (2025). Where papers write (out, in), their left is the
    output: here the columns.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.scale_by_shampoo()
    >>> g = jnp.array([[3.0, 0.0], [0.0, -0.5]])
    >>> tx.update(g, tx.init(g))[0].round(3)
    Array([[ 1.,  0.],
           [ 0., -1.]], dtype=float32)
    """
    given = sides if isinstance(sides, tuple) else (sides,)

    def own_sides(g: jax.Array) -> tuple[int, ...]:
        return (min(given, key=lambda i: (g.shape[i], i)),) if one_sided else given

    def init(p: jax.Array) -> dict[str, Any]:
        *grid, n, m = shape_of_blocks(p.shape, max_dim)
        eyes = {i: jnp.broadcast_to(jnp.eye(k, dtype=p.dtype), (*grid, k, k)) for i, k in ((-2, n), (-1, m))}
        none = jnp.zeros((0, 0), p.dtype)
        left, right = (eyes[i] if i in own_sides(p) else none for i in BOTH)
        return dict(
            mu=jnp.zeros_like(p),
            left=jnp.zeros_like(left),
            right=jnp.zeros_like(right),
            left_root=left,
            right_root=right,
        )

    def update(g: jax.Array, state: ScaleByShampooState):
        t, own = state.count + 1.0, own_sides(g)
        mu = b1 * state.mu + (1.0 - b1) * g
        blocks = jax.lax.stop_gradient(cut(g, max_dim))
        power = 1.0 / (2 * len(own)) if exponent is None else exponent
        sums = dict(zip(BOTH, (state.left, state.right), strict=True))
        roots = dict(zip(BOTH, (state.left_root, state.right_root), strict=True))
        with jax.default_matmul_precision("highest"):
            for i in own:
                new = squares(blocks, i)
                sums[i] = sums[i] + new if b2 is None else b2 * sums[i] + (1.0 - b2) * new

            def renew_roots() -> tuple[jax.Array, ...]:
                weighed = [sums[i] if b2 is None else debias(sums[i], b2, t) for i in own]
                return tuple([inverse_root(x, power, eps) for x in weighed])

            made = keep_unless(state.wait <= 0.0, renew_roots, tuple([roots[i] for i in own]))
        roots |= dict(zip(own, made, strict=True))
        out = cut(debias(mu, b1, t), max_dim)
        for i in own:
            out = roots[i] @ out if i == -2 else out @ roots[i]
        fields = dict(left=sums[-2], right=sums[-1], left_root=roots[-2], right_root=roots[-1])
        return glue(out, g), dict(mu=mu, **fields)

    def wait_on(state: Any) -> jax.Array:
        return jnp.where(state.wait <= 0.0, as_real(every) - 1.0, state.wait - 1.0)

    return per_matrix(ScaleByShampooState, init, update, shared=dict(wait=(0.0, wait_on)))


def inverse_root(s: jax.Array, power: Any, eps: Any) -> jax.Array:
    r"""$(S - \min(\lambda_{min}, 0) I + \varepsilon I)^{-p}$ of symmetric matrices. Eigenvectors of equal eigenvalues
    have no derivative.
    """
    values, vectors = eigen(s)
    values = values - jnp.minimum(values[..., :1], 0.0) + eps
    return (vectors * (values**-power)[..., None, :]) @ jnp.swapaxes(vectors, -1, -2)


@composition
def shampoo(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    b2: Decay | None = None,
    eps: Positive = 1e-12,
    every: Steps = 1,
    *,
    weight_decay: NonNegative = 0.0,
    where: Where = IS_MATRIX,
    others: optax.GradientTransformation = OTHERS,
    graft: optax.GradientTransformation | None = ADAM,
    exponent: NonNegative | None = None,
    sides: Annotated[Sides, Check(as_sides)] = BOTH,
    one_sided: bool = False,
    max_dim: Annotated[int, Check(as_size)] = 1024,
    view: Views = MATRICES,
):
    r"""Shampoo for matrices, $w \leftarrow w - \eta\,(s\,\|d\|_F/\|s\|_F + \lambda w)$ with the direction $s$ of
    `scale_by_shampoo` and that of Adam, $d$, and another optimizer for all else.

    Each matrix moves in Shampoo's direction as far as Adam would, so that Adam's learning rates and schedules are good
    ones. By default it takes all arrays of two dimensions, and `explain(tx, params)` shows which they are.

    **Arguments:** `learning_rate` $\eta \ge 0$; `weight_decay` $\lambda \ge 0$; `where`, which arrays it takes, and it
    may be none; `others`, a transformation with a learning rate of its own; `graft`, the transformation whose
    direction is $d$, or None for $s$ as it is; `view`, how their arrays are stacks of matrices, such as
    `matrices(reduce=(0, 1, 2), output=3)` for convolutions, or pairs of a selector and a view; the others as in
    `scale_by_shampoo`.

    **State:** that of `scale_by_shampoo` and of `graft` for those in `where`, for all else that of `others`.

    **Source:** as `scale_by_shampoo`; grafting as in Distributed Shampoo, whose Adam has a root of its own.

    >>> import gradtx as gx, jax.numpy as jnp
    >>> tx = gx.shampoo(1e-3, b2=0.99, every=10, others=gx.adamw(1e-3))
    >>> params = {"kernel": jnp.ones((3, 2)), "bias": jnp.zeros(2)}
    >>> updates, state = tx.update(params, tx.init(params), params)
    """
    direction = scale_by_shampoo(
        b1, b2, eps, every, exponent=exponent, sides=sides, one_sided=one_sided, max_dim=max_dim
    )
    sized = direction if graft is None else graft_onto(direction, graft, each_matrix=True)
    return descend_matrices(over(view, sized), learning_rate, weight_decay, where, others)
