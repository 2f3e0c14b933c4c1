"""The flags that the tests run under."""

import os
import subprocess
import sys

from tests.conftest import FAST_XLA, IS_FAST, accepts


def test_a_flag_that_xla_does_not_know_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert not accepts("--xla_no_such_flag=true")
    (verdict,) = tmp_path.iterdir()
    assert verdict.read_text() == "no"
    verdict.write_text("yes")  # read, not tried again
    assert accepts("--xla_no_such_flag=true")


def test_flags_are_on_once_where_they_are_on():
    assert os.environ.get("XLA_FLAGS", "").count(FAST_XLA) == IS_FAST


def test_what_is_measured_runs_with_the_default_flags_alone():
    def collected(**environment):
        run = [
            sys.executable,
            "-m",
            "pytest",
            "-n",
            "0",
            "--collect-only",
            "-q",
            "tests/wrappers/test_wrapper_costs.py",
        ]
        ours = {name: x for name, x in os.environ.items() if name not in ("XLA_FLAGS", "GRADTX_TESTS_DEFAULT_XLA")}
        return subprocess.run(run, env=ours | environment, capture_output=True, text=True).stdout

    assert ("deselected" in collected()) == accepts(FAST_XLA)
    assert "deselected" not in collected(GRADTX_TESTS_DEFAULT_XLA="1")
