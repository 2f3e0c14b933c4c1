"""The notebooks as they are committed; `.ci/run` executes them."""

import ast
import json
import re
import sys
from pathlib import Path

import pytest

import gradtx

ROOT = Path(__file__).parent.parent
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"), key=lambda path: int(path.stem.split("_")[0]))
# What the extra `notebooks` brings; NumPy comes with JAX, IPython with JupyterLab, Orbax with Flax.
INSTALLED = {"IPython", "equinox", "flax", "gradtx", "jax", "matplotlib", "numpy", "optax", "orbax", "sklearn"}


def cells(path, kind):
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]


def text(cell):
    return "".join(cell["source"])


def code(cell):
    """The Python of a cell, without IPython's own commands."""
    return re.sub(r"^(\s*)%.*$", r"\1pass", text(cell), flags=re.MULTILINE)


def title(path):
    return text(cells(path, "markdown")[0]).splitlines()[0]


notebook = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def test_they_are_numbered_and_titled_with_a_question():
    assert [path.stem.split("_")[0] for path in PATHS] == [str(i) for i in range(1, 13)]
    for i, path in enumerate(PATHS, start=1):
        assert re.fullmatch(rf"# {i} · [A-Z].*\?", title(path)), title(path)


def test_their_readme_names_each_with_its_question():
    lines = (ROOT / "notebooks" / "README.md").read_text()
    for path in PATHS:
        assert f"[{title(path).removeprefix('# ')}]({path.name})" in lines


def test_all_begin_with_the_same_installation():
    assert len({text(cells(path, "code")[0]) for path in PATHS}) == 1
    assert "GRADTX_SOURCE" in text(cells(PATHS[0], "code")[0])


def test_all_were_run_with_this_version():
    for path in PATHS:
        (printed,) = cells(path, "code")[0]["outputs"]
        assert text({"source": printed["text"]}).startswith(f"gradtx {gradtx.__version__}, "), path.name


@notebook
def test_it_was_run_once_from_top_to_bottom_without_a_word_of_warning(path):
    run = cells(path, "code")
    assert [cell["execution_count"] for cell in run] == list(range(1, len(run) + 1))
    outputs = [output for cell in run for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} <= {"stream", "display_data", "execute_result"}
    assert {output["name"] for output in outputs if output["output_type"] == "stream"} <= {"stdout"}
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 4


@notebook
def test_it_ends_with_an_exercise(path):
    last = json.loads(path.read_text())["cells"][-1]
    assert last["cell_type"] == "markdown"
    assert re.search(r"^## Exercise$", text(last), re.MULTILINE)


@notebook
def test_its_claims_are_asserted(path):
    asserts = [
        node for cell in cells(path, "code") for node in ast.walk(ast.parse(code(cell))) if type(node) is ast.Assert
    ]
    assert len(asserts) >= 4


@notebook
def test_it_needs_nothing_beyond_its_extra(path):
    imported = {
        name.split(".")[0]
        for cell in cells(path, "code")
        for node in ast.walk(ast.parse(code(cell)))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert imported <= INSTALLED | sys.stdlib_module_names
    assert "fetch_" not in "".join(map(text, cells(path, "code")))


@notebook
def test_it_is_light_and_tells_nothing_of_the_machine_it_ran_on(path):
    assert path.stat().st_size < 2_000_000
    written = json.loads(path.read_text())
    assert set(written["metadata"]) <= {"kernelspec", "language_info"}
    assert written["metadata"]["kernelspec"]["name"] == "python3"
    assert not re.search(r"/(home|tmp|work|root|Users)/", path.read_text())
