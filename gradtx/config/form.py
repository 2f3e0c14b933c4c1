"""The form of a config: what stands in it beside gradtx's factories, and how places in it are written."""

from typing import Any, NamedTuple

import optax

from gradtx.config.names import OPERATORS, Factory, find_factories
from gradtx.schedules.value import Schedule
from gradtx.selectors import Selector
from gradtx.values.errors import Refusal
from gradtx.values.printing import excerpt
from gradtx.values.recipe import Recipe

VERSION = 1
KINDS = {"optimizer": optax.GradientTransformation, "schedule": Schedule, "selector": Selector}
NAME = "name"
FLOATS = ["bfloat16", "float16", "float32", "float64"]
DTYPES = [*FLOATS, "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]

Names = dict[str, Any]


class Vocabulary(NamedTuple):
    """What names stand for: factories, which are called, and objects of the caller's, which are taken as they are."""

    factories: dict[str, Factory]
    objects: Names


def make_vocabulary(names: Names | None) -> Vocabulary:
    names = {} if names is None else names
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names):
        raise Refusal(TypeError, f"names must be a dict whose keys are strings, got {excerpt(names)}")
    own = find_factories() | OPERATORS
    for name, x in names.items():
        if name in (NAME, *DTYPES) or own.get(name, x) is not x:
            raise Refusal(ValueError, f"names can't have {name!r}, which has a meaning of its own in a config")
    factories = {name: x for name, x in names.items() if isinstance(x, Recipe)}
    return Vocabulary(own | factories, {name: x for name, x in names.items() if name not in factories})


def name_place(path: str) -> str:
    """The place in words, for errors."""
    return path or "the value"
