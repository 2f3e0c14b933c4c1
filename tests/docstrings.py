"""What is written of each public name, wherever it is written."""

import ast
import inspect
from itertools import pairwise
from pathlib import Path
from typing import Any

import gradtx
import gradtx.plot
import gradtx.testing
from gradtx.testing import Law
from gradtx.values.recipe import Recipe

PACKAGE = Path(gradtx.__file__).parent
MODULES = [gradtx, gradtx.plot, gradtx.testing]


def of_assignments(path: Path) -> dict[str, str]:
    """The strings below assignments at the top of a module: what has no `__doc__` is documented so."""
    lines = ast.parse(path.read_text()).body
    return {
        first.targets[0].id: inspect.cleandoc(str(second.value.value))
        for first, second in pairwise(lines)
        if isinstance(first, ast.Assign) and isinstance(first.targets[0], ast.Name)
        if isinstance(second, ast.Expr) and isinstance(second.value, ast.Constant)
    }


def of_public_names() -> dict[str, str]:
    """Each public name with its docstring, "" where there is none."""
    assigned = {name: text for path in PACKAGE.rglob("*.py") for name, text in of_assignments(path).items()}

    def of(name: str, x: Any) -> str:
        if name in assigned:
            return assigned[name]
        written = x.body if isinstance(x, Law) else x.factory if isinstance(x, Recipe) else x  # as in the source
        return inspect.cleandoc(written.__doc__ or "")

    return {f"{m.__name__}.{name}": of(name, getattr(m, name)) for m in MODULES for name in m.__all__}
