"""What an editor says of a user's file: nothing of an ordinary training loop, and each of the usual mistakes."""

import importlib.util
import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

FILES = Path(__file__).parent / "typing"


@pytest.fixture(scope="module")
def found():
    """The lines that pyright reports in each file, in its strict mode."""
    if importlib.util.find_spec("pyright") is None:
        pytest.skip("pyright is not installed; it comes with gradtx[dev]")
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "-p", str(FILES)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode in (0, 1), done.stderr
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] == len(list(FILES.glob("*.py")))
    lines = {path.name: set() for path in FILES.glob("*.py")}
    for row in report["generalDiagnostics"]:
        lines[Path(row["file"]).name].add((row["range"]["start"]["line"] + 1, row["message"].splitlines()[0]))
    return lines


@pytest.mark.slow
def test_a_type_checker_finds_nothing_in_a_training_loop(found):
    assert not found["loop.py"]


@pytest.mark.slow
def test_a_type_checker_finds_each_mistake_and_nothing_else(found):
    text = (FILES / "mistakes.py").read_text().splitlines()
    marked = {number for number, line in enumerate(text, 1) if "# mistake: " in line}
    assert len(marked) > 20
    assert {number for number, _ in found["mistakes.py"]} == marked, found["mistakes.py"]


def test_the_training_loop_runs(capsys):
    runpy.run_path(str(FILES / "loop.py"), run_name="__main__")
    assert "only(tx=lion(learning_rate=0.001)" in capsys.readouterr().out
