"""Examples that are run: those of the docstrings and the README's."""

import doctest
import importlib
import pkgutil
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

import gradtx
from gradtx.testing import check_transformation

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.usefixtures("float32")  # as users have it, and as the examples show it

MODULES = [name for _, name, package in pkgutil.walk_packages(gradtx.__path__, "gradtx.") if not package]


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name):
    module = importlib.import_module(name)
    failed, tried = doctest.testmod(module, verbose=False)
    assert failed == 0
    assert tried > 0 or ">>> " not in Path(str(module.__file__)).read_text()


def test_readme(capsys, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks
    readme = ModuleType("readme")  # by whose name pickle finds what the blocks define
    monkeypatch.setitem(sys.modules, "readme", readme)
    for block in blocks:
        exec(block, vars(readme))
    shown = [line.removeprefix("# ") for block in blocks for line in block.splitlines() if line.startswith("# ")]
    assert capsys.readouterr().out.splitlines() == shown
    check_transformation(readme.scale_by_yogi()).raise_if_broken()
