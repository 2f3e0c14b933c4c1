"""Examples that are run: those of the docstrings, of README.md and of CONTRIBUTING.md."""

import doctest
import importlib
import inspect
import pkgutil
import pydoc
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

import gradtx
from gradtx.testing import check_transformation
from gradtx.values import annotations
from tests.docstrings import of_assignments
from tests.pages import shown_in

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.usefixtures("float32")  # as users have it, and as the examples show it

MODULES = [name for _, name, package in pkgutil.walk_packages(gradtx.__path__, "gradtx.") if not package]


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name):
    module = importlib.import_module(name)
    path = Path(str(module.__file__))
    failed, tried = doctest.testmod(module, verbose=False)
    assert failed == 0
    below = 0
    for assigned, text in of_assignments(path).items():
        found = doctest.DocTestRunner(verbose=False)
        found.run(doctest.DocTestParser().get_doctest(text, {}, assigned, str(path), 0))
        assert found.failures == 0
        below += found.tries
    assert tried + below == len(re.findall(r"^ *>>> ", path.read_text(), re.MULTILINE))


def test_help_shows_the_text_of_an_annotation():
    texts = of_assignments(Path(annotations.__file__))
    assert {"Scalar", "Decay", "Natural"} < texts.keys()
    for name, text in texts.items():
        assert inspect.cleandoc(getattr(gradtx, name).__doc__) == text
    assert "from 0 to below 1, the share of itself" in pydoc.render_doc(gradtx.Decay)


@pytest.mark.parametrize("name", ["README", "CONTRIBUTING"])
def test_page(name, capsys, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / f"{name}.md").read_text(), re.DOTALL)
    assert blocks
    page = ModuleType(name)  # by whose name pickle finds what the blocks define
    monkeypatch.setitem(sys.modules, name, page)
    for block in blocks:
        exec(block, vars(page))
    assert capsys.readouterr().out.splitlines() == [line for block in blocks for line in shown_in(block)]
    if name == "CONTRIBUTING":
        check_transformation(page.scale_by_yogi()).raise_if_broken()
