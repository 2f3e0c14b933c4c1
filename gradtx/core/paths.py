"""The leaves of a tree with their paths, as users write them: `encoder/layers/0/kernel`."""

from collections import defaultdict
from typing import Any

import jax
from jax.tree_util import GetAttrKey, keystr, tree_flatten_with_path

from gradtx.core.check import is_none


class Rows(list[tuple[str, Any]]):
    """The leaves of a tree with their paths; None is one."""

    tree: Any


def paths_and_leaves(tree: Any) -> Rows:
    found = tree_flatten_with_path(tree, is_leaf=is_none)[0]
    children: dict[Any, set[Any]] = defaultdict(set)
    for keys, _ in found:
        for i, key in enumerate(keys):
            children[keys[:i]].add(key)
    rows = Rows((path_of(keys, alone=len(children[keys[:-1]]) == 1), x) for keys, x in found)
    rows.tree = tree
    return rows


def path_of(keys: tuple[Any, ...], alone: bool) -> str:
    if alone and keys and keys[-1] == GetAttrKey("value"):  # a variable of Flax, around one array
        keys = keys[:-1]
    return keystr(keys, simple=True, separator="/")


def keep(tree: Any, chosen: list[bool]) -> Any:
    """The tree with None in the places that are not chosen."""
    leaves, structure = jax.tree.flatten(tree, is_leaf=is_none)
    return structure.unflatten([x if c else None for x, c in zip(leaves, chosen, strict=True)])


def list_some(paths: Any) -> str:
    """Some paths in words, not all of very many."""
    some = list(paths)
    return ", ".join(some[:8]) + (f" and {len(some) - 8} more" if len(some) > 8 else "")
