"""Trees of plain data among the arguments of a value: masks, labels, boundaries."""

from typing import Annotated, Any

import jax
import optax

from gradtx.core.check import first_difference, is_none
from gradtx.selectors import Selector, is_function
from gradtx.values.annotations import Check
from gradtx.values.errors import Refusal
from gradtx.values.value import comparable, text_of


class PlainTree:
    """A tree that is compared, hashed and printed by what is in it."""

    def __init__(self, tree: Any):
        self.tree = tree
        self.leaves, self.structure = jax.tree.flatten(tree, is_leaf=is_none)

    def over(self, tree: Any) -> list[Any]:
        """For each leaf of another tree, None among them, what this one has there or above it."""
        rows = zip(self.leaves, self.structure.flatten_up_to(tree), strict=True)
        return [x for x, below in rows for _ in jax.tree.leaves(below, is_leaf=is_none)]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PlainTree) and self.key() == other.key()

    def __hash__(self) -> int:
        return hash(self.key())

    def key(self) -> Any:
        return self.structure, tuple(map(comparable, self.leaves))

    def __repr__(self) -> str:
        text = repr(self.tree) if self.structure.num_leaves <= 20 else text_of(self.leaves[:1])
        return " ".join(text.split())


def as_plain(name: str, value: Any) -> PlainTree | None:
    return value if isinstance(value, PlainTree | None) else PlainTree(value)


def as_mask(name: str, value: Any) -> Any:
    """A selector, a function of the parameters, or a tree of booleans, as they come."""
    if isinstance(value, Selector | PlainTree) or is_function(value):
        return value
    return PlainTree(value)


def as_mask_or_none(name: str, value: Any) -> Any:
    return None if value is None else as_mask(name, value)


AnyMask = Annotated[Any, Check(as_mask, selects=True)]
OptionalMask = Annotated[Any, Check(as_mask_or_none, selects=True)]
Labels = Annotated[Any, Check(as_mask, selects=True)]  # a tree of these or a function that makes one
Plain = Annotated[Any, Check(as_plain)]


def labels_of(labels: Any, tree: Any) -> list[Any]:
    """What a tree of labels, or the function that makes it, says of each leaf of a tree, None among them."""
    if not jax.tree.leaves(tree):
        return [None] * len(jax.tree.leaves(tree, is_leaf=is_none))
    if isinstance(labels, Selector):
        return labels.chosen(tree)
    plain = labels if isinstance(labels, PlainTree) else PlainTree(labels(tree))
    try:
        return plain.over(tree)
    except ValueError as error:
        known = "Dict key mismatch"  # JAX's words, which programs look for; the rest of its error has whole arrays
        where = first_difference(plain.tree, tree, "the parameters", "labels") or "its nodes differ"
        where += f" ({known})" * (known in str(error))
        problem = f"the tree of booleans or labels does not fit the parameters: {where}"
        raise Refusal(ValueError, problem) from None


def chosen_by(mask: Any, tree: Any) -> list[bool]:
    """Whether each leaf is meant; None never is."""
    leaves = jax.tree.leaves(tree, is_leaf=is_none)
    return [x is not None and bool(said) for x, said in zip(leaves, labels_of(mask, tree), strict=True)]


def with_holes(tree: Any, chosen: list[bool]) -> Any:
    """The tree with Optax's mark in the places of arrays that are not chosen."""
    leaves, structure = jax.tree.flatten(tree, is_leaf=is_none)
    pairs = zip(leaves, chosen, strict=True)
    return structure.unflatten([x if c or x is None else optax.MaskedNode() for x, c in pairs])
