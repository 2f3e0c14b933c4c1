"""`python -m tests.optax.page` writes docs/optax_names.md anew: whose each name of Optax is."""

import inspect
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optax

import gradtx.optax
from gradtx.optax import contrib, schedules, transforms
from gradtx.values.value import text_of
from tests.optax.examples import TRANSFORMATIONS
from tests.optax.runs import make
from tests.optax.schedule_examples import SCHEDULES

PAGE = Path(__file__).parent.parent.parent / "docs" / "optax_names.md"
PAIRS: list[tuple[str, Any, Any]] = [
    ("optax", gradtx.optax, optax),
    ("optax.contrib", contrib, optax.contrib),
    ("optax.schedules", schedules, optax.schedules),
    ("optax.transforms", transforms, optax.transforms),
]
HEAD = """
# Optax's names

`import gradtx.optax as optax` has all names of Optax {version}. This page says which of them are gradtx's, with what an
example prints, and which are Optax's own objects. `python -m tests.optax.page` makes it.

gradtx's are values: they print, compare, pickle and go into `jit` as arguments; chains of them run in one pass. They
have Optax's arguments in its order, with its defaults, and keep Optax's own types of states, so that a saved state of
Optax goes on in gradtx. Parts of both kinds mix.
"""


def names_of(theirs: Any) -> list[str]:
    """The public names of a module of Optax."""
    return sorted({name for name in {*dir(theirs), *getattr(theirs, "__all__", ())} if not name.startswith("_")})


def rows(ours: Any, theirs: Any) -> Iterator[tuple[str, Any]]:
    """Each name with gradtx's object, None where it is Optax's own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of names that Optax will take away
        for name in names_of(theirs):
            own, original = getattr(ours, name), getattr(theirs, name)
            if not inspect.ismodule(original):
                yield name, None if own is original else own


def example(name: str) -> str:
    """What the first call of a name prints, in one line."""
    if name in ("apply_updates", "global_norm"):
        return "a function of trees"
    if name == "MultiSteps":
        return f"Optax's class, around `{printed(TRANSFORMATIONS[name][0])}`"
    return f"`{printed((TRANSFORMATIONS | SCHEDULES)[name][0])}`"


def printed(call: str) -> str:
    return text_of(make(call, gradtx.optax))  # in one line


def page() -> str:
    """The page."""
    parts = [HEAD.format(version=optax.__version__).strip(), ""]
    for title, ours, theirs in PAIRS:
        found = dict(rows(ours, theirs))
        own = [name for name, x in found.items() if x is not None]
        parts += [f"## `{title}`", "", "| gradtx's | prints |", "| --- | --- |"]
        parts += [f"| `{name}` | {example(name)} |" for name in own]
        others = ", ".join(f"`{name}`" for name, x in found.items() if x is None)
        parts += ["", f"Optax's own: {others}.", ""]
    known = {title for title, _, _ in PAIRS}
    modules = [f"optax.{name}" for name, x in sorted(vars(optax).items()) if inspect.ismodule(x) and name[0] != "_"]
    modules = [name for name in modules if name not in known]
    parts += ["## Modules", "", f"Whole modules that are Optax's own: {', '.join(f'`{name}`' for name in modules)}."]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"wrote {PAGE.name}")
