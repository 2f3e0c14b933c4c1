"""The arguments of a factory by their names, without `inspect` where it would take most of the time."""

import inspect
from collections.abc import Callable, Collection
from types import FunctionType
from typing import Any


def names_of_arguments(factory: Any) -> tuple[Collection[str], Collection[str]]:
    """The names of a factory's arguments, and of those that can't be given by name: of a plain function without
    `inspect`, which takes longer than all else that making a factory does.
    """
    if type(factory) is FunctionType and "__wrapped__" not in factory.__dict__:
        code = factory.__code__
        stars = bool(code.co_flags & inspect.CO_VARARGS) + bool(code.co_flags & inspect.CO_VARKEYWORDS)
        every = code.co_argcount + code.co_kwonlyargcount + stars
        return code.co_varnames[:every], code.co_varnames[: code.co_posonlyargcount]
    parameters = inspect.signature(factory).parameters
    return parameters, [p.name for p in parameters.values() if p.kind is p.POSITIONAL_ONLY]


def make_binder(parameters: list[inspect.Parameter], defaults: dict[str, Any]) -> Callable[..., dict[str, Any]]:
    """A function of these parameters that returns its arguments by name, in their order: what `inspect` does at twenty
    times the cost.
    """
    words: list[str] = []
    kinds = [p.kind for p in parameters]
    for i, p in enumerate(parameters):
        if p.kind is p.KEYWORD_ONLY and not {p.KEYWORD_ONLY, p.VAR_POSITIONAL} & {*kinds[:i]}:
            words.append("*")
        star = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
        words.append(f"{star}{p.name}=None" if p.name in defaults else f"{star}{p.name}")
    pairs = [f"**{p.name}" if p.kind is p.VAR_KEYWORD else f"{p.name}={p.name}" for p in parameters]
    binder = eval(f"lambda {', '.join(words)}: dict({', '.join(pairs)})")  # names alone, and no one's text
    own = [p for p in parameters if p.name in defaults]
    binder.__defaults__ = tuple(defaults[p.name] for p in own if p.kind is not p.KEYWORD_ONLY)
    binder.__kwdefaults__ = {p.name: defaults[p.name] for p in own if p.kind is p.KEYWORD_ONLY}
    return binder


def name_in_call(parameters: list[inspect.Parameter]) -> list[str]:
    """The names of these parameters, with a star before the first that is given by name alone."""
    words = [p.name for p in parameters]
    kinds = [p.kind for p in parameters]
    if inspect.Parameter.KEYWORD_ONLY in kinds and inspect.Parameter.VAR_POSITIONAL not in kinds:
        words.insert(kinds.index(inspect.Parameter.KEYWORD_ONLY), "*")
    return words
