"""Which array goes where."""

from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np

from gradtx.core.count import value_at
from gradtx.core.factories import composition
from gradtx.core.paths import keep, paths_and_leaves
from gradtx.core.rule import Rule
from gradtx.core.transformation import Transformation
from gradtx.core.walk import join, parts_of
from gradtx.inspect.report import Document, as_table
from gradtx.inspect.summary import abstract_state
from gradtx.values.errors import Refusal, errors_of
from gradtx.values.printing import excerpt
from gradtx.values.value import build, put_numbers, text_of


def explain(tx: Any, params: Any) -> Document:
    """Which array goes where: a row for each array, a column for each part that selects some of them.

    **Arguments:** `tx`, a transformation; `params` as `init` takes them.

    **Returns:** what prints as text, and what a notebook shows as Markdown. A column is headed by its part's path, as
    in `hyperparameters(tx)`, and its name; a cell has the rule that takes the array and what becomes of it.

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
    abstract_state("explain", tx, params)
    leaves = paths_and_leaves(params)
    columns = list(columns_of(tx, params)) or [(tx.recipe.__name__, [text_of(tx)] * len(leaves))]
    body = [
        [path or "params", str(np.shape(x)), *(cells[i] for _, cells in columns)]
        for i, (path, x) in enumerate(leaves)
        if x is not None
    ]
    header = ["array", "shape", *(name for name, _ in columns)]
    return as_table(f"{tx.recipe.__name__}: what becomes of each array", header, body)


def columns_of(tx: Any, tree: Any, path: str = "") -> Iterator[tuple[str, list[str]]]:
    """The parts that select, outer ones first, each with what it does with each array: nothing where the tree, which
    holds what reaches it, has None.
    """
    parts = parts_of(tx)
    rule = first_rule(tx) if isinstance(tx, Transformation) else None
    routes = rule.routes if rule else None
    if rule and build(tx).selects:
        parts = rule.parts or {}
    trees = {}
    if routes:
        found = routes(tree)
        cells = [next((x.words for x in found if x.where[i]), "") for i in range(len(paths_and_leaves(tree)))]
        yield f"{path}: {tx.recipe.__name__}" if path else tx.recipe.__name__, cells
        trees = {route.part: keep(tree, route.where) for route in found}
    for name, part in parts.items():
        yield from columns_of(part.tx, trees.get(name, tree), join(path, name))


def first_rule(tx: Transformation) -> Rule:
    """The rule at the first step: with schedules it is made anew at each, but what becomes of an array stays."""
    schedules = {} if isinstance(tx.recipe, composition) else tx.recipe.schedules_among(tx.arguments)
    first = {path: value_at(x, jnp.zeros([], int)) for path, x in schedules.items()}
    return tx.recipe.rule(put_numbers(tx.arguments, first)) if schedules else build(tx)
