"""Selectors: which arrays of a tree are meant."""

import functools
import re
from collections.abc import Callable
from typing import Annotated, Any, ParamSpec

import jax
import numpy as np
from jax.tree_util import all_leaves

from gradtx.core.check import is_none
from gradtx.core.lift import count_arguments
from gradtx.core.paths import Rows, list_some, paths_and_leaves, places_of_rows, with_empty_nodes
from gradtx.core.rule import Route
from gradtx.values.annotations import Check
from gradtx.values.errors import Refusal, errors_of, require_whole
from gradtx.values.printing import excerpt
from gradtx.values.recipe import Operator, Recipe
from gradtx.values.value import Value, build, register, text_of

P = ParamSpec("P")
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
            answers = answers_for(self, found)
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


def answers_for(where: Selector, rows: Rows) -> list[bool]:
    """The answers for these rows; a tree of booleans may have one for a node without arrays, too."""
    try:
        return build(where)(rows)
    except Refusal as refusal:
        try:
            return build(where)(with_empty_nodes(rows))
        except Refusal:
            raise refusal from None


def as_where(name: str, value: Any) -> Selector:
    return as_selector(name, value)  # which stands below


# Selectors, and what is taken for one by `as_selector`: of arrays beside which others are left alone, or are not.
Where = Annotated[Selector | Any, Check(as_where, selects=True)]
Mask = Annotated[Selector | Any, Check(as_where)]


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
def by(function: Callable[..., Any]) -> Answers:
    """The arrays of which `function(path, array)` says True: of a size, of a dtype. Or those for which
    `function(tree)`, as Optax calls a mask, returns a tree of booleans.

    Wherever a selector is expected, a function is taken for this.

    **Raises:** `TypeError` for what is no function of one or two arguments, and where it returns something else.

    >>> import gradtx, jax.numpy as jnp
    >>> tree = {"small": jnp.zeros(3), "large": jnp.zeros(30)}
    >>> gradtx.by(lambda path, x: x.size > 4).mask(tree)
    {'large': True, 'small': False}
    >>> gradtx.by(lambda tree: {"small": False, "large": True}).mask(tree)
    {'large': True, 'small': False}
    """
    if not callable(function):
        raise Refusal(TypeError, f"it needs a function of a path and an array, got {type(function).__name__}")
    taken = count_arguments(function)
    if taken == 1:
        return lambda rows: answers_of_tree(function, of_arrays(rows))
    if taken != 2:
        raise Refusal(TypeError, f"the function must take a path and an array, or a tree, got one of {taken} arguments")

    def answer(path: str, x: Any) -> bool:
        try:
            said = function(path, x)
        except jax.errors.ConcretizationTypeError:
            said = x
        if not isinstance(said, bool | np.bool_):
            got = f"{type(said).__name__}; the path, the shape and the dtype are known to it, the elements are not"
            raise Refusal(TypeError, f"the function must return a bool, for {path} it returned {got}")
        return bool(said)

    return lambda rows: [is_array(x) and answer(path, x) for path, x in rows]


def answers_of_tree(function: Callable[..., Any], rows: Rows) -> list[bool]:
    try:
        return build(as_selector("what the function returns", function(rows.tree)))(rows)
    except AttributeError as error:  # as an array has what a tree lacks
        error.add_note("it was called with the tree of parameters; a function of each array takes (path, array)")
        raise


def of_arrays(rows: Rows) -> Rows:
    """The rows and their tree with None in the places of what is no array."""
    found = Rows((path, x if is_array(x) else None) for path, x in rows)
    found.tree = jax.tree.map(lambda x: x if is_array(x) else None, rows.tree)
    return found


def is_array(x: Any) -> bool:
    """Whether it is an array or a number, and not what else a model holds, such as a function."""
    return hasattr(x, "dtype") or isinstance(x, bool | int | float | complex)


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

    yes, no = frozenset(selected), frozenset(others)

    def answers(rows: Rows) -> list[bool]:
        found = places_of_rows(rows, selected + others, "the tree of booleans")
        for (path, _), place in zip(rows, found, strict=True):
            if place in yes and place in no:
                problem = "is both True and False in the tree of booleans, whose places are"
                raise Refusal(ValueError, f"{path} {problem} {list_some(selected + others)}")
        return [place in yes for place in found]

    return answers


@selector
def maybe(where: Where) -> Answers:
    """The arrays that another selector means, and there may be none: for a pattern or a mask that a program computes.

    Without it, a selector that means no array is an error, since most often its pattern has a slip.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.freeze(gradtx.maybe(gradtx.by_path("adapter")))
    >>> tx.init({"dense": jnp.zeros(3)})
    EmptyState()
    """
    return build(where)


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
    """A selector as it is, or one for a tree of booleans, or for a function."""
    if isinstance(value, Selector):
        return value
    if is_function(value):
        return by(value)
    found = paths_and_leaves(value)
    for path, x in found:
        if not isinstance(x, bool | np.bool_ | None):
            got = f"{type(x).__name__} {excerpt(x)}{f' at {path}' if path else ''}"
            raise Refusal(TypeError, f"{name} must be a selector, a tree of booleans or a function, got {got}")
    return by_tree(tuple(path for path, x in found if x), tuple(path for path, x in found if x is not None and not x))


def is_function(x: Any) -> bool:
    """Whether it can be called and is no tree: a model of some framework may be both."""
    return callable(x) and all_leaves([x])


def choose_some(where: Selector, params: Any, name: str = "where") -> list[bool]:
    """Which arrays a selector means, of which there must be one."""
    rows = paths_and_leaves(params)
    chosen = where.chosen(params)
    paths = [path or "a single array without a path" for path, x in rows if x is not None]
    if paths and not any(chosen) and not may_be_empty(where):
        problem = f"{name}, {excerpt(where)}, matches no array of {list_some(paths)}"
        raise Refusal(ValueError, f"{problem}; where that may be so, write maybe(…) around it")
    return chosen


def may_be_empty(where: Selector) -> bool:
    """Whether `maybe` says that it may mean no array."""
    inside = [may_be_empty(x) for x in where.arguments.values() if isinstance(x, Selector)]
    return where.recipe is maybe or (where.recipe is both and any(inside)) or (where.recipe is either and all(inside))


def two_routes(chosen: list[bool], tree: Any, words: str, others: str, part: str = "") -> list[Route]:
    """What becomes of the arrays that are meant, and of the others."""
    rest = [x is not None and not c for (_, x), c in zip(paths_and_leaves(tree), chosen, strict=True)]
    return [Route(chosen, words, part), Route(rest, others)]
