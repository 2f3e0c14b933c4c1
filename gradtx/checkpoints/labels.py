"""Which group of a partition goes on from which group of Optax's: its labels are in no order."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from gradtx.values.errors import Refusal

Choices = Mapping[str, Mapping[Any, list[Any]]]  # for each group the labels that fit, with the matches inside of them


class Ambiguity(Refusal):
    """Of groups that fit several labels, which no other label around them makes up for."""


def assign(choices: Choices, needed: frozenset[Any] = frozenset()) -> dict[str, Any] | None:
    """A label for each group, each at most once, the needed ones among them; None where there is no such choice."""
    if not choices:
        return None if needed else {}
    (name, labels), *rest = choices.items()
    for label in labels:
        left = {other: {x: m for x, m in several.items() if x != label} for other, several in rest}
        found = assign(left, needed - {label})
        if found is not None:
            return {name: label} | found
    return None


def matches_of(choices: Choices, assigned: Mapping[str, Any]) -> list[Any]:
    return [match for name, label in assigned.items() for match in choices[name][label]]


def rival_of(
    choices: Choices,
    needed: frozenset[Any],
    assigned: Mapping[str, Any],
    apply: Callable[[list[Any]], Any] | None = None,
) -> dict[str, Any] | None:
    """Another choice of labels; with `apply`, one of which something else comes."""
    expected: Any = None
    for name, labels in choices.items():
        for label, matches in labels.items():
            other = None if label == assigned[name] else assign({**choices, name: {label: matches}}, needed)
            if other is None:
                continue
            if apply is None:
                return other
            expected = apply(matches_of(choices, assigned)) if expected is None else expected
            if not comes_to_the_same(apply(matches_of(choices, other)), expected):
                return other
    return None


def comes_to_the_same(a: Any, b: Any) -> bool:
    if jax.tree.structure(a) != jax.tree.structure(b):
        return False
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(x is y or (not isinstance(x, Tracer) and np.array_equal(x, y)) for x, y in pairs)


def require_labels(labels: Any) -> tuple[Any, ...] | None:
    if labels is None:
        return None
    if isinstance(labels, str) or not isinstance(labels, Iterable):
        raise Refusal(TypeError, f"labels must be a tuple of the labels of Optax's groups, got {labels!r}")
    return tuple(labels)
