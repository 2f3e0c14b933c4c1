"""Rates that keep their meaning where a model grows wider: the factors of muP, by shapes."""

import math
from typing import Annotated, Any

import jax
import numpy as np
import optax

from gradtx.core import check
from gradtx.core.collectives import require_whole_arrays
from gradtx.core.factories import transformation
from gradtx.core.flow import Flow
from gradtx.core.paths import Rows, list_some, paths_and_leaves, places_of_rows
from gradtx.core.rule import Route, Rule
from gradtx.selectors import is_function
from gradtx.transforms.factors import is_pairs, multiply_each
from gradtx.values.annotations import Check
from gradtx.values.errors import Refusal, require_function
from gradtx.values.printing import excerpt

Shape = tuple[int, ...]


def as_shapes(name: str, value: Any) -> Any:
    """A function as it is; a tree of arrays or of shapes as pairs of a path and a shape."""
    if is_function(value):
        require_function(name, value, "a path and an array, or a tree of shapes or of arrays", 2)
        return value
    if is_pairs(value):
        rows = list(value)
    elif any(hasattr(x, "shape") for x in jax.tree.leaves(value)):
        rows = [(path, None if x is None else np.shape(x)) for path, x in paths_and_leaves(value)]
    else:
        rows = paths_and_leaves(value, is_leaf=lambda x: x is None or is_shape(x))
    for path, shape in rows:
        if shape is not None and not is_shape(shape):
            expected = "a tree of arrays or of shapes, tuples of whole numbers"
            raise Refusal(TypeError, f"{name} must be {expected}, got {excerpt(shape)} at {path or 'all'}")
    pairs = tuple([(path, tuple(shape)) for path, shape in rows if shape is not None])
    if not pairs:
        raise Refusal(ValueError, f"{name} has no shape in it, got {excerpt(value)}")
    return pairs


def is_shape(x: Any) -> bool:
    return type(x) is tuple and all(type(n) is int and n >= 0 for n in x)


@transformation
def scale_by_width(
    base_shapes: Annotated[Any, Check(as_shapes)],
    *,
    of_gradients: bool = False,
    output_multiplier: bool = True,
    powers_of_two: bool = False,
):
    r"""Every array's updates times muP's factor for its width, $c_i\,g_i$: the rates that were found on a narrow base
    model are right for a wide one.

    An array's last axis are its outputs, the one before its inputs, and these are $k_{out}$ and $k_{in}$ times as long
    as in the base model. Its factor is, behind a direction like Adam's, Lion's or sign's, or with `of_gradients` behind
    gradients and their momentum:

    | what grows | as | factor | `of_gradients` |
    | --- | --- | --- | --- |
    | both | hidden kernels | $1/k_{in}$ | $k_{out}/k_{in}$ |
    | outputs | biases, gains, kernels of inputs, embeddings | 1 | $k_{out}$ |
    | inputs | the kernel of the output | 1 | $k_{in}$ |
    | inputs, without `output_multiplier` | the same | $1/k_{in}$ | $1/k_{in}$ |

    It stands ahead of a decay of the weights that it leaves alone, as $\eta\lambda w$:
    `chain(scale_by_adam(), scale_by_width(shapes), add_decayed_weights(0.1), scale_by_learning_rate(1e-3))`. The model
    does the rest: the scales of its initial weights, attention's $1/d$ in place of $1/\sqrt d$, and the factor
    $1/k_{in}$ on its output, which `output_multiplier` says that it has.

    **Arguments:** `base_shapes`, those of the base model: a tree of arrays, of `jax.ShapeDtypeStruct` as
    `jax.eval_shape` makes them, or of tuples, like the parameters; a dict of paths, `{"dense/kernel": (64, 64)}`; or a
    function `base_shape(path, array) -> tuple`. With `powers_of_two` each factor is rounded to the nearest in its
    logarithm, and multiplying by it is exact. `explain(tx, params)` shows all factors.

    **Raises:** `TypeError` and `ValueError` for other `base_shapes`; (`init`) `ValueError` for an array without base
    shape, for one without array, for another number of axes, and where an axis other than the last two grows, as of
    stacked layers or of heads: `scale_by_tree` takes any factors.

    **Source:** Yang et al., Tensor Programs V (2022), Table 8, and the rates of `MuAdam` and `MuSGD` in the authors'
    code; without `output_multiplier`, Table 3.

    >>> import gradtx as gx, jax.numpy as jnp
    >>> tx = gx.scale_by_width({"hidden": (64, 64), "bias": (64,), "out": (64, 10)})
    >>> u = {"hidden": jnp.ones((256, 256)), "bias": jnp.ones(256), "out": jnp.ones((256, 10))}
    >>> updates, _ = tx.update(u, tx.init(u))
    >>> {name: float(x.max()) for name, x in updates.items()}
    {'bias': 1.0, 'hidden': 0.25, 'out': 1.0}
    """

    def factor(path: str, shape: Shape, base: Shape) -> float:
        k_in, k_out = growths(path or "the array", shape, base)
        if k_in != 1 and (k_out != 1 or not output_multiplier):
            found = k_out / k_in if of_gradients and k_out != 1 else 1 / k_in
        else:
            found = k_out * k_in if of_gradients else 1.0
        return 2.0 ** round(math.log2(found)) if powers_of_two else found

    def factors(tree: Any) -> list[float | None]:
        rows = paths_and_leaves(tree)
        bases = bases_of_rows(rows, base_shapes)
        return [
            None if base is None else factor(path, np.shape(x), base)
            for (path, x), base in zip(rows, bases, strict=True)
        ]

    def init(params: Any) -> optax.EmptyState:
        factors(params)
        return optax.EmptyState()

    def advance(flow: Flow, state: Any, extra: dict[str, Any]) -> Any:
        check.require_state(state, optax.EmptyState)
        arrays = [u for u in flow.leaves if isinstance(u, jax.Array)]
        require_whole_arrays(
            arrays, "its shape is that of a part: multiply outside of shard_map, or with scale_by_tree"
        )
        of_each = factors(flow.selector_tree)
        multiply_each(flow, {x: x for x in of_each if x is not None}, of_each)
        return state

    def routes(tree: Any) -> list[Route]:
        of_each = factors(tree)
        return [Route([x == c for x in of_each], f"times {c:g}") for c in sorted({x for x in of_each if x is not None})]

    return Rule(init, advance, routes=routes, everywhere=True)


def bases_of_rows(rows: Rows, base_shapes: Any) -> list[Shape | None]:
    """The base shape of each array."""
    if type(base_shapes) is not tuple:
        meant = [x is not None and not callable(x) for _, x in rows]  # a model may hold functions
        found = [base_shapes(path, x) if own else None for (path, x), own in zip(rows, meant, strict=True)]
        for (path, _), own, base in zip(rows, meant, found, strict=True):
            if own and not is_shape(base):
                got = f"{type(base).__name__} for {path or 'the array'}"
                raise Refusal(ValueError, f"base_shapes must return a tuple of whole numbers, got {got}")
        return found
    known = dict(base_shapes)
    places = places_of_rows(rows, tuple(known), "the tree of base shapes")
    if lost := [path for (path, _), own in zip(rows, places, strict=True) if own is not None and own != path]:
        raise Refusal(ValueError, f"there is no base shape of {list_some(lost)}")
    return [None if own is None else known[own] for own in places]


def growths(path: str, shape: Shape, base: Shape) -> tuple[float, float]:
    """How many times as long as in the base an array's axes of inputs and of outputs are."""
    where = f"{path} is of shape {shape}, its base shape is {base}"
    if len(shape) != len(base):
        raise Refusal(ValueError, f"{where}: they have other numbers of axes")
    ratios = [1.0 if n == m else n / m if n and m else 0.0 for n, m in zip(shape, base, strict=True)]
    if 0.0 in ratios:
        raise Refusal(ValueError, f"{where}: a size of 0 does not grow")
    if any(k != 1 for k in ratios[:-2]):
        raise Refusal(ValueError, f"{where}: another axis than the last two grows; give its factor with scale_by_tree")
    k_in, k_out = [1.0, 1.0, *ratios][-2:]
    return k_in, k_out
