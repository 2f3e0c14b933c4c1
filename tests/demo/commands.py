"""The demo as a command in a process of its own, which a test may end."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.processes.launch import ROOT, environment_with


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "gradtx.demo", *arguments, "--out", str(folder)]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment_with(1), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_until(is_done: Callable[[], bool], process: subprocess.Popen[str] | None = None, limit: float = 300) -> None:
    """While the process runs, if one is given: it must not end before."""
    end = time.monotonic() + limit
    while not is_done():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


def finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out, err
