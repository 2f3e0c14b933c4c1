"""The rules that keep the package readable, held by tests."""

import ast
import re
from collections import defaultdict
from pathlib import Path

import optax

import gradtx
import gradtx.optax
from gradtx.testing import LAWS
from tests.docstrings import MODULES, PACKAGE, of_public_names

ROOT = Path(__file__).parent.parent
FILES = sorted(PACKAGE.rglob("*.py"))
CORE = [
    "check",
    "given",
    "returned",
    "afterwards",
    "keys",
    "paths",
    "collectives",
    "measurement",
    "locality",
    "quantity",
    "held",
    "tree",
    "reals",
    "placement",
    "count",
    "eager",
    "chunks",
    "fusion",
    "stage",
    "flow",
    "loss",
    "rule",
    "transformation",
    "pair",
    "walk",
    "factories",
    "lift",
    "combine",
    "apply",
]
VALUES = ["printing", "mathematics", "errors", "ranges", "annotations", "binding", "value", "argument", "recipe"]
LAYERS = [
    *[f"gradtx.values.{name}" for name in VALUES],
    *[f"gradtx.core.{name}" for name in CORE],
    "gradtx.selectors",
    "gradtx.schedules",
    "gradtx.curvature",
    "gradtx.transforms",
    "gradtx.optimizers",
    "gradtx.wrappers",
    "gradtx.matrices",
    "gradtx.precision",
    "gradtx.devices",
    "gradtx.inspect",
    "gradtx.config",
    "gradtx.checkpoints",
    "gradtx.optax",
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


def test_the_map_of_folders_has_all_of_them():
    rows = re.findall(r"^\| `gradtx/(\w+)(?:/|\.py)` \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    there = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in FILES}
    assert sorted(rows) == sorted(there)


def test_no_helper_name_means_two_things():
    defined = defaultdict(set)
    for path in FILES:
        for node in ast.parse(path.read_text()).body:
            own = [node.name] if isinstance(node, ast.FunctionDef | ast.ClassDef) else []
            targets = node.targets if isinstance(node, ast.Assign) else []
            own += [x.id for x in targets if isinstance(x, ast.Name) and len(x.id) > 1]
            for name in own:
                if name.startswith("__"):  # Python's own: __all__, and the names of a module that stands for another
                    continue
                defined[name].add(str(path.relative_to(PACKAGE)))
    public = {name for module in MODULES for name in module.__all__}
    public |= {name for name in dir(gradtx.optax) if name in dir(optax)}  # what Optax calls so, too
    assert len(defined) > 500
    assert {name: places for name, places in defined.items() if len(places) > 1 and name not in public} == {}


def test_no_file_is_longer_than_a_sitting():
    files = [*FILES, *Path(__file__).parent.rglob("*.py")]
    assert {path.name: n for path in files if (n := len(path.read_text().splitlines())) > 300} == {}


def test_public_list_is_complete():
    assert len(set(gradtx.__all__)) == len(gradtx.__all__)
    public = {name for name, x in vars(gradtx).items() if not name.startswith("_") and not isinstance(x, type(ast))}
    assert public == set(gradtx.__all__)


DOCSTRINGS = of_public_names()


def test_every_public_name_has_an_example():
    # The examples are run by test_docs. A law is run on every member and on what breaks it; `Law` has the example.
    laws = {f"gradtx.testing.{law.name}" for law in LAWS}
    assert laws < DOCSTRINGS.keys()
    assert {name for name, text in DOCSTRINGS.items() if name in laws and not text} == set()
    assert {name for name, text in DOCSTRINGS.items() if name not in laws and ">>> " not in text} == set()


def test_public_factories_have_the_rule_in_mathematics():
    for name in gradtx.__all__:
        if isinstance(getattr(gradtx, name), gradtx.transformation | gradtx.schedule):
            assert re.search(r"\$.+\$", DOCSTRINGS[f"gradtx.{name}"], re.DOTALL), name


def test_every_public_name_stands_on_one_page_in_the_order_and_under_the_headings_of_the_public_list():
    """The headings of gradtx.__all__ are the titles of the pages, those of other modules stand inside of theirs."""
    pages = [ROOT / "docs" / path for path in re.findall(r"reference/\w+\.md", (ROOT / "mkdocs.yml").read_text())]
    assert sorted(pages) == sorted((ROOT / "docs/reference").glob("*.md"))
    texts = {page: re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE) for page in pages}
    found = {page: re.findall(r"^(?:::: (gradtx\S+)|#+ (.+))$", text, re.MULTILINE) for page, text in texts.items()}
    written = [name or title for page in pages for name, title in found[page]]
    listed = [title or f"gradtx.{name}" for name, title in public_list(gradtx)]
    assert written[: len(listed)] == listed
    rest = []
    for module in MODULES[1:]:
        names = public_list(module)
        rest += [module.__name__.split(".")[1].capitalize()]
        rest += [title or f"{module.__name__}.{name}" for name, title in names]
    assert written[len(listed) :] == rest


def public_list(module):
    """The names of `__all__` and the comments between them."""
    text = Path(module.__file__).read_text().split("__all__ = [")[1]
    return re.findall(r"\"(\w+)\"|^    # (.+)$", text, re.MULTILINE)
