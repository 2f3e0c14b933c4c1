"""What is taken out of a gradient: its mean, what lies along the parameters, NaN."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gradtx.core import check
from gradtx.core.collectives import largest, require_whole_arrays, sum_parts
from gradtx.core.factories import transformation
from gradtx.core.lift import init_empty, per_array, stateless
from gradtx.core.tree import norm
from gradtx.values.annotations import NonNegative
from gradtx.values.errors import Refusal
from gradtx.values.printing import excerpt


@transformation
def centralize(axis: int = -1):
    r"""Gradients of matrices and of higher arrays without their mean, $g - \operatorname{mean}(g)$ for each output over
    all of its inputs: the sum of an output's weights stays as it was. Outputs come last, as in JAX's kernels; Optax
    takes them for the first axis, `axis=0`.

    In front of an optimizer it keeps that sum through plain descent; behind an average or a root it would keep it too.

    **Arguments:** `axis`, that of the outputs, over which no mean is taken: -1, the last, in JAX's kernels of inputs by
    outputs and of height, width, inputs, outputs; 0 where outputs come first, as in torch and in Optax's `centralize`.
    Arrays of fewer than two dimensions (biases, gains) stay as they are.

    **Raises:** `TypeError` and `ValueError` for another `axis`; (`update`) `ValueError` for an array of two dimensions
    or more that is in parts inside of `shard_map`.

    **Source:** Yong et al., Gradient Centralization (2020), equation 1, whose outputs are the columns of a matrix.
    Optax's function of this name is `centralize(axis=0)`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.centralize()
    >>> g = jnp.array([[1.0, 5.0], [3.0, 5.0]])
    >>> tx.update(g, tx.init(g))[0]
    Array([[-1.,  0.],
           [ 1.,  0.]], dtype=float32)
    """
    expected = "axis must be -1, where outputs come last, or 0, where they come first"
    if isinstance(axis, bool) or not isinstance(axis, int | np.integer):
        raise Refusal(TypeError, f"{expected}, got {excerpt(axis)}")
    if axis not in (-1, 0):
        raise Refusal(ValueError, f"{expected}, got {axis}")

    def centralized(g: Array) -> Array:
        wide = g.astype(check.promote(g.dtype))
        inputs = range(1, g.ndim) if axis == 0 else range(g.ndim - 1)
        # Not `mean`, which is NaN without elements.
        mean = jnp.sum(wide, tuple(inputs), keepdims=True) / max(int(np.prod([g.shape[i] for i in inputs])), 1)
        return (wide - mean).astype(g.dtype)

    # On whole trees, not by a formula: that would see a complex array with one axis more in front.
    def update(updates: Any, state: Any, params: Any = None):
        large = [g for g in jax.tree.leaves(updates) if g.ndim > 1]
        require_whole_arrays(large, "an output's inputs may lie on several devices: centralize outside of shard_map")
        return jax.tree.map(lambda g: centralized(g) if g.ndim > 1 else g, updates), state

    return init_empty, update


@transformation
def orthograd(eps: NonNegative = 1e-30):
    r"""Each array's gradient without what lies along its parameter, in its own norm,
    $h\,\lVert g\rVert_2 / (\lVert h\rVert_2 + \varepsilon)$ with
    $h = g - w\,\langle w, g\rangle / (\lVert w\rVert_2^2 + \varepsilon)$: OrthoGrad.

    Once a network fits its data, cross-entropy falls by larger logits alone, until their softmax has no digits left.
    This leaves that direction out. It stands in front, and `masked` or `only` keeps it to weights: a gradient along its
    parameter, as that of a single number always is, becomes zeros.

    **Arguments:** `eps` $\varepsilon \ge 0$, against 0/0.

    **Raises:** `ValueError` where `update` is called without the parameters.

    **Source:** Prieto et al., Grokking at the Edge of Numerical Stability (2025). The authors' code scales up what
    rounding leaves of a gradient along its parameter; here that is zero, below 128 times the precision of float32.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.orthograd()
    >>> w = jnp.array([2.0, 0.0])
    >>> tx.update(jnp.array([3.0, 4.0]), tx.init(w), w)[0]
    Array([0., 5.], dtype=float32)
    """

    def formula(g: Array, p: Array) -> Array:
        def over(x: Array, y: Array) -> Array:
            return x / jnp.where(y > 0.0, y, 1.0)  # 0/0 where eps is 0

        across = g - p * over(sum_parts(p * g), sum_parts(p * p) + eps)
        size, rest = norm(g), norm(across)
        some = rest > 128.0 * float(jnp.finfo(g.dtype).eps) * size
        return jnp.where(some, across * over(size, rest + eps), 0.0)

    return stateless(formula)


class ZeroNansState(NamedTuple):
    """The state of `zero_nans`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.zero_nans()
    >>> u = {"w": jnp.array([jnp.nan, 1.0]), "b": jnp.ones(1)}
    >>> {name: bool(x) for name, x in tx.update(u, tx.init(u))[1].found.items()}
    {'b': False, 'w': True}
    """

    found: Any  # bool, (), for each array: whether the last update had any

    only_measured = ("found",)  # no update reads it

    @property
    def metrics(self) -> dict[str, Array]:
        """In how many arrays there were any."""
        return dict(arrays_with_nan=sum(x.astype(jnp.int32) for x in jax.tree.leaves(self.found)) + jnp.zeros([], int))


@transformation
def zero_nans(*, infinities: bool = False):
    r"""Zero in the place of each element that is NaN, $g_i$ if it is a number and 0 if not; with `infinities`, in that
    of an infinite one too.

    The other elements go on, though what made one of them NaN may have spoiled them: `skip_nonfinite` leaves the whole
    step out.

    **Arguments:** `infinities`, whether these become zero too; without it they pass.

    **State:** `found`, for each array whether the last update had any; `metrics` says in how many.

    **Source:** Optax's function of this name, whose state has `found_nan`. Of a complex element the part that is NaN
    becomes zero here, there both.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.zero_nans(infinities=True)
    >>> g = jnp.array([jnp.nan, jnp.inf, 1.0])
    >>> tx.update(g, tx.init(g))[0]
    Array([0., 0., 1.], dtype=float32)
    """

    def init(p: Array):
        return dict(found=jnp.zeros([], bool))

    def update(g: Array, state: ZeroNansState):
        bad = ~jnp.isfinite(g) if infinities else jnp.isnan(g)
        return jnp.where(bad, 0.0, g), dict(found=largest(bad.astype(g.dtype)) > 0.0)

    return per_array(ZeroNansState, init, update)
