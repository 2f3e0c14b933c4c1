"""The eigenvalues of a Hessian."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes

from gradtx.plot.drawing import COLORS, axes, finish, real
from gradtx.values.errors import Refusal, errors_of


def spectrum(eigenvalues: Any, *, ax: Axes | None = None) -> Axes:
    r"""Eigenvalues by size, $|\lambda_i|$ against $i$ on logarithmic scales: full for positive ones, hollow for
    negative ones. Those within rounding of zero, $|\lambda_i| \le n\,\epsilon \max_j |\lambda_j|$ with the machine
    precision $\epsilon$ of their dtype, are counted, not drawn.

    **Arguments:** the $n$ eigenvalues of a symmetric matrix, in any order; `ax`, by default a new one.

    **Raises:** `TypeError` for complex numbers, `ValueError` for a matrix and for numbers that are not finite.

    >>> import jax.numpy as jnp
    >>> from gradtx import plot
    >>> ax = plot.spectrum(jnp.array([2.0, -0.5, 1 / 32, 0.0]))
    >>> [line.get_label() for line in ax.lines]
    ['2 positive', '1 negative', '1 within rounding of zero']
    """
    with errors_of("plot.spectrum"):
        values = real("eigenvalues", eigenvalues, "; take jnp.linalg.eigvalsh of the Hessian")
        if not np.isfinite(values).all():
            raise Refusal(ValueError, "eigenvalues must be finite; the Hessian they are of has NaN or infinity")
        own, ax = ax is None, axes(ax)
    values = values[np.argsort(-np.abs(values))]
    sizes = np.abs(values)
    dtype = getattr(eigenvalues, "dtype", np.float64)
    eps = float(jnp.finfo(dtype).eps) if jnp.issubdtype(dtype, jnp.floating) else 0.0
    zero = sizes <= len(sizes) * eps * sizes[0]
    at = np.arange(1, len(sizes) + 1)
    for side, name, face in (values > 0, "positive", COLORS[0]), (values < 0, "negative", "white"):
        if (shown := side & ~zero).any():
            style: Any = dict(linestyle="none", marker="o", markersize=4, color=COLORS[0], markerfacecolor=face)
            ax.plot(at[shown], sizes[shown], label=f"{shown.sum()} {name}", **style)
    if zero.any():
        ax.plot([], [], " ", label=f"{zero.sum()} within rounding of zero")
    if zero.all():  # logarithmic scales of nothing
        ax.set(xlim=(0.9, 1.1 * len(sizes)), ylim=(0.1, 10.0))
    ax.set(xscale="log", yscale="log", xlabel="$i$, by size", ylabel=r"eigenvalue $|\lambda_i|$")
    return finish(ax, own)
