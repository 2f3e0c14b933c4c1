"""Steps that end where the parameters should be: at zero, within a norm, in a set. They stand last in a chain."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gradtx.core import check
from gradtx.core.collectives import fold, require_whole_arrays
from gradtx.core.factories import transformation
from gradtx.core.flow import Flow
from gradtx.core.lift import init_empty, stateless
from gradtx.core.rule import Rule
from gradtx.core.tree import root
from gradtx.transforms.clip import shrinkage
from gradtx.values.annotations import Bound, NonNegative
from gradtx.values.errors import Refusal, errors_of, require_function
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
    axes = as_unit_axes(axis)

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


def as_unit_axes(axis: int | tuple[int, ...]) -> tuple[int, ...]:
    axes = axis if isinstance(axis, tuple) else (axis,)
    if not axes or any(isinstance(a, bool) or not isinstance(a, int | np.integer) for a in axes):
        raise Refusal(TypeError, f"axis must be an int or a tuple of ints, got {excerpt(axis)}")
    return axes


def has_axes(u: jax.Array, axes: tuple[int, ...], updates: Any, index: int) -> None:
    missing = [axis for axis in axes if not -u.ndim <= axis < u.ndim]
    if missing or len({axis % u.ndim for axis in axes}) < len(axes):
        problem = f"has no axis {missing[0]}" if missing else f"has two of the axes {axes} in one"
        where = f"updates{check.path_to(updates, index)} of shape {u.shape}"
        raise Refusal(ValueError, f"{where} {problem}; give the axes of its inputs, each once")


@transformation
def keep_nonnegative():
    r"""The update changed so that no parameter ends below zero, $u' = \max(w + u,\ 0) - w$: what would pass zero
    is exactly zero.

    The parts of a complex element are two numbers here.

    **Raises:** `ValueError` where `update` is called without the parameters.

    **Source:** equals Optax's `keep_params_nonnegative`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.chain(gradtx.sgd(1.0), gradtx.keep_nonnegative())
    >>> w = jnp.array([0.1, 2.0])
    >>> gradtx.apply_updates(w, tx.update(jnp.array([1.0, 1.0]), tx.init(w), w)[0])
    Array([0., 1.], dtype=float32)
    """
    return stateless(lambda u, p: jnp.where(p + u < 0, -p, u))


@transformation
def project(projection: Callable[[Any], Any], *, each_array: bool = False):
    r"""The update changed so that the parameters end in a set, at the point that a function $P$ gives for where they
    would be: $u' = P(w + u) - w$.

    It takes Optax's projections, such as `optax.projections.projection_l2_ball`, and any other function of a tree.
    Where all arrays are one vector to it, as for a ball, the set is one of the whole tree.

    **Arguments:** `projection` $P$, of the tree of parameters, which returns another one like it: the arrays in at
    least float32, None where nothing is updated. With `each_array` it is a function of one array, and each is projected
    by itself, as in `project(lambda w: jnp.clip(w, -1.0, 1.0), each_array=True)`.

    **Note:** what comes out is in at least float32. Adding it ends at $P(w + u)$ rounded to the parameter's dtype, to
    the bit for zeros, and for 16 bits while $w$ is not $2^{16}$ times larger. In float32 the sum rounds once more, by
    at most the last place of the largest of $w$, $u'$ and $P(w + u)$: a parameter may be so much outside.

    **Raises:** `TypeError` for what is no function of one argument; (`update`) `ValueError` without the parameters, for
    a projection that returns another kind of tree, and for arrays in parts inside of `shard_map`.

    >>> import functools, gradtx as gx, jax.numpy as jnp, optax
    >>> to_ball = functools.partial(optax.projections.projection_l2_ball, scale=5.0)
    >>> tx, w = gx.chain(gx.sgd(1.0), gx.project(to_ball)), {"w": jnp.array([2.0]), "b": jnp.array([0.0])}
    >>> updates, _ = tx.update({"w": jnp.array([-4.0]), "b": jnp.array([-8.0])}, tx.init(w), w)
    >>> gx.apply_updates(w, updates)
    {'b': Array([4.], dtype=float32), 'w': Array([3.], dtype=float32)}
    """
    require_function("projection", projection, "an array" if each_array else "a tree of arrays", 1)

    def advance(flow: Flow, state: Any, extra: dict[str, Any]) -> Any:
        check.require_state(state, optax.EmptyState)
        check.require_params(flow.params)
        updates = flow.updates()
        remedy = "a projection may look at all of it: project outside of shard_map"
        require_whole_arrays(jax.tree.leaves(updates), remedy)
        wide = jax.tree.map(lambda u: u.astype(check.promote(u.dtype)), updates)
        weights = jax.tree.map(lambda u, p: jnp.asarray(p).astype(u.dtype), wide, flow.own_params)
        ends = jax.tree.map(jnp.add, weights, wide)
        projected = jax.tree.map(projection, ends) if each_array else projection(ends)
        flow.put(jax.tree.map(jnp.subtract, like_ends(projected, ends), weights))
        return state

    return Rule(init_empty, advance, writes=True)


def like_ends(projected: Any, ends: Any) -> Any:
    """What a projection returned, if it is like what it was given."""
    rows = check.match(ends, projected, "what the projection returned", "params")
    leaves, structure = jax.tree.flatten(ends, is_leaf=check.is_none)
    for i, (x, end) in enumerate(zip(rows, leaves, strict=True)):
        if end is not None and (jnp.shape(x) != end.shape or jnp.iscomplexobj(x) != jnp.iscomplexobj(end)):
            got, want = f"{jnp.result_type(x)}{list(jnp.shape(x))}", f"{end.dtype}{list(end.shape)}"
            raise Refusal(ValueError, f"the projection made {got} of params{check.path_to(ends, i)}, which is {want}")
        rows[i] = None if end is None else jnp.asarray(x, end.dtype)
    return structure.unflatten(rows)
