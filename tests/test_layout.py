"""The rules that keep the package readable, held by tests."""

import ast
import re
from pathlib import Path

import gradtx

PACKAGE = Path(gradtx.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
CORE = [
    "printing",
    "check",
    "ranges",
    "tree",
    "reals",
    "value",
    "recipe",
    "selector",
    "flow",
    "count",
    "eager",
    "transformation",
    "hyperparameters",
    "lift",
    "combine",
    "apply",
]
LAYERS = [f"gradtx.core.{name}" for name in CORE] + [
    "gradtx.looking.report",
    "gradtx.states",
    "gradtx.schedules",
    "gradtx.curvature",
    "gradtx.transforms",
    "gradtx.measured",
    "gradtx.optimizers",
    "gradtx.wrappers",
    "gradtx.looking",
    "gradtx.plot",
    "gradtx",  # the public list, and the programs above it
    "gradtx.testing",
]


def layer(module):
    return LAYERS.index(max((x for x in LAYERS if module == x or module.startswith(x + ".")), key=len))


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gradtx"):
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (m if layer_file(m) else node.module for m in modules)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("gradtx"))


def layer_file(module):
    return (PACKAGE.parent / module.replace(".", "/")).with_suffix(".py").exists()


def test_imports_go_up_the_list_of_layers_and_never_down():
    seen = 0
    for path in FILES:
        module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        own = layer(module)
        for imported in imports(path):
            seen += 1
            assert layer(imported) <= own, f"{module} imports {imported}"
    assert seen > 30


def test_no_file_is_longer_than_a_sitting():
    files = [*FILES, *Path(__file__).parent.rglob("*.py")]
    assert {path.name: n for path in files if (n := len(path.read_text().splitlines())) > 300} == {}


def test_public_list_is_complete_and_documented():
    assert len(set(gradtx.__all__)) == len(gradtx.__all__)
    public = {name for name, x in vars(gradtx).items() if not name.startswith("_") and not isinstance(x, type(ast))}
    assert public == set(gradtx.__all__)
    ranges = {"Scalar", "Positive", "NonNegative", "Fraction", "Decay", "Steps", "Natural"}
    undocumented = {name for name in set(gradtx.__all__) - ranges if not getattr(gradtx, name).__doc__}
    assert undocumented == set()


def test_public_factories_have_an_example_and_the_rule_in_mathematics():
    for name in gradtx.__all__:
        factory = getattr(gradtx, name)
        if isinstance(factory, gradtx.transformation | gradtx.schedule):
            assert ">>> " in str(factory.__doc__), name
            assert re.search(r"\$.+\$", str(factory.__doc__), re.DOTALL), name
