"""Which array goes where."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from gradtx.core.transformation import Transformation, inner
from gradtx.inspect.report import Report, table
from gradtx.inspect.summary import shapes
from gradtx.selectors import kept, rows
from gradtx.values.errors import Refusal, errors_of
from gradtx.values.printing import excerpt
from gradtx.values.value import written
from gradtx.wrappers.select import freeze, groups, masked, only, partition


def explain(tx: Any, params: Any) -> Report:
    """Which array goes where: a row for each array, a column for each part that selects some of them.

    **Arguments:** `tx`, a transformation; `params` as `init` takes them.

    **Returns:** what prints as text, and what a notebook shows as Markdown. A column is headed by its part's path, as
    in `hyperparameters(tx)`; a cell has the rule that takes the array and what becomes of it.

    **Raises:** `TypeError` for what is no transformation of gradtx; what `init` refuses, such as a rule that takes no
    array.

    >>> import gradtx as gx, jax.numpy as jnp
    >>> params = {"dense": {"kernel": jnp.zeros((3, 2)), "bias": jnp.zeros(2)}}
    >>> gx.explain(gx.partition((gx.by_path("bias$"), gx.sgd(0.1)), default=gx.adam(1e-3)), params)
    partition: what becomes of each array
    <BLANKLINE>
    array         shape   partition
    --------------------------------------------------------
    dense/bias    (2,)    rules[0]: sgd(learning_rate=0.1)
    dense/kernel  (3, 2)  default: adam(learning_rate=0.001)
    """
    with errors_of("explain"):
        if not isinstance(tx, Transformation):
            got = f"{type(tx).__name__} {excerpt(tx)}"
            raise Refusal(TypeError, f"tx must be a transformation of gradtx, got {got}")
    shapes("explain", tx, params)
    leaves = rows(params)
    columns = list(choices(tx, "", params)) or [(tx.recipe.__name__, [written(tx)] * len(leaves))]
    body = [
        [path or "params", str(np.shape(x)), *(cells[i] for _, cells in columns)]
        for i, (path, x) in enumerate(leaves)
        if x is not None
    ]
    header = ["array", "shape", *(name for name, _ in columns)]
    return table(f"{tx.recipe.__name__}: what becomes of each array", header, body)


class Route(NamedTuple):
    """Some arrays, and what becomes of them."""

    where: list[bool]
    words: str
    through: Any = None


def choices(tx: Any, path: str, tree: Any) -> Iterator[tuple[str, list[str]]]:
    """The parts that select, outer ones first, each with what it does with each array: nothing where the tree, which
    holds what reaches it, has None.
    """
    if not isinstance(tx, Transformation):
        return
    if isinstance(tx.built, Transformation):
        yield from choices(tx.built, path, tree)
    elif taken := routes(tx, tree):
        words = [next((route.words for route in taken if route.where[i]), "") for i in range(len(rows(tree)))]
        yield path or tx.recipe.__name__, words
        through = [route for route in taken if route.through is not None]
        for (at, part), route in zip(inner(tx).items(), through, strict=True):
            yield from choices(part, f"{path}.{at}".lstrip("."), kept(tree, route.where))
    else:
        for at, part in inner(tx).items():
            yield from choices(part, f"{path}.{at}".lstrip("."), tree)


def routes(tx: Transformation, tree: Any) -> list[Route]:
    """The ways that a part which selects has for the arrays."""
    if tx.recipe is partition:
        parts = [part for _, part in tx.rules] + [tx.default] * (tx.default is not None)
        names = [f"rules[{i}]" for i in range(len(tx.rules))] + ["default"]
        found = zip(groups(tx.rules, tx.default, tree), names, parts, strict=False)
        return [Route(where, f"{name}: {written(part)}", part) for where, name, part in found]
    if tx.recipe not in (masked, only, freeze):
        return []
    chosen = tx.where.chosen(tree)
    others = [x is not None and not c for (_, x), c in zip(rows(tree), chosen, strict=True)]
    if tx.recipe is freeze:
        return [Route(chosen, "frozen"), Route(others, "as it is")]
    return [Route(chosen, written(tx.tx), tx.tx), Route(others, "frozen" if tx.recipe is only else "as it is")]
