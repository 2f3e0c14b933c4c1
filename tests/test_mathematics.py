"""All mathematics renders in KaTeX: that of docstrings, of pages and notebooks, and of what `describe` says."""

import json
import re
from pathlib import Path

import pytest

import gradtx
from docs.mathematics import katex
from tests.catalogue import SCHEDULES, TRANSFORMATIONS
from tests.docstrings import of_public_names

ROOT = Path(__file__).parent.parent
CODE = re.compile(r"^(```|~~~).*?^\1|^ *>>> .*?(?=\n\s*\n|\Z)|`[^`\n]*`", re.DOTALL | re.MULTILINE)
FORMULA = re.compile(r"\$\$(.+?)\$\$|(?<!\\)\$(.+?)(?<!\\)\$", re.DOTALL)


def complaints(texts: dict[str, str]) -> list[str]:
    """What is wrong with the mathematics of some Markdown, in one run of KaTeX for all of it."""
    prose = {name: CODE.sub("", text) for name, text in texts.items()}
    found = [(name, *formula) for name, text in prose.items() for formula in FORMULA.findall(text)]
    made = katex([(display or inline, bool(display)) for _, display, inline in found])
    wrong = [f"{name}: {said}" for (name, *_), (_, said) in zip(found, made, strict=True) if said]
    return wrong + [f"{name}: a $ alone" for name, text in prose.items() if "$" in FORMULA.sub("", text)]


def notebooks() -> dict[str, str]:
    cells = {path.name: json.loads(path.read_text())["cells"] for path in (ROOT / "notebooks").glob("*.ipynb")}
    return {
        f"{name}, cell {i}": "".join(cell["source"])
        for name, several in cells.items()
        for i, cell in enumerate(several)
        if cell["cell_type"] == "markdown"
    }


def pages() -> dict[str, str]:
    return {path.name: path.read_text() for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]}


def described() -> dict[str, str]:
    values = [*(member.tx for member in TRANSFORMATIONS), *SCHEDULES]
    return {f"describe({tx})": gradtx.describe(tx)._repr_markdown_() for tx in values}


def test_all_mathematics_renders():
    docstrings = of_public_names()
    assert sum(bool(FORMULA.search(text)) for text in docstrings.values()) > 80
    assert complaints({**docstrings, **described(), **pages(), **notebooks()}) == []


@pytest.mark.parametrize("wrong", [r"$\frac{1}{2$", r"$\etaa$", "$$a & b$$", "$größer$", r"$\left( x$", "5 $ and more"])
def test_wrong_mathematics_is_found(wrong):
    assert len(complaints({"right": r"$\eta\,g$ and `$\wrong`", "one": wrong})) == 1
