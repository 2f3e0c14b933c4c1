"""`python -m tests.optax.page` writes docs/optax_names.md anew: whose each name of Optax is."""

import inspect
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_origin

import optax

import gradtx.optax
from gradtx.optax import contrib, schedules, transforms
from gradtx.values.value import text_of
from tests.optax.examples import TRANSFORMATIONS
from tests.optax.runs import make
from tests.optax.schedule_examples import SCHEDULES

PAGE = Path(__file__).parent.parent.parent / "docs" / "optax_names.md"
FUNCTIONS_OF_TREES = {
    "apply_updates",
    "global_norm",
    "per_example_global_norm_clip",
    "per_example_layer_norm_clip",
    "schedule_free_eval_params",
}
PAIRS: list[tuple[str, Any, Any]] = [
    ("optax", gradtx.optax, optax),
    ("optax.contrib", contrib, optax.contrib),
    ("optax.schedules", schedules, optax.schedules),
    ("optax.transforms", transforms, optax.transforms),
]
HEAD = """
# Optax's names

`import gradtx.optax as optax` has all names of Optax {version}. This page says which of them are gradtx's, with what an
example prints, and which are Optax's own objects, and why. `python -m tests.optax.page` makes it.

gradtx's are values: they print, compare, pickle and go into `jit` as arguments; chains of them run in one pass. They
have Optax's arguments in its order, with its defaults, and keep Optax's own types of states, so that a saved state of
Optax goes on in gradtx. Parts of both kinds mix.
"""
TYPES = "types, also of states, which gradtx's names use too"
PLAIN = "functions of arrays, trees, losses and states, which take gradtx's as they are"
MADE_OF_A_FUNCTION = "what they make is the function that they are given, which leaves nothing to gradtx"
WHY = {
    "monitor": "its state has another structure from the first update on, which no `scan` takes",
    "measure_with_ema": "what comes out of it is a measurement and no update; it is a part of `monitor`",
    "stateless": MADE_OF_A_FUNCTION,
    "stateless_with_tree_map": MADE_OF_A_FUNCTION,
    "with_extra_args_support": "gradtx's take extra arguments, and it returns them as they are",
}


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


def reason(name: str, x: Any) -> str:
    """Why a name is left to Optax."""
    if name in WHY:
        return WHY[name]
    if not callable(x) or inspect.isclass(x) or get_origin(x):
        return TYPES
    assert "GradientTransformation" not in str(inspect.signature(x).return_annotation), f"why is {name} Optax's own?"
    return PLAIN


def example(name: str) -> str:
    """What the first call of a name prints, in one line."""
    if name in FUNCTIONS_OF_TREES:
        return "a function of trees"
    if name == "MultiSteps":
        return f"Optax's class, around `{printed(TRANSFORMATIONS[name][0])}`"
    return f"`{printed((TRANSFORMATIONS | SCHEDULES)[name][0])}`"


def printed(call: str) -> str:
    return text_of(make(call, gradtx.optax))  # in one line


def rows_of_reasons(theirs: Any, names: list[str]) -> Iterator[str]:
    """The names that are left to Optax, below each reason."""
    groups: dict[str, list[str]] = {}
    for name in names:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            original = getattr(theirs, name)
        groups.setdefault(reason(name, original), []).append(f"`{name}`")
    for words, own in sorted(groups.items(), key=lambda row: len(row[1])):
        yield f"- {', '.join(own)}: {words}."


def page() -> str:
    """The page."""
    parts = [HEAD.format(version=optax.__version__).strip(), ""]
    for title, ours, theirs in PAIRS:
        found = dict(rows(ours, theirs))
        own = [name for name, x in found.items() if x is not None]
        parts += [f"## `{title}`", "", "| gradtx's | prints |", "| --- | --- |"]
        parts += [f"| `{name}` | {example(name)} |" for name in own]
        parts += [
            "",
            "Optax's own:",
            "",
            *rows_of_reasons(theirs, [name for name, x in found.items() if x is None]),
            "",
        ]
    known = {title for title, _, _ in PAIRS}
    modules = [f"optax.{name}" for name, x in sorted(vars(optax).items()) if inspect.ismodule(x) and name[0] != "_"]
    modules = [name for name in modules if name not in known]
    parts += ["## Modules", "", f"Whole modules that are Optax's own: {', '.join(f'`{name}`' for name in modules)}."]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"wrote {PAGE.name}")
