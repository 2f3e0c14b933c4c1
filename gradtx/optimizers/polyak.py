"""Polyak's step: to where the linear model of a loss is at its least."""

from typing import Any

import jax.numpy as jnp
from jax import Array

from gradtx.core.combine import chain
from gradtx.core.factories import composition, transformation
from gradtx.core.lift import init_empty, scaling
from gradtx.core.measurement import as_measurement
from gradtx.core.reals import dot, reals
from gradtx.transforms.rate import scale_by_learning_rate
from gradtx.values.annotations import Bound, NonNegative, Scalar

LEAST_SQUARES = 2.0**-52  # of a gradient's norm: below it there is no step
ALL_ARRAYS = "the loss is that of all arrays; for others to stay, freeze them ahead of it, chain(freeze(where), tx)"


def over_squares(x: Array, squares: Array) -> Array:
    """A number over a square norm; 0 where that is next to nothing."""
    nothing = squares <= LEAST_SQUARES
    return jnp.where(nothing, 0.0, x / jnp.where(nothing, 1.0, squares))


@transformation
def scale_by_polyak(
    max_learning_rate: Bound = 1.0, f_min: Scalar = 0.0, eps: NonNegative = 0.0, *, positive: bool = False
):
    r"""Polyak's step, $g\cdot\min((f - f_*)/(\lVert g\rVert^2 + \varepsilon), \eta)$ for the loss $f$: there the linear
    model of the loss reaches its least value $f_*$. The norm goes over all arrays.

    The loss is an argument of `update`, `value=`. Where $\lVert g\rVert^2 + \varepsilon \le 2^{-52}$ there is no step.

    **Arguments:** `max_learning_rate` $\eta > 0$, `inf` for none; `f_min` $f_*$, the least value of the loss, 0 where a
    model can fit all data; `eps` $\varepsilon \ge 0$. A loss below $f_*$ makes a step uphill, with `positive` none.

    **State:** none.

    **Raises:** `TypeError` and `ValueError` for a `value` that is missing or no real scalar; `ValueError` where only
    some arrays are in sight, as in a group of a `partition`; `chain(freeze(where), …)` leaves arrays as they are.

    **Source:** Polyak, Minimization of Unsmooth Functionals (1969); with a bound Loizou et al. (2021); `positive`:
    Garrigos, Gower & Schaipp (2023). Equals Optax's, there the variants "sps" and "sps+".

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.scale_by_polyak()
    >>> tx.update(jnp.array([6.0, 8.0]), tx.init(None), value=25.0)[0]
    Array([1.5, 2. ], dtype=float32)
    """

    def factor(state: Any, updates: Any, *, value: Any) -> tuple[Array, Any]:
        g = reals(updates, updates, "updates")
        value = as_measurement("value", value)
        gap = jnp.maximum(value - f_min, 0.0) if positive else value - f_min
        squares = dot(g, g).astype(gap.dtype) + eps
        return jnp.minimum(over_squares(gap, squares), max_learning_rate), state

    return scaling(init_empty, factor, whole=ALL_ARRAYS)


@composition
def polyak(
    max_learning_rate: Bound = 1.0,
    f_min: Scalar = 0.0,
    eps: NonNegative = 0.0,
    *,
    positive: bool = False,
    learning_rate: NonNegative = 1.0,
):
    r"""Descent by Polyak's step, $w \leftarrow w - s\min((f - f_*)/(\lVert g\rVert^2 + \varepsilon), \eta)\,g$.

    **Arguments:** `learning_rate` $s \ge 0$, which multiplies what is found; the others and the source are those of
    `scale_by_polyak`. `update` takes the loss, `value=`. Optax's equals it with $s = 1$; another `scaling` there is in
    $g$ already when its norm is taken.

    >>> import gradtx, jax.numpy as jnp
    >>> tx, w = gradtx.polyak(), jnp.array([3.0, 4.0])
    >>> tx.update(2.0 * w, tx.init(w), w, value=jnp.sum(w**2))[0]
    Array([-1.5, -2. ], dtype=float32)
    """
    direction = scale_by_polyak(max_learning_rate, f_min, eps, positive=positive)
    return chain(direction, scale_by_learning_rate(learning_rate))
