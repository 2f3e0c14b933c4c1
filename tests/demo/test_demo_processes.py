"""The demo on text over several processes, which end together."""

import contextlib
import os
import re
import signal
from pathlib import Path

import pytest

from tests.demo.commands import finish, start, wait_until

pytestmark = pytest.mark.slow

COMMAND = ["text", "--quick", "--only", "adamw"]


def workers_of(process):
    return [int(x) for x in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def is_gone(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"  # nobody has asked for it yet
    return True


def bits_of(out):
    found = re.search(r"^adamw +(\d+\.\d+) ", out, re.MULTILINE)
    assert found, out
    return float(found[1])


def test_two_processes_with_two_devices_come_to_what_one_comes_to(tmp_path):
    first = start(tmp_path / "one", *COMMAND, "--steps", "6")
    both = start(tmp_path / "two", *COMMAND, "--steps", "6", "--processes", "2", "--devices", "2")
    (alone, _), (together, _) = finish(first), finish(both)
    assert "on 4 cpu devices of 2 processes." in " ".join(together.split())
    assert bits_of(together) == pytest.approx(bits_of(alone), abs=2e-3)
    assert together.count("bits/byte") == 1  # one of them speaks
    assert (tmp_path / "two" / "text.png").exists()


@pytest.mark.parametrize("end", ["Ctrl-C", "kill -9 of a worker", "kill -9 of the command"])
def test_all_end_together_and_go_on(tmp_path, end):
    steps = 100 if end == "Ctrl-C" else 400  # Ctrl-C's run goes on to its end
    command = [*COMMAND, "--steps", str(steps), "--processes", "2"]
    process = start(tmp_path, *command)
    wait_until((tmp_path / "text" / "adamw" / str(steps // 10)).exists, process)
    workers = workers_of(process)
    assert len(workers) == 2
    if end == "Ctrl-C":
        process.send_signal(signal.SIGINT)
    else:
        os.kill(workers[1] if "worker" in end else process.pid, signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    wait_until(lambda: all(map(is_gone, workers)), None, 60)
    code, words = {
        "Ctrl-C": (130, "--resume goes on from the last checkpoint."),
        "kill -9 of a worker": (1, "process 1 of 2 has ended by signal 9; --resume goes on from the last checkpoint"),
        "kill -9 of the command": (-9, ""),
    }[end]
    assert process.returncode == code
    assert words in err
    if end == "Ctrl-C":
        out, err = finish(start(tmp_path, *command, "--resume"))
        assert "Steps: 100" in out
        assert re.search(r"^adamw goes on from step \d+ of 100\.$", err, re.MULTILINE)
