"""The version stands in one place, `gradtx/__init__.py`; what is built, and what names it elsewhere, agrees."""

import re
import tomllib
from pathlib import Path

import gradtx

ROOT = Path(__file__).parent.parent


def test_pyproject_reads_the_version_of_the_package():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert settings["project"]["dynamic"] == ["version"]
    assert settings["tool"]["hatch"]["version"] == {"path": "gradtx/__init__.py"}
    assert re.fullmatch(r"\d+\.\d+\.\d+(rc\d+|\.dev\d+)?", gradtx.__version__)


def test_no_other_line_of_the_project_assigns_it():
    written = re.compile(r"^\s*(__version__|version)\s*=\s*[\"']", re.MULTILINE)
    files = [*(ROOT / "tests").rglob("*.py"), *Path(str(gradtx.__file__)).parent.rglob("*.py"), ROOT / "pyproject.toml"]
    found = {path.relative_to(path.parents[1]) for path in files if written.search(path.read_text())}
    assert found == {Path("gradtx/__init__.py")}


def test_the_newest_heading_of_the_changelog_is_this_version():
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == gradtx.__version__


def test_the_classifiers_name_the_pythons_that_the_readme_names():
    """Those on which the checks run; `requires-python` admits newer ones."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [x.rpartition(" :: ")[2] for x in project["classifiers"] if re.search(r":: 3\.\d+$", x)]
    assert project["requires-python"] == f">={named[0]}"
    assert f"Python {named[0]} to {named[-1]}" in (ROOT / "README.md").read_text()
    assert f"for version in {' '.join(reversed(named))}; do" in (ROOT / ".ci/run").read_text()
