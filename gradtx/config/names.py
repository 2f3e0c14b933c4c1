"""The names that a config may hold, and how places in it are written."""

import functools
from typing import Any, NamedTuple

import optax

import gradtx
from gradtx.schedules.value import Schedule, joined, product, total
from gradtx.selectors import Selector, both, either, others
from gradtx.values.errors import Refusal
from gradtx.values.printing import excerpt
from gradtx.values.recipe import Recipe

VERSION = 1
KINDS = {"optimizer": optax.GradientTransformation, "schedule": Schedule, "selector": Selector}
SIGNS: Any = {"+": total, "*": product, "~": others, "&": both, "|": either}  # what they join is a list
OPERATORS = SIGNS | {"then": joined}
NAME = "name"
FLOATS = ["bfloat16", "float16", "float32", "float64"]
DTYPES = [*FLOATS, "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]

Names = dict[str, Any]
Factory = Recipe[..., Any]


class Vocabulary(NamedTuple):
    """What names stand for: factories, which are called, and objects of the caller's, which are taken as they are."""

    factories: dict[str, Factory]
    objects: Names


def vocabulary(names: Names | None) -> Vocabulary:
    names = {} if names is None else names
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names):
        raise Refusal(TypeError, f"names must be a dict whose keys are strings, got {excerpt(names)}")
    own = public() | OPERATORS
    for name, x in names.items():
        if name in (NAME, *DTYPES) or own.get(name, x) is not x:
            raise Refusal(ValueError, f"names can't have {name!r}, which has a meaning of its own in a config")
    factories = {name: x for name, x in names.items() if isinstance(x, Recipe)}
    return Vocabulary(own | factories, {name: x for name, x in names.items() if name not in factories})


@functools.cache
def public() -> dict[str, Factory]:
    """gradtx's factories."""
    return {name: f for name in gradtx.__all__ if isinstance(f := getattr(gradtx, name), Recipe)}


def below(path: str, name: str) -> str:
    """The path of an argument, as `hyperparameters` and `replace` have it."""
    return f"{path}.{name}" if path else name


def place(path: str) -> str:
    return path or "the value"
