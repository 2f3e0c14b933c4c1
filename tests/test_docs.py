"""Examples that are run: those of the docstrings and the README's."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import gradtx

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.usefixtures("float32")  # as users have it, and as the examples show it

MODULES = [name for _, name, package in pkgutil.walk_packages(gradtx.__path__, "gradtx.") if not package]


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name):
    module = importlib.import_module(name)
    failed, tried = doctest.testmod(module, verbose=False)
    assert failed == 0
    assert tried > 0 or ">>> " not in Path(str(module.__file__)).read_text()


def test_readme(capsys):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks
    names: dict[str, object] = {}
    for block in blocks:
        exec(block, names)
    shown = [line.removeprefix("# ") for block in blocks for line in block.splitlines() if line.startswith("# ")]
    assert capsys.readouterr().out.splitlines() == shown
