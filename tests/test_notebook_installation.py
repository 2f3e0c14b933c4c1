"""The first cell of the notebooks: from where it installs gradtx, and that it never asks for the bare name."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import gradtx
from tests.test_notebooks import PATHS, ROOT, cells, text

FIRST = text(cells(PATHS[0], "code")[0])
OTHERS = ["equinox", "flax>=0.12", "matplotlib>=3.10", "scikit-learn"]
# Writes down what it is asked for, and leaves what the cell's last line looks up.
PIP = """
import sys
from pathlib import Path

here = Path(__file__).parent
(here / "asked").write_text("\\n".join(sys.argv[1:]))
for name in ("gradtx", "jax", "optax", "flax", "matplotlib"):
    (here / f"{name}-3.1.dist-info").mkdir()
    (here / f"{name}-3.1.dist-info" / "METADATA").write_text(f"Name: {name}\\nVersion: 3.1\\n")
"""


class Reader:
    """A Python without packages, whose pip is a stub, in the folder of a notebook."""

    def __init__(self, root):
        self.packages, self.folder = root / "packages", root / "somewhere" / "notebooks"
        self.packages.mkdir()
        self.folder.mkdir(parents=True)
        (self.packages / "pip.py").write_text(PIP)

    def have(self, *modules):
        for module in modules:
            (self.packages / f"{module}.py").touch()

    def run(self, **environment):
        """What the cell asks pip for, and what it says where it stops."""
        ours = {name: x for name, x in os.environ.items() if name != "GRADTX_SOURCE"}
        env = ours | {"PYTHONPATH": str(self.packages)} | environment
        command = [sys.executable, "-S", "-c", FIRST]
        done = subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True, timeout=60)
        asked = self.packages / "asked"
        if not asked.exists():
            return None, done.stderr
        assert done.returncode == 0, done.stderr
        assert "gradtx 3.1, jax 3.1" in done.stdout
        command, quiet, *requirements = asked.read_text().split("\n")
        assert (command, quiet) == ("install", "-q")
        return requirements, done.stderr


@pytest.fixture
def reader(tmp_path):
    return Reader(tmp_path)


def test_gradtx_comes_from_the_clone_that_the_notebook_is_part_of(reader):
    package = reader.folder.parent / "gradtx"
    package.mkdir()
    (package / "__init__.py").touch()
    (reader.folder / "gradtx-0.2.0-py3-none-any.whl").touch()
    assert reader.run() == ([*OTHERS, str(reader.folder.parent)], "")


def test_gradtx_comes_from_the_newest_wheel_beside_the_notebook(reader):
    for age, number in enumerate(("0.10.0", "0.9.0")):
        wheel = reader.folder / f"gradtx-{number}-py3-none-any.whl"
        wheel.touch()
        os.utime(wheel, (1e9 - age, 1e9 - age))
    (reader.folder.parent / "pyproject.toml").touch()  # of the reader's own project
    assert reader.run() == ([*OTHERS, str(reader.folder / "gradtx-0.10.0-py3-none-any.whl")], "")


def test_gradtx_comes_from_the_path_or_the_address_that_the_reader_sets(reader):
    (reader.folder / "gradtx").mkdir()  # named as the package is, and still a path
    assert reader.run(GRADTX_SOURCE="gradtx") == ([*OTHERS, str(reader.folder / "gradtx")], "")


def test_an_address_is_handed_on_as_it_is(reader):
    address = "git+https://example.org/gradtx.git"
    assert reader.run(GRADTX_SOURCE=address) == ([*OTHERS, address], "")


@pytest.mark.parametrize(
    ("source", "start"),
    [
        (None, "gradtx is not installed, this notebook is in no clone of it, and beside it is no wheel, gradtx-*.whl."),
        ("gradtx", "GRADTX_SOURCE is 'gradtx', where nothing is. gradtx is not installed,"),
    ],
)
def test_where_there_is_no_source_the_cell_says_what_to_set_and_stops(reader, source, start):
    (reader.folder.parent / "pyproject.toml").touch()  # of the reader's own project
    asked, error = reader.run(**({"GRADTX_SOURCE": source} if source else {}))
    assert asked is None
    assert error.splitlines()[-1].startswith(f"ModuleNotFoundError: {start}")
    assert "for example `%env GRADTX_SOURCE=/path/to/the/clone`, and run this cell again." in error


def test_what_is_there_is_left_alone(reader):
    reader.have("gradtx", "flax", "matplotlib", "sklearn")
    assert reader.run() == (["equinox"], "")


def test_a_pip_that_fails_stops_the_notebook(reader):
    (reader.folder / "gradtx-0.2.0-py3-none-any.whl").touch()
    (reader.packages / "pip.py").write_text("raise SystemExit(1)")
    asked, error = reader.run()
    assert asked is None
    assert "CalledProcessError" in error


def test_the_cell_asks_for_what_the_extra_of_the_notebooks_brings():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    brought = [x for extra in ("notebooks", "demo", "plot") for x in extras[extra]]
    assert {*OTHERS} <= {*brought}
    assert {*brought} - {*OTHERS} == {"gradtx[demo]", "gradtx[plot]", "jupyterlab", "orbax-checkpoint", "rich"}


BARE = re.compile(r"install\b.*[\"'` ]gradtx(\[|[\"'` ]|$)", re.MULTILINE)


def test_no_text_of_the_project_installs_by_the_bare_name():
    """Nobody has registered the name, so whoever does would have their code run by our readers."""
    assert BARE.search("pip install -q 'gradtx[plot]'")
    pages = {path: path.read_text() for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]}
    modules = {path: path.read_text() for path in Path(str(gradtx.__file__)).parent.rglob("*.py")}
    notebooks = {path: "\n".join(map(text, json.loads(path.read_text())["cells"])) for path in PATHS}
    assert len(pages) > 20
    assert len(modules) > 200
    assert [path.name for path, x in (pages | modules | notebooks).items() if BARE.search(x)] == []
