"""The gradient of each example bounded before they are summed: what one of them can change has a limit."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from gradtx.core import check
from gradtx.core.collectives import AXES, Axes, fold, join_names, require_whole_arrays, vary, varying_axes
from gradtx.core.count import Count, increment
from gradtx.core.factories import transformation
from gradtx.core.flow import Flow
from gradtx.core.keys import Seed
from gradtx.core.rule import Rule
from gradtx.core.tree import narrow, root, widen
from gradtx.transforms.clip import shrinkage
from gradtx.transforms.noise import normal_like, words_of_arrays
from gradtx.values.annotations import Bound, NonNegative, Positive
from gradtx.values.errors import Refusal


class PerExampleClipState(NamedTuple):
    """What clipping did to the examples of the last update; zero before the first.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.per_example_clip(1.0)
    >>> float(tx.update(jnp.array([[3.0, 4.0], [0.0, 0.5]]), tx.init(None))[1].clipped)
    0.5
    """

    clipped: Array  # the share of gradients above their bound

    only_measured = ("clipped",)  # no update reads it

    @property
    def metrics(self) -> dict[str, Array]:
        return dict(clipped_examples=self.clipped)


@transformation
def per_example_clip(max_norm: Bound):
    r"""The sum of the examples' gradients, of which each is brought to a norm of at most $c$ over all arrays,
    $\sum_i g_i\,\min(1,\ c/\lVert g_i\rVert_2)$.

    It takes arrays with one axis more than their parameters, the first, along which the examples lie, as
    `jax.vmap(jax.grad(loss), (None, 0))` makes them, and so stands first in a chain. Inside of `shard_map`, with
    `across(…, axes)`, examples that are spread over devices are summed over all of them: make each device's gradients
    those of its own, with `jax.lax.pcast(params, axes, to="varying")` for the loss, since JAX's gradient by parameters
    that are the same on all devices is a sum over these before anything is clipped.

    **Arguments:** `max_norm` $c > 0$, in the units of one example's gradient; `inf` for none.

    **State:** `clipped`, for `metrics`: the share of the examples above the bound.

    **Raises:** (`update`) `ValueError` for arrays without such an axis, or with one of another length than the first.

    **Source:** Abadi et al., Deep Learning with Differential Privacy (2016), algorithm 1, without the noise. Equals
    Optax's `per_example_global_norm_clip`, which gives the number of the clipped, not their share.

    >>> import gradtx, jax.numpy as jnp
    >>> tx, w = gradtx.per_example_clip(1.0), jnp.zeros(2)
    >>> tx.update(jnp.array([[0.0, 4.0], [0.5, 0.0]]), tx.init(w), w)[0]
    Array([0.5, 1. ], dtype=float32)
    """
    return clip_examples(lambda arrays: [max_norm], one_norm=True)


@transformation
def per_example_clip_by_layer(max_norm: Bound, *, by_size: bool = False):
    r"""The sums of the examples' gradients, of which each array is brought to a norm of its own,
    $\sum_i g_i\,\min(1,\ c_l/\lVert g_i\rVert_2)$: at most $c_l = c/\sqrt L$ for each of $L$ arrays, with `by_size`
    $c_l = c \sqrt{n_l/n}$ for one with $n_l$ of all $n$ elements. Over all arrays it is at most $c$, as in
    `per_example_clip`.

    **Arguments:** `max_norm` $c > 0$, in the units of one example's gradient, `inf` for none; `by_size`, whether the
    larger array gets the larger share.

    **State:** `clipped`, for `metrics`: the share of the gradients above their bound.

    **Raises:** (`update`) `ValueError` as in `per_example_clip`; with `by_size` also inside of `shard_map`, where the
    sizes are those of parts.

    **Source:** McMahan et al., Learning Differentially Private Recurrent Language Models (2018). Equals
    Optax's `per_example_layer_norm_clip`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.per_example_clip_by_layer(5.0, by_size=True)
    >>> u = {"w": jnp.full((1, 16), 10.0), "b": jnp.full((1, 9), 0.5)}
    >>> out = tx.update(u, tx.init(None))[0]
    >>> {name: round(float(gradtx.global_norm(x)), 2) for name, x in out.items()}
    {'b': 1.5, 'w': 4.0}
    """

    def bounds(arrays: list[Array]) -> list[Any]:
        if by_size:
            require_whole_arrays(arrays, "a bound by sizes needs those of whole arrays: leave by_size out, or use jit")
        sizes = [math.prod(x.shape[1:]) if by_size else 1 for x in arrays]
        return [max_norm * (max(size, 1) / max(sum(sizes), 1)) ** 0.5 for size in sizes]  # above 0 for no elements, too

    return clip_examples(bounds, one_norm=False)


class PrivateState(NamedTuple):
    """The state of `private`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.private(1.0, 1.1, key=0)
    >>> tx.update(jnp.ones((8, 2)), tx.init(None))[1]
    PrivateState(count=Array(1, dtype=int32))
    """

    count: Count


@transformation
def private(max_norm: Positive, noise_multiplier: NonNegative, key: Seed, *, batch_size: Positive | None = None):
    r"""The mean of the examples' gradients so that little can be learned of one of them,
    $(\sum_i g_i\,\min(1,\ c/\lVert g_i\rVert_2) + c\,\sigma\,n)/B$ with $n$ of $N(0, 1)$ for each element.

    It takes a gradient of each example, as `per_example_clip` does, spread over devices too, and stands first in a
    chain; what comes behind it may be anything. What stands in front of it, or looks at gradients around it, as
    `accumulate` and `skip_nonfinite` do, refuses those of examples.

    What it is worth is a matter of the whole training: an accountant, that of dp-accounting or Opacus, says which
    $(\epsilon, \delta)$ so many steps with this $\sigma$ and this rate of sampling have. It supposes that each batch is
    a Poisson sample, each example in it or not by itself, and that nobody knows the key: draw one from the system's
    entropy for each run, and show neither the key nor this value, which prints it. Where `jit` wants batches of one
    size, fill them up with gradients of zeros, and say the expected size in `batch_size`. Numbers in float32 leave
    traces that the theory does not know of (Mironov, 2012).

    **Arguments:** `max_norm` $c > 0$, in the units of one example's gradient; `noise_multiplier` $\sigma \ge 0$; `key`,
    as in `add_noise`; `batch_size` $B > 0$, by default that of the batch, on all devices together.

    **State:** `count`; nothing per parameter.

    **Raises:** `TypeError` for a key that is none; (`update`) `ValueError` as in `per_example_clip`.

    **Source:** Abadi et al., Deep Learning with Differential Privacy (2016), algorithm 1. Optax's
    `differentially_private_aggregate` draws other numbers, keeps its key in the state, and always divides by the size
    of the batch.

    >>> import gradtx, jax.numpy as jnp
    >>> tx, w = gradtx.private(5.0, 0.0, key=0), jnp.zeros(2)
    >>> tx.update(jnp.array([[6.0, 8.0], [1.0, 0.0]]), tx.init(w), w)[0]
    Array([2., 2.], dtype=float32)
    """

    def init(params: Any) -> PrivateState:
        return PrivateState(jnp.zeros([], jnp.int32))

    def advance(flow: Flow, state: PrivateState, extra: dict[str, Any]) -> PrivateState:
        check.require_state(state, PrivateState)
        places, arrays, axes = take_examples(flow)
        factors, _ = factors_of_examples(arrays, axes, lambda arrays: [max_norm], one_norm=True)
        kind, words = words_of_arrays(key, state.count, len(flow.leaves))
        size: Any = max([1, *map(len, arrays[:1])]) * sum_over(axes, 1) if batch_size is None else batch_size

        def mean_with_noise(total: Array, i: int) -> Array:
            c, multiplier, n = (jnp.asarray(x, total.dtype) for x in (max_norm, noise_multiplier, size))
            return (total + c * multiplier * normal_like(words[i], kind, total)) / n

        put_sums(flow, places, arrays, axes, factors, mean_with_noise)
        return PrivateState(increment(state.count))

    return Rule(init, advance, selects=True, counts=(("count",),))


# ---- what they share ----


def clip_examples(bounds: Callable[[list[Array]], list[Any]], one_norm: bool) -> Rule:
    """The rule that sums the examples' gradients, brought to these bounds: one for all arrays, or one for each."""

    def init(params: Any) -> PerExampleClipState:
        return PerExampleClipState(jnp.zeros([], jnp.result_type(float)))

    def advance(flow: Flow, state: PerExampleClipState, extra: dict[str, Any]) -> PerExampleClipState:
        check.require_state(state, PerExampleClipState)
        places, arrays, axes = take_examples(flow)
        factors, clipped = factors_of_examples(arrays, axes, bounds, one_norm)
        put_sums(flow, places, arrays, axes, factors)
        return PerExampleClipState(clipped.astype(state.clipped.dtype))

    return Rule(init, advance, selects=True)


def take_examples(flow: Flow) -> tuple[list[int], list[Array], Axes]:
    """The arrays with a gradient of each example, their places, and the axes of the mesh along which each device has
    examples of its own.
    """
    leaves = flow.run()
    if flow.examples_seen:
        remedy = "put it first: what it is worth is known of untouched gradients alone"
        raise Refusal(ValueError, f"a part of Optax in front has changed the examples' gradients; {remedy}")
    places = [i for i, u in enumerate(leaves) if u is not None and i not in flow.frozen]
    arrays: list[Array] = []
    split: frozenset[str] = frozenset()
    for i in places:
        u = leaves[i]
        if isinstance(u, check.Unfit) and not u.of_examples:
            raise u.refusal
        x = jnp.asarray(u.leaf) if isinstance(u, check.Unfit) else u
        if x is u and (flow.params is not None or not x.ndim):
            remedy = "as jax.vmap(jax.grad(loss), (None, 0)) makes them"
            problem = f"has shape {x.shape}, expected {('examples', *x.shape)}: a gradient of each example, {remedy}"
            raise Refusal(ValueError, f"updates{check.path_to(flow.tree, i)} {problem}")
        if own := varying_axes(x):
            check.require_params(flow.params)  # which say what it differs along: its parts, or the examples
            split |= own - varying_axes(flow.weights[i])
        if split and AXES.value is None:
            where = f"updates{check.path_to(flow.tree, i)} has other examples along {join_names(split)}"
            remedy = "across(tx, axes) sums over those along these axes, across(tx, ()) over each device's own"
            raise Refusal(ValueError, f"{where}; {remedy}")
        if arrays and len(x) != len(arrays[0]):
            first, other = (check.path_to(flow.tree, place) for place in (places[0], i))
            problem = f"updates{other} has gradients of {len(x)} examples, updates{first} of {len(arrays[0])}"
            raise Refusal(ValueError, f"{problem}; give one of each example in all arrays")
        arrays.append(x)
    axes = tuple(name for name in AXES.value or () if name in split)
    return places, [vary(x, axes) for x in arrays], axes


def factors_of_examples(
    arrays: list[Array], axes: Axes, bounds: Callable[[list[Array]], list[Any]], one_norm: bool
) -> tuple[list[Array], Array]:
    """What each example's gradient of each array is multiplied by, and the share of them above their bound. Along axes
    of the mesh on which the examples are, no array is in parts.
    """
    if not arrays:
        return [], jnp.zeros([])
    with AXES(AXES.value and tuple(name for name in AXES.value if name not in axes)):
        factors, share = factors_on_device(arrays, bounds(arrays), one_norm)
    return factors, sum_over(axes, share) / sum_over(axes, 1)


def factors_on_device(arrays: list[Array], bounds: list[Any], one_norm: bool) -> tuple[list[Array], Array]:
    groups = [arrays] if one_norm else [[x] for x in arrays]
    dtypes = [functools.reduce(check.promote, [x.real.dtype for x in group], jnp.float32) for group in groups]
    zeros = [jnp.zeros(len(arrays[0]), dtype) for dtype in dtypes]
    sizes = [root(fold(add_squares_of_examples, group, zero)) for group, zero in zip(groups, zeros, strict=True)]
    factors = [shrinkage(size, bound) for size, bound in zip(sizes, bounds, strict=True)]
    above = jnp.sum(jnp.array([jnp.sum(size > bound) for size, bound in zip(sizes, bounds, strict=True)]))
    return factors * (len(arrays) // len(groups)), above / max(len(arrays[0]) * len(groups), 1)


def add_squares_of_examples(so_far: Array, x: Array) -> Array:
    squares = jnp.square(widen(x)).astype(so_far.dtype)
    examples = squares.ndim - x.ndim  # their axis: behind that of the parts of a complex array
    return so_far + jnp.sum(squares, [i for i in range(squares.ndim) if i != examples])


def sum_over(axes: Axes, x: Any) -> Any:
    return jax.lax.psum(x, axes) if axes else x


def put_sums(
    flow: Flow,
    places: list[int],
    arrays: list[Array],
    axes: Axes,
    factors: list[Array],
    finish: Callable[[Array, int], Array] = lambda total, i: total,
) -> None:
    """Go on with the sums of the examples' gradients times their factors, or with what becomes of these, as wide as
    they were computed.
    """
    rows, outputs = list(flow.leaves), list(flow.leaves)
    for i, x, factor in zip(places, arrays, factors, strict=True):
        outputs[i] = finish(sum_over(axes, sum_of_examples(x, factor)), i)
        rows[i] = narrow(outputs[i], x.dtype)
    flow.put(flow.structure.unflatten(rows))
    flow.then(lambda g, wide: (wide.astype(g.dtype), {}), outputs)


def sum_of_examples(x: Array, factor: Array) -> Array:
    """The sum of an array's examples, each times its factor, as wide as it is computed."""
    wide = widen(x)
    examples = wide.ndim - x.ndim  # their axis: behind that of the parts of a complex array
    factors = jnp.expand_dims(factor, [a for a in range(wide.ndim) if a != examples]).astype(wide.dtype)
    return jnp.sum(factors * wide, examples)
