"""Rates that decay from the output of a model to its input, layer by layer."""

import re
from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

from gradtx.core import check
from gradtx.core.factories import transformation
from gradtx.core.flow import Flow
from gradtx.core.paths import Rows, list_some, paths_and_leaves
from gradtx.core.rule import Route, Rule
from gradtx.transforms.factors import is_pairs, multiply_each
from gradtx.values.annotations import Check, Fraction
from gradtx.values.errors import Refusal, require_function
from gradtx.values.printing import excerpt
from gradtx.values.value import text_of


def as_depth(name: str, value: Any) -> Any:
    """A function as it is; patterns with their depths as pairs."""
    if not isinstance(value, dict | tuple):
        require_function(name, value, "a path and an array, or a dict of patterns", 2)
        return value
    pairs = tuple(value.items()) if isinstance(value, dict) else value
    if not is_pairs(pairs) or not all(type(n) is int and n >= 0 for _, n in pairs):
        expected = "a whole number, at least 0, for each regular expression"
        raise Refusal(TypeError, f"{name} must have {expected}, got {excerpt(value)}")
    for pattern, _ in pairs:
        try:
            groups = re.compile(pattern).groups
        except (re.error, RecursionError) as error:
            raise Refusal(
                ValueError, f"{name} must have regular expressions, got {excerpt(pattern)}: {error}"
            ) from None
        if groups > 1:
            remedy = "write (?:…) for those that capture no number"
            raise Refusal(ValueError, f"{name} has {excerpt(pattern)}, in which {groups} groups capture; {remedy}")
    return pairs


Depth = Annotated[Any, Check(as_depth)]


@transformation
def layerwise(decay: Fraction, depth: Depth):
    r"""Every array's updates times a factor that decays with the layers behind it, $c^{d_i}\,g_i$: in fine-tuning, the
    nearer to the input the smaller the step.

    **Arguments:** `decay` $c \in [0, 1]$, such as 0.8; `depth` $d_i \ge 0$, counted from the output, where it is 0. It
    is a function `depth(path, array) -> int`, or a dict of regular expressions: the first that `re.search` finds in a
    path says its depth, less the number that its group captures. With

    `layerwise(0.8, {"head": 0, r"blocks/(\d+)/": 12, "embed": 13})`

    the head has factor 1, of blocks 0 to 11 the last $0.8^1$ and the first $0.8^{12}$, the embedding $0.8^{13}$. Layers
    that are stacked in one array have factors too, but through `scale_by_tree`. `explain(tx, params)` shows them all.

    **Raises:** `TypeError` and `ValueError` for another `depth`; (`init`) `ValueError` for an array that no expression
    finds, for an expression that finds no array, and for a depth below 0.

    **Source:** Clark et al., ELECTRA (2020): there the last layer of $n$ has depth 2, since the task's own layers count
    as two, and the embedding $n + 2$. In BEiT (Bao et al., 2022) it has depth 1, and the embedding $n + 1$, as above.

    >>> import gradtx as gx, jax.numpy as jnp
    >>> tx = gx.layerwise(0.5, {"head": 0, r"blocks/(\d+)": 2})
    >>> u = {"blocks": [jnp.ones(1), jnp.ones(1)], "head": jnp.ones(1)}
    >>> tx.update(u, tx.init(u))[0]
    {'blocks': [Array([0.25], dtype=float32), Array([0.5], dtype=float32)], 'head': Array([1.], dtype=float32)}
    """
    depth_of_each = depths_by_pattern(depth) if type(depth) is tuple else depths_by_function(depth)

    def init(params: Any) -> optax.EmptyState:
        depth_of_each(paths_and_leaves(params))
        return optax.EmptyState()

    def advance(flow: Flow, state: Any, extra: dict[str, Any]) -> Any:
        check.require_state(state, optax.EmptyState)
        depths = depth_of_each(paths_and_leaves(flow.selector_tree))
        # A whole exponent: no logarithm, whose gradient at 0 would be NaN.
        multiply_each(flow, {n: jnp.asarray(decay) ** n for n in depths if n is not None}, depths)
        return state

    def routes(tree: Any) -> list[Route]:
        depths = depth_of_each(paths_and_leaves(tree))
        known = sorted({n for n in depths if n is not None})
        base = text_of(decay) if isinstance(decay, Tracer) else f"{float(decay):g}"  # of a schedule, its first
        return [Route([x == n for x in depths], f"times {base} ** {n}") for n in known]

    return Rule(init, advance, routes=routes, everywhere=True)


def depths_by_pattern(pairs: tuple[tuple[str, int], ...]) -> Callable[[Rows], list[int | None]]:
    patterns = [(re.compile(pattern), n) for pattern, n in pairs]

    def depth(path: str) -> int | None:
        for i, (pattern, n) in enumerate(patterns):
            if match := pattern.search(path):
                layer = match[1] if pattern.groups else None
                if layer is not None and not re.fullmatch("[0-9]+", layer):
                    problem = f"{pairs[i][0]!r} captures {layer!r} of {path}"
                    raise Refusal(ValueError, f"depth: {problem}, which is no number")
                return n - int(layer or 0)
        return None

    def depths(rows: Rows) -> list[int | None]:
        for pattern, _ in patterns:
            if rows and not any(pattern.search(path) for path, _ in rows):
                known = list_some(path or "a single array without a path" for path, _ in rows)
                raise Refusal(ValueError, f"depth: {pattern.pattern!r} finds no array of {known}")
        found = [None if x is None else depth(path) for path, x in rows]
        lost = [path or "the array" for (path, x), n in zip(rows, found, strict=True) if x is not None and n is None]
        if lost:
            raise Refusal(ValueError, f"depth: no expression finds {list_some(lost)}; add one, or '' for all others")
        return require_depths(rows, found)

    return depths


def depths_by_function(depth: Callable[[str, Any], Any]) -> Callable[[Rows], list[int | None]]:
    def answer(path: str, x: Any) -> Any:
        try:
            return depth(path, x)
        except jax.errors.ConcretizationTypeError:
            return x  # which is no number of layers

    return lambda rows: require_depths(rows, [None if x is None else answer(path, x) for path, x in rows])


def require_depths(rows: Rows, depths: list[Any]) -> list[int | None]:
    for (path, x), n in zip(rows, depths, strict=True):
        if x is not None and (isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 0):
            got = n if isinstance(n, int | np.integer) else type(n).__name__
            problem = f"for {path or 'the array'} it is {got}"
            raise Refusal(ValueError, f"depth must be a whole number, at least 0, of layers behind; {problem}")
    return [None if n is None else int(n) for n in depths]
