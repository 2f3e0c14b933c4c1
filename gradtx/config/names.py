"""What the names in configs and in expressions stand for, and how what they stand for is called."""

import difflib
import functools
import importlib
import pkgutil
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from gradtx.schedules.value import Schedule, product, succession, total
from gradtx.selectors import Selector, both, either, others
from gradtx.values.errors import Refusal
from gradtx.values.printing import excerpt
from gradtx.values.recipe import Recipe

Factory = Recipe[..., Any]

# That have factories.
FOLDERS = ["core", "selectors", "schedules", "transforms", "optimizers", "wrappers", "matrices", "precision"]
FOLDERS += ["devices", "inspect"]
SIGNS: Any = {"+": total, "*": product, "~": others, "&": both, "|": either}
OPERATORS: dict[str, Factory] = SIGNS | {"then": succession}
DEEPEST = 50  # factories inside of each other: all that runs over a value is recursive


@functools.cache
def find_factories() -> dict[str, Factory]:
    """gradtx's public factories: all that stand in the modules of the folders, but operators and what begins with _."""
    found: dict[str, Factory] = {}
    for folder in FOLDERS:
        package = importlib.import_module(f"gradtx.{folder}")
        inside = pkgutil.iter_modules(getattr(package, "__path__", []), f"gradtx.{folder}.")  # a file has none inside
        for module in [package, *(importlib.import_module(info.name) for info in inside)]:
            found |= {x.__name__: x for x in vars(module).values() if isinstance(x, Recipe)}
    hidden = {factory.__name__ for factory in OPERATORS.values()}
    return {name: x for name, x in found.items() if name not in hidden and not name.startswith("_")}


def find_factory(name: str, factories: dict[str, Factory], where: str, known: str) -> Factory:
    """The factory of this name; `known` says in words which there are."""
    if name not in factories:
        raise Refusal(ValueError, f"{where}: unknown name {name!r:.60}{suggest_names(name, factories, known)}")
    return factories[name]


def suggest_names(name: Any, names: Iterable[str], known: str) -> str:
    """What may have been meant by an unknown name."""
    close = difflib.get_close_matches(str(name)[:60], list(names))
    return f"; did you mean {' or '.join(close)}?" if close else f"; known are {known}"


def call_factory(factory: Callable[..., Any], where: str, positional: Sequence[Any], keywords: dict[str, Any]) -> Any:
    """What a factory makes of the arguments, or its error with the place."""
    try:
        return factory(*positional, **keywords)
    except (TypeError, ValueError, ArithmeticError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise Refusal(kind, f"{where}: {error}") from None


def require_operands(name: str, operands: Sequence[Any], where: str) -> None:
    """Refuse what an operator doesn't join in Python either, though its factory takes it."""
    if name in ("~", "&", "|"):
        fits, expected = all(isinstance(x, Selector) for x in operands), "is for selectors"
    elif name == "then":
        fits, expected = isinstance(operands[0], Schedule), "must follow a schedule"
    else:
        fits, expected = any(isinstance(x, Schedule) for x in operands), "must have a schedule on one side"
    if not fits:
        raise Refusal(TypeError, f"{where}: {name} {expected}, got {' and '.join(map(excerpt, operands))}")


def require_depth(depth: int, where: str) -> None:
    if depth > DEEPEST:
        raise Refusal(ValueError, f"{where:.60}: nested more than {DEEPEST} deep")
