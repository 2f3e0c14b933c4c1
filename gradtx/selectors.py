"""Selectors: which arrays of a tree are meant."""

import functools
import re
from collections import defaultdict
from collections.abc import Callable
from typing import Annotated, Any, ParamSpec

import jax
import numpy as np
from jax.tree_util import GetAttrKey, keystr, tree_flatten_with_path

from gradtx.core.check import is_none
from gradtx.values.annotations import Check
from gradtx.values.errors import Refusal, errors_of, require_whole
from gradtx.values.printing import excerpt
from gradtx.values.recipe import Operator, Recipe
from gradtx.values.value import Value, build, register, text_of

P = ParamSpec("P")
Rows = list[tuple[str, Any]]  # the leaves of a tree with their paths; None is one
Answers = Callable[[Rows], list[bool]]


@register
class Selector(Value):
    """Which arrays of a tree are meant, by their paths or by what they are; a value. `~a`, `a & b`, `a | b` are too.

    A path is written `encoder/layers/0/kernel`, the same for dicts, lists, dataclasses and modules; the variables that
    Flax puts around arrays add nothing to it.

    >>> import gradtx, jax.numpy as jnp
    >>> where = gradtx.by_ndim(at_least=2) & ~gradtx.by_path("head")
    >>> where
    (by_ndim(at_least=2) & ~by_path(pattern='head'))
    >>> where.mask({"body": jnp.zeros((2, 2)), "head": jnp.zeros((2, 2))})
    {'body': True, 'head': False}
    """

    def mask(self, tree: Any) -> Any:
        """The tree with booleans in the places of its arrays, as `optax.masked` and others want it."""
        leaves, structure = jax.tree.flatten(tree, is_leaf=is_none)
        chosen = self.chosen(tree)
        return structure.unflatten([None if x is None else c for x, c in zip(leaves, chosen, strict=True)])

    def chosen(self, tree: Any) -> list[bool]:
        """Whether each leaf is meant; None counts as one, which never is."""
        found = paths_and_leaves(tree)
        if not found and not isinstance(tree, dict | list | tuple):
            return []  # a node that stands for parameters whatever they are, as in `optax.tree.map_params`
        with errors_of(self.recipe.__name__):
            answers = answers_for(self, found, tree)
        return [x is not None and chosen for (_, x), chosen in zip(found, answers, strict=False)]

    def __invert__(self) -> "Selector":
        return others(self)

    def __rand__(self, other: Any) -> "Selector":
        return both(self._beside(other, "&", "left"), self)

    def __ror__(self, other: Any) -> "Selector":
        return either(self._beside(other, "|", "left"), self)

    def __and__(self, other: Any) -> "Selector":
        return both(self, self._beside(other, "&"))

    def __or__(self, other: Any) -> "Selector":
        return either(self, self._beside(other, "|"))

    def _beside(self, other: Any, operator: str, side: str = "right") -> "Selector":
        with errors_of(text_of(self)):
            return as_selector(f"the {side} side of {operator}", other)


def answers_for(where: Selector, rows: Rows, tree: Any) -> list[bool]:
    """The answers for these rows; a tree of booleans may have one for a node without arrays, too."""
    try:
        return build(where)(rows)
    except Refusal as refusal:
        try:
            return build(where)(rows + empty_nodes(tree))
        except Refusal:
            raise refusal from None


def as_where(name: str, value: Any) -> Selector:
    return as_selector(name, value)  # which stands below


Where = Annotated[Selector | Any, Check(as_where, selects=True)]  # a selector or a tree of booleans


class selector(Recipe[P, Selector]):
    """Makes a factory of functions `rows -> list of bools` a factory of `Selector`."""

    kind = Selector


class selector_operator(Operator[P, Selector], selector[P]):
    """A selector made of others."""


@selector
def by_path(pattern: str) -> Answers:
    """The arrays whose path has a place that the regular expression matches, as `re.search` finds it.

    **Raises:** `TypeError` for what is no string, `ValueError` for what is no regular expression.

    >>> import gradtx
    >>> gradtx.by_path(r"bias$").mask({"dense": {"bias": 0.0, "kernel": 1.0}})
    {'dense': {'bias': True, 'kernel': False}}
    """
    if not isinstance(pattern, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # users may not check their types
        raise Refusal(TypeError, f"pattern must be a string, got {type(pattern).__name__} {excerpt(pattern)}")
    try:
        search = re.compile(pattern).search
    except (re.error, RecursionError) as error:
        raise Refusal(ValueError, f"pattern must be a regular expression, got {excerpt(pattern)}: {error}") from None
    return lambda rows: [search(path) is not None for path, _ in rows]


@selector
def by_ndim(at_least: int) -> Answers:
    """The arrays of so many dimensions or more: `by_ndim(at_least=2)` are the matrices, and what has kernels.

    **Raises:** `TypeError` and `ValueError` for what is no whole number, at least 1.

    >>> import gradtx, jax.numpy as jnp
    >>> gradtx.by_ndim(at_least=2).mask({"bias": jnp.zeros(3), "kernel": jnp.zeros((2, 3))})
    {'bias': False, 'kernel': True}
    """
    require_whole("at_least", at_least)
    return lambda rows: [np.ndim(x) >= at_least for _, x in rows]


@selector
def by(function: Callable[[str, Any], Any]) -> Answers:
    """The arrays of which `function(path, array)` says True: of a size, of a dtype.

    **Raises:** `TypeError` for what is no function, and where it returns something else than a bool.

    >>> import gradtx, jax.numpy as jnp
    >>> gradtx.by(lambda path, x: x.size > 4).mask({"small": jnp.zeros(3), "large": jnp.zeros(30)})
    {'large': True, 'small': False}
    """
    if not callable(function):
        raise Refusal(TypeError, f"it needs a function of a path and an array, got {type(function).__name__}")

    def answer(path: str, x: Any) -> bool:
        try:
            said = function(path, x)
        except jax.errors.ConcretizationTypeError:
            said = x
        if not isinstance(said, bool | np.bool_):
            got = f"{type(said).__name__}; the path, the shape and the dtype are known to it, the elements are not"
            raise Refusal(TypeError, f"the function must return a bool, for {path} it returned {got}")
        return bool(said)

    return lambda rows: [x is not None and answer(path, x) for path, x in rows]


@selector
def by_tree(selected: tuple[str, ...], others: tuple[str, ...]) -> Answers:
    """The arrays at some paths, or inside of them, where every array is at one of these paths: a tree of booleans.

    Wherever a selector is expected, a tree of booleans is taken for this.

    **Raises:** (at `init`) `ValueError` for an array at no such path, and for a path at which there is none.

    >>> import gradtx
    >>> gradtx.by_tree(("decoder",), ("encoder",)).mask({"encoder": [1.0, 2.0], "decoder": [3.0]})
    {'decoder': [True], 'encoder': [False, False]}
    """
    for name, paths in dict(selected=selected, others=others).items():
        if type(paths) is not tuple or not {type(path) for path in paths} <= {str}:
            raise Refusal(TypeError, f"{name} must be a tuple of paths, got {excerpt(paths)}")

    def above(path: str) -> list[str]:
        """The path, and those of what it is inside of."""
        steps = path.split("/")
        return ["", *("/".join(steps[: i + 1]) for i in range(len(steps)))]

    def at(path: str, known: frozenset[str]) -> bool:
        return not known.isdisjoint(above(path))

    yes_paths, no_paths = frozenset(selected), frozenset(others)

    def answers(rows: Rows) -> list[bool]:
        found = [(path, at(path, yes_paths), at(path, no_paths)) for path, x in rows if x is not None]
        for path, yes, no in found:
            if yes == no:
                problem = "is at none of the places of the tree of booleans" if not yes else "is both True and False"
                raise Refusal(ValueError, f"{path} {problem}, which are {list_some(selected + others) or 'none'}")
        there = {one for path, _ in rows for one in above(path)}
        gone = frozenset(path for path, x in rows if x is None)
        for one in selected + others:
            if one not in there and not at(one, gone):
                raise Refusal(ValueError, f"the tree of booleans has {one}, at which there is no array")
        return [at(path, yes_paths) for path, _ in rows]

    return answers


def invert(answers: list[bool]) -> list[bool]:
    return [not answer for answer in answers]


@functools.partial(selector_operator, "~{}")
def others(a: Selector) -> Answers:
    return lambda rows: invert(build(a)(rows))


@functools.partial(selector_operator, "({} & {})")
def both(a: Selector, b: Selector) -> Answers:
    return lambda rows: [x and y for x, y in zip(build(a)(rows), build(b)(rows), strict=True)]


@functools.partial(selector_operator, "({} | {})")
def either(a: Selector, b: Selector) -> Answers:
    return lambda rows: [x or y for x, y in zip(build(a)(rows), build(b)(rows), strict=True)]


# ---- trees ----


def as_selector(name: str, value: Any) -> Selector:
    """A selector as it is, or one for a tree of booleans."""
    if isinstance(value, Selector):
        return value
    found = paths_and_leaves(value)
    for path, x in found:
        if not isinstance(x, bool | np.bool_ | None):
            where = f" at {path}" if path else ""
            got = (
                f"{type(x).__name__} {excerpt(x)}{where}"
                if not callable(x)
                else f"a function{where}; write by(…) around it"
            )
            raise Refusal(TypeError, f"{name} must be a selector or a tree of booleans, got {got}")
    return by_tree(tuple(path for path, x in found if x), tuple(path for path, x in found if x is not None and not x))


def paths_and_leaves(tree: Any) -> Rows:
    found = tree_flatten_with_path(tree, is_leaf=is_none)[0]
    children: dict[Any, set[Any]] = defaultdict(set)
    for keys, _ in found:
        for i, key in enumerate(keys):
            children[keys[:i]].add(key)
    return [(path_of(keys, alone=len(children[keys[:-1]]) == 1), x) for keys, x in found]


def empty_nodes(tree: Any) -> Rows:
    """The nodes of a tree without leaves with their paths, as arrays without elements."""
    found = tree_flatten_with_path(tree, is_leaf=lambda x: not jax.tree.leaves(x, is_leaf=is_none))[0]
    return [(path_of(keys, alone=False), np.zeros(0)) for keys, x in found if not jax.tree.leaves(x, is_leaf=is_none)]


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
