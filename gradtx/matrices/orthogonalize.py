"""The nearest matrix whose singular values are all one, by products alone."""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gradtx.core import check
from gradtx.core.factories import transformation
from gradtx.core.tree import norm
from gradtx.matrices.batch import per_matrix
from gradtx.matrices.coefficients import Coefficients, Triples, jordan_coefficients
from gradtx.matrices.factor import Scale, shape_factor, times_factor
from gradtx.values.annotations import Check, NonNegative
from gradtx.values.errors import Refusal
from gradtx.values.printing import excerpt

JORDAN, SHAPE = jordan_coefficients(), shape_factor()


def as_float_dtype(name: str, value: Any) -> Any:
    """A dtype of floats, whichever way it is written."""
    try:
        dtype = np.dtype(value)
    except TypeError:
        dtype = None
    if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
        raise Refusal(TypeError, f"{name} must be a dtype of floats, such as jnp.bfloat16, got {excerpt(value)}")
    return dtype


FloatDtype = Annotated[Any, Check(as_float_dtype)]


@transformation
def orthogonalize(
    coefficients: Coefficients = JORDAN,
    *,
    scale: Scale | None = SHAPE,
    eps: NonNegative = 1e-7,
    dtype: FloatDtype | None = None,
):
    r"""The nearest semi-orthogonal matrix, $U V^T$ of $u = U \Sigma V^T$, times a factor.

    From $X = u/(\|u\|_F + \varepsilon)$ on, each triple $(a, b, c)$ makes $X \leftarrow a X + (b B + c B^2) X$ with
    $B = X X^T$, or from the other side where that is smaller: the polynomial $a \sigma + b \sigma^3 + c \sigma^5$ of
    every singular value, without computing any. All directions of a matrix then move at the same speed, where the raw
    gradient has a few that drown the others.

    An array is a stack of matrices of $n_{in}$ rows and $n_{out}$ columns in its last two dimensions; `over` shows
    others so. A zero matrix stays zero, one of lower rank keeps its rank, one with NaN or infinity in it becomes NaN,
    alone.

    **Arguments:** `coefficients`, triples as from `jordan_coefficients` (the default), `polar_express` and others;
    `scale`, a function $f(u, O)$ of a matrix and what became of it, by whose result it is multiplied: `shape_factor()`
    (the default), `spectral_factor()`, `rms_factor(0.2)`, `dual_factor()`, one of your own, or None; `eps`
    $\varepsilon \ge 0$; `dtype`, in which the products take their factors, such as `jnp.bfloat16` on accelerators
    (sums are in at least float32), by default that of the arithmetic around.

    **State:** none. With $m \le n$ the sizes, a triple takes $2 m^2 n$ and $m^3$ multiplications.

    **Raises:** `TypeError` for coefficients that are no triples; (`update`) `ValueError` for an array of less than two
    dimensions.

    **Source:** Jordan et al., Muon (2024); Björck & Bowie (1971) for the iteration. Equal to its author's, torch's
    apart from its bfloat16, and Optax's.

    >>> import gradtx as gx, jax.numpy as jnp
    >>> tx = gx.orthogonalize(gx.polar_express(8))
    >>> u = jnp.array([[3.0, 0.0], [0.0, -0.5]])
    >>> tx.update(u, tx.init(u))[0].round(3)
    Array([[ 1.,  0.],
           [ 0., -1.]], dtype=float32)
    """

    def update(g: jax.Array, state: optax.EmptyState):
        return times_factor(scale, g, newton_schulz(g / (norm(g) + eps), coefficients, dtype)), {}

    return per_matrix(optax.EmptyState, lambda p: {}, update)


def newton_schulz(x: jax.Array, coefficients: Triples, dtype: Any = None) -> jax.Array:
    """The polynomials of these coefficients of a matrix's singular values, one after the other."""
    tall = x.shape[0] > x.shape[1]
    wide, narrow = check.promote(x.dtype), dtype or x.dtype

    def times(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.matmul(a.astype(narrow), b.astype(narrow), preferred_element_type=wide)

    def step(x: jax.Array, triple: jax.Array) -> tuple[jax.Array, None]:
        a, b, c = triple
        s = times(x.T, x) if tall else times(x, x.T)
        s = b * s + c * times(s, s)
        return a * x + (times(x, s) if tall else times(s, x)), None

    # Unrolled, XLA would keep all that is between.
    return jax.lax.scan(step, x, jnp.asarray(coefficients, x.dtype))[0]
