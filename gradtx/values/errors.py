"""Errors that name the call they come from, and the checks of plain arguments."""

import difflib
import importlib.util
import inspect
import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Any

import optax

from gradtx.values.printing import excerpt


class Refusal(Exception):
    """An error that does not know yet which transformation it is about; `errors_of` turns it into the one users see."""

    def __init__(self, kind: type[Exception], message: str):
        super().__init__(message)
        self.kind = kind


@contextmanager
def errors_of(name: str) -> Generator[None]:
    try:
        yield
    except Refusal as refusal:
        raise refusal.kind(f"{name}: {refusal}") from None


def no_attribute(name: str) -> Any:
    """In the place of a name that gradtx lacks, an error that says where it is if it is elsewhere."""
    problem = f"module 'gradtx' has no attribute {name!r}"
    if not name.startswith("_"):
        if importlib.util.find_spec(f"gradtx.{name}"):
            problem += f"; write `import gradtx.{name}`"
        elif name in dir(optax):  # without asking for it: an old name warns
            problem += "; `import gradtx.optax as optax` has Optax's names, docs/migration.md what they are in gradtx"
        elif meant := did_you_mean(name, sys.modules["gradtx"].__all__):
            problem += f"; {meant}"
    raise AttributeError(problem, name=name, obj=sys.modules["gradtx"])


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The nearest of the known names as a question, or nothing."""
    close = difflib.get_close_matches(name, [*known], 1)
    return f"did you mean {close[0]}?" if close else ""


# ---- arguments ----


def require_whole(name: str, value: Any) -> None:
    """Refuse what is no number of things, of which there is at least one."""
    if type(value) is not int or value < 1:
        kind = ValueError if type(value) is int else TypeError
        raise Refusal(kind, f"{name} must be a whole number, at least 1, got {excerpt(value)}")


def require_function(name: str, value: Any, of: str, arguments: int) -> None:
    """Refuse what can't be called with so many arguments."""
    if not callable(value):
        raise Refusal(TypeError, f"{name} must be a function of {of}, got {type(value).__name__} {excerpt(value)}")
    try:
        inspect.signature(value).bind(*range(arguments))
    except TypeError:
        wrong = f"{getattr(value, '__name__', type(value).__name__)}{inspect.signature(value)}"
        raise Refusal(TypeError, f"{name} must be a function of {of}, got {wrong:.80}") from None
    except ValueError:  # a function of C, which does not say what it takes
        pass
