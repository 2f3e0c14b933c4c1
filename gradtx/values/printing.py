"""A call that is too long for one line, laid out as a formatter would write it; an object's start in one line."""

import re
import textwrap
from itertools import pairwise
from typing import Any

WIDTH = 100
TEXT_TOKEN = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|.""", re.DOTALL)  # a literal string, or one character
NUMBER = re.compile(r"-?[\d.]+(e[-+]?\d+)?")
OPENING, CLOSING, OPERATORS = set("([{"), set(")]}"), set("+*&|")


def indent(text: str, level: int = 0, behind: int = 0) -> str:
    """The text as it is if it fits, or else with one argument per line, four spaces per level.

    `behind` is the number of columns that the last line leaves free.
    """
    if 4 * level + len(text) + behind <= WIDTH:
        return text
    tokens = tokens_outside(text)
    operators = [i - 1 for i, token in tokens if token in OPERATORS and text[i - 1 : i + 2] == f" {token} "]
    if operators and not level:  # which only parentheses let go on in another line
        return f"(\n    {indent(text, 1)}\n)"
    if operators:
        parts = cut_at(text, operators)
        return f"\n{'    ' * level}".join(indent(part, level, behind) for part in parts)
    groups = [(i, j) for (i, token), (j, _) in pairwise(tokens) if token == "(" and j > i + 1]
    if not groups:
        return text
    start, end = groups[-1]
    head, inside, tail = text[:start], text[start + 1 : end], text[end:]
    parts = cut_at(inside, [i for i, token in tokens_outside(inside) if token == ","])
    is_call = bool(re.search(r"[\w)\]]$", head))
    comma = "," if is_call or len(parts) > 1 else ""  # not behind an expression in parentheses: that were a tuple
    if all(map(NUMBER.fullmatch, parts)):
        lines = textwrap.wrap(", ".join(parts) + ",", WIDTH - 4 * level - 4)  # as many in a line as fit
    else:
        lines = [indent(part, level + 1, len(comma)) + comma for part in parts if part]
    pad = "    " * level
    return "\n".join([f"{indent(head, level, 1)}(", *(f"{pad}    {line}" for line in lines), f"{pad}{tail}"])


def tokens_outside(text: str) -> list[tuple[int, str]]:
    """What stands outside of brackets and literal strings, with its places; nothing where brackets don't match."""
    found: list[tuple[int, str]] = []
    depth = 0
    for match in TEXT_TOKEN.finditer(text):
        token = match.group()
        depth -= token in CLOSING
        if depth < 0:
            return []
        if depth == 0:
            found.append((match.start(), token))
        depth += token in OPENING
    return found if depth == 0 else []


def cut_at(text: str, places: list[int]) -> list[str]:
    """The text without the characters at these places, in parts."""
    bounds = [-1, *places, len(text)]
    return [text[i + 1 : j].strip() for i, j in pairwise(bounds)]


def excerpt(x: Any) -> str:
    """The start of what an object prints, in one line; of an array its form and never its contents."""
    if hasattr(x, "dtype") and hasattr(x, "shape"):
        return f"{x.dtype}{list(x.shape)}"
    text = re.sub(r"(?<=\()\n\s*", "", repr(x))  # as `indent` begins a level
    return cut_short(re.sub(r"\s*\n\s*", " ", text))


def cut_short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


def what_came(x: Any) -> str:
    """What came in the place of something else; a function that makes one is there to be called."""
    name = getattr(x, "__name__", "") if callable(x) else ""
    return f"a function; call it: {name}(…)" if name else f"{type(x).__name__} {excerpt(x)}"


def name_apart(a: type, b: type) -> tuple[str, str]:
    """The names of two classes, with their modules where the names alone would not tell them apart."""
    if a.__name__ != b.__name__:
        return a.__name__, b.__name__
    if a.__module__ != b.__module__:
        return f"{a.__name__} of {public_module(a)}", f"that of {public_module(b)}"
    return f"{a.__name__} of an earlier definition of this class", f"the one of {public_module(b)} now"


def origin_of(got: type, want: type) -> str:
    """Where a state of another class than the one that is wanted came from, and what helps if that is known."""
    if package_of(got) == "optax" != package_of(want):
        return "it was made by Optax; take it over with from_optax(tx, params, state)"
    if got.__qualname__ == want.__qualname__ and "<locals>" in want.__qualname__:
        return "each call of a function defines it anew; define it at the top of the module"
    carry = "; to_flat and from_flat carry it over" if issubclass(got, tuple) else ""
    return f"it was made by another optimizer's init{carry}"


def package_of(kind: type) -> str:
    return kind.__module__.partition(".")[0]


def public_module(kind: type) -> str:
    """The module of a class without what its package keeps private."""
    return kind.__module__.split("._")[0]
