"""Steps that end where the parameters should be: exactly at zero, or within a norm. They stand last in a chain."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradtx.core import check
from gradtx.core.collectives import fold, require_whole_arrays
from gradtx.core.factories import transformation
from gradtx.core.lift import init_empty, stateless
from gradtx.core.tree import root
from gradtx.transforms.clip import shrinkage
from gradtx.values.annotations import Bound, NonNegative
from gradtx.values.errors import Refusal, errors_of
from gradtx.values.printing import excerpt


@transformation
def soft_threshold(penalty: NonNegative, learning_rate: NonNegative = 1.0):
    r"""The proximal step of the L1 penalty, behind the learning rate: $w + u$ is moved toward zero by $\lambda\eta$
    but never past it, $u' = \operatorname{sign}(w + u)\max(|w + u| - \lambda\eta,\ 0) - w$. What reaches zero is
    exactly zero; `sparsity` counts it.

    **Arguments:** `penalty` $\lambda \ge 0$ of $\lambda\lVert w\rVert_1$; `learning_rate` $\eta \ge 0$, that of the
    chain, a schedule too: `chain(sgd(rate), soft_threshold(0.1, rate))`. Behind momentum $\mu$ it is $\eta/(1 - \mu)$;
    it is 1 where the penalty is the threshold itself. It does not follow a `reduce_on_plateau` in the chain. A complex
    element is moved in its real and in its imaginary part.

    **Raises:** `ValueError` where `update` is called without the parameters.

    **Source:** Parikh & Boyd, Proximal Algorithms (2014), section 6.5.2; behind gradient descent it is ISTA.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.chain(gradtx.sgd(0.5), gradtx.soft_threshold(1.0, 0.5))
    >>> w = jnp.array([2.0, 0.75])
    >>> gradtx.apply_updates(w, tx.update(jnp.array([1.0, 1.0]), tx.init(w), w)[0])
    Array([1., 0.], dtype=float32)
    """

    def update(u: jax.Array, p: jax.Array):
        moved = p + u
        return jnp.sign(moved) * jnp.maximum(jnp.abs(moved) - penalty * learning_rate, 0.0) - p

    return stateless(update)


def sparsity(tree: Any) -> jax.Array:
    r"""The share of exact zeros among all elements of a tree, from 0 to 1; 0 without elements.

    >>> import gradtx, jax.numpy as jnp
    >>> float(gradtx.sparsity({"w": jnp.array([0.0, 2.0, 0.0]), "b": jnp.array([1.0]), "frozen": None}))
    0.5
    """
    arrays = [x for x in map(jnp.asarray, jax.tree.leaves(tree)) if x.size]
    none = jnp.zeros([])
    with errors_of("sparsity"):  # means, since a sum may pass an int32
        zeros = fold(lambda so_far, x: so_far + jnp.mean(x == 0) * x.size, arrays, none)
        return zeros / jnp.maximum(fold(lambda so_far, x: so_far + float(x.size), arrays, none), 1.0)


@transformation
def constrain_norm(max_norm: Bound, axis: int | tuple[int, ...] = 0):
    r"""The max-norm constraint: the update changed so that each unit's weights $x = w + u$ have a norm of at
    most $c$, $u' = x\cdot\min(1,\ c/\lVert x\rVert_2) - w$.

    **Arguments:** `max_norm` $c > 0$, in the units of the parameter, `inf` for none; `axis`, one or several: a unit's
    weights lie along it, 0 in a matrix of inputs by outputs, `(0, 1, 2)` in a convolution of height, width, inputs,
    outputs. Arrays of fewer than two dimensions (biases, gains) stay as they are. A norm beyond float32 (1.8e19) gives
    zeros.

    **Raises:** `ValueError` for an array of two dimensions or more that lacks an axis, for one given twice, and where
    `update` is called without the parameters.

    **Source:** Srebro, Rennie & Jaakkola (2005); Srivastava et al., Dropout (2014), section 5.1. Equals Keras'
    `MaxNorm`, which also adds its epsilon, 1e-7, to the norm.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.chain(gradtx.sgd(1.0), gradtx.constrain_norm(5.0))
    >>> w = jnp.array([[2.0, 0.5], [0.0, 0.5]])
    >>> updates, _ = tx.update(jnp.array([[-4.0, 0.0], [-8.0, 0.0]]), tx.init(w), w)
    >>> gradtx.apply_updates(w, updates)
    Array([[3. , 0.5],
           [4. , 0.5]], dtype=float32)
    """
    axes = axis if isinstance(axis, tuple) else (axis,)
    if not axes or any(isinstance(a, bool) or not isinstance(a, int | np.integer) for a in axes):
        raise Refusal(TypeError, f"axis must be an int or a tuple of ints, got {excerpt(axis)}")

    def constrained(u: jax.Array, p: jax.Array):
        wide = check.promote(u.dtype)
        end = p.astype(wide) + u.astype(wide)
        norm = root(jnp.sum(jnp.real(end * jnp.conj(end)), axes, keepdims=True))
        shorter = end * shrinkage(norm, max_norm) - p.astype(wide)
        return jnp.where(norm > max_norm, shorter, u.astype(wide)).astype(u.dtype)

    # On whole trees, not by a formula: that would see a complex array with one axis more in front.
    def update(updates: Any, state: Any, params: Any = None):
        check.require_params(params)
        leaves, structure, weights = check.align(updates, params)
        large = [(u, p) for u, p in zip(leaves, weights, strict=True) if u is not None and u.ndim > 1]
        require_whole_arrays(large, "a unit's weights may lie on several devices: constrain them outside of shard_map")
        for i, u in enumerate(leaves):
            if u is not None and u.ndim > 1:
                has_axes(u, axes, updates, i)
                leaves[i] = constrained(u, jnp.asarray(weights[i]))
        return structure.unflatten(leaves), state

    return init_empty, update


def has_axes(u: jax.Array, axes: tuple[int, ...], updates: Any, index: int) -> None:
    missing = [axis for axis in axes if not -u.ndim <= axis < u.ndim]
    if missing or len({axis % u.ndim for axis in axes}) < len(axes):
        problem = f"has no axis {missing[0]}" if missing else f"has two of the axes {axes} in one"
        where = f"updates{check.path_to(updates, index)} of shape {u.shape}"
        raise Refusal(ValueError, f"{where} {problem}; give the axes of its inputs, each once")
