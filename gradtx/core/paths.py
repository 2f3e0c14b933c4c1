"""The leaves of a tree with their paths, as users write them: `encoder/layers/0/kernel`."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.tree_util import GetAttrKey, keystr, tree_flatten_with_path

from gradtx.core.check import is_none
from gradtx.values.errors import Refusal


class Rows(list[tuple[str, Any]]):
    """The leaves of a tree with their paths; None is one."""

    tree: Any


def paths_and_leaves(tree: Any, is_leaf: Callable[[Any], bool] = is_none) -> Rows:
    found = tree_flatten_with_path(tree, is_leaf=is_leaf)[0]
    children: dict[Any, set[Any]] = defaultdict(set)
    for keys, _ in found:
        for i, key in enumerate(keys):
            children[keys[:i]].add(key)
    rows = Rows((path_of(keys, alone=len(children[keys[:-1]]) == 1), x) for keys, x in found)
    rows.tree = tree
    return rows


def with_empty_nodes(rows: Rows) -> Rows:
    """The rows, and behind them the nodes of their tree that have no leaves, as arrays without elements."""

    def is_empty(x: Any) -> bool:
        return not jax.tree.leaves(x, is_leaf=is_none)

    nodes = tree_flatten_with_path(rows.tree, is_leaf=is_empty)[0]
    found = Rows([*rows, *[(path_of(keys, alone=False), np.zeros(0)) for keys, x in nodes if is_empty(x)]])
    found.tree = rows.tree
    return found


def path_of(keys: tuple[Any, ...], alone: bool) -> str:
    if alone and keys and keys[-1] == GetAttrKey("value"):  # a variable of Flax, around one array
        keys = keys[:-1]
    return keystr(keys, simple=True, separator="/")


def places_of_rows(rows: Rows, places: tuple[str, ...], tree: str) -> list[str | None]:
    """Of a smaller tree's places the one that each array is at or inside of, and no place without array. Where names
    have a / in them, as Haiku's, several look like that, and the longest is it.
    """

    def above(path: str) -> set[str]:
        """The path, and those of what it is inside of."""
        steps = path.split("/")
        return {"", *("/".join(steps[: i + 1]) for i in range(len(steps)))}

    known, around = frozenset(places), [above(path) for path, _ in rows]
    found = [max(own & known, key=len, default=None) for own in around]
    for (path, x), own in zip(rows, found, strict=True):
        if x is not None and own is None:
            there = f"it has {list_some(places) or 'no place'}"
            raise Refusal(ValueError, f"{tree} has nothing for {path or 'the array'}; {there}")
    there = set[str]().union(*around)
    gone = frozenset(path for path, x in rows if x is None)
    for one in places:
        if rows and one not in there and above(one).isdisjoint(gone):
            raise Refusal(ValueError, f"{tree} has {one}, at which there is no array")
    return [None if x is None else own for own, (_, x) in zip(found, rows, strict=True)]


def keep(tree: Any, chosen: list[bool]) -> Any:
    """The tree with None in the places that are not chosen."""
    leaves, structure = jax.tree.flatten(tree, is_leaf=is_none)
    return structure.unflatten([x if c else None for x, c in zip(leaves, chosen, strict=True)])


def list_some(paths: Any) -> str:
    """Some paths in words, not all of very many."""
    some = list(paths)
    return ", ".join(some[:8]) + (f" and {len(some) - 8} more" if len(some) > 8 else "")
