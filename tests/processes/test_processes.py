"""Training over 2 and 4 real processes, whose checkpoints are read by others: to the numbers of one device."""

import fcntl
import json
import os
import signal

import jax
import numpy as np
import pytest

pytest.importorskip("orbax.checkpoint")

from gradtx.devices.offload import has_host
from tests.processes.launch import launched
from tests.processes.problem import SAVED, STEPS, on_one_device
from tests.processes.ways import WAYS

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("float32")]
LIMIT = 150  # seconds, for processes that take 15 where nothing else runs
FROM = [f"{name} {n}" for name in ("state", "flat") for n in SAVED]


def killed_in_the_middle(folder):
    """One process ends by SIGKILL some steps after the last checkpoint, and takes the others with it."""
    with launched("until_killed", folder, 4) as launch:
        launch.wait_until(lambda: launch.found(1).get("steps", 0) > SAVED[-1] + 1, LIMIT)
        launch.processes[1].send_signal(signal.SIGKILL)
        killed = launch.processes[1].wait()
    return [dict(killed=killed, ended=[process.returncode for process in launch.processes])]


def run_to_the_end(scenario, processes):
    def run(folder):
        with launched(scenario, folder, processes) as launch:
            return launch.reports(LIMIT)

    return run


RUNS = {
    "on_four": run_to_the_end("on_four", 4),
    "on_two": run_to_the_end("on_two", 2),  # goes on from what `on_four` saves
    "until_killed": killed_in_the_middle,
    "resumed": run_to_the_end("resumed", 4),  # goes on from what both save
}
NEEDS = {"on_two": ["on_four"], "resumed": ["on_four", "until_killed"]}


@pytest.fixture(scope="session")
def reports(tmp_path_factory):
    """What the processes of a run have found, by rank. Each run takes place once, whatever number of workers tests
    have, and no two at the same time.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "processes"
    folder.mkdir(exist_ok=True)

    def once(name):
        path = folder / f"{name}.reports.json"
        if not path.exists():
            for needed in NEEDS.get(name, []):
                once(needed)
            try:
                found = dict(reports=RUNS[name](folder))
            except AssertionError as error:
                found = dict(problem=str(error))
            path.write_text(json.dumps(found))
        found = json.loads(path.read_text())
        assert "problem" not in found, found["problem"]
        return found["reports"]

    def reports_of(name):
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return once(name)

    return reports_of


def assert_as_on_one_device(end):
    for x, y in zip(end["leaves"], jax.tree.leaves(on_one_device()), strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=1e-6)


def the_same_on_all(reports):
    """What all processes report, who have to agree."""
    for own in reports[1:]:
        assert own == reports[0]
    return reports[0]


def test_the_norm_is_clipped():
    assert on_one_device()[1][0].norm > 0.5


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize(("run", "along_data", "together"), [("on_four", 8, 8), ("on_two", 2, 4)])
def test_equals_one_device(reports, run, along_data, together, name):
    end = the_same_on_all(reports(run))["ways"][name]
    assert_as_on_one_device(end)
    assert end["programs"] in (1, None)
    spread_over = {"data_parallel": 1, "fsdp": together, "fsdp_compiled": together, "eager": together}
    for layout in (end["fresh"], end["layout"]):
        assert layout["share"] == 1 / spread_over.get(name, along_data)
        assert (layout["memory"] == ["pinned_host"]) is (name == "offloaded" and has_host())


@pytest.mark.parametrize("start", FROM)
@pytest.mark.parametrize("way", ["fsdp", "zero"])
def test_saved_on_four_and_resumed_on_two(reports, way, start):
    saved = the_same_on_all(reports("on_four"))["saved"]
    resumed = the_same_on_all(reports("on_two"))["resumed"][way]["runs"][start]
    assert resumed["start"] == saved["digests"][start.split()[1]]
    assert_as_on_one_device(resumed["end"])
    assert resumed["end"]["programs"] == 1


@pytest.mark.parametrize("start", FROM)
def test_resumed_on_the_same_mesh(reports, start):
    saved = the_same_on_all(reports("on_four"))["saved"]
    resumed = the_same_on_all(reports("resumed"))["saved"]["runs"][start]
    assert resumed["start"] == saved["digests"][start.split()[1]]
    assert resumed["end"]["digest"] == saved["end"]["digest"]


@pytest.mark.parametrize("start", FROM)
def test_resumed_after_a_process_was_killed(reports, start):
    (ended,) = reports("until_killed")
    assert ended["killed"] == -signal.SIGKILL
    assert not {0, None} & set(ended["ended"])
    resumed = the_same_on_all(reports("resumed"))["interrupted"]
    assert resumed["latest"] == SAVED[-1] < STEPS
    undisturbed = the_same_on_all(reports("on_four"))["ways"]["zero"]
    assert resumed["runs"][start]["end"]["digest"] == undisturbed["digest"]
