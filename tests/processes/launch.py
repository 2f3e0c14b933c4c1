"""Several processes as one program, started and ended from a test."""

import contextlib
import json
import os
import random
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
DEVICES = "--xla_force_host_platform_device_count"
PORTS = range(20_000, 30_000)  # below those that systems give out, so that none is taken before it is used
TICK = 0.05  # seconds between two looks at the processes


class Launch:
    """The processes of one scenario."""

    def __init__(self, scenario, folder):
        self.scenario, self.folder, self.processes = scenario, folder, []

    def start(self, processes, devices):
        module = [sys.executable, "-m", "tests.processes.worker"]
        port, environment = free_port(), environment_with(devices)
        for rank in range(processes):
            command = [*module, self.scenario, self.folder, port, processes, rank]
            with self.path(rank, "log").open("wb") as log:
                process = subprocess.Popen(
                    [*map(str, command)],
                    cwd=ROOT,
                    env=environment,
                    stdin=subprocess.PIPE,  # which is closed when this process ends, whatever ends it
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            self.processes.append(process)

    def end(self):
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()
            process.stdin.close()

    def path(self, rank, kind):
        return self.folder / f"{self.scenario}.{rank}.{kind}"

    def found(self, rank):
        """What a process has written so far."""
        path = self.path(rank, "json")
        return json.loads(path.read_text()) if path.exists() else {}

    def wait_until(self, is_done, limit):
        """As soon as one of them fails, all have: the others would wait for it."""
        end = time.monotonic() + limit
        while not is_done():
            if failed := [rank for rank, process in enumerate(self.processes) if process.poll()]:
                raise AssertionError(f"{self.scenario}: process {failed[0]} failed\n{self.last_words()}")
            if time.monotonic() > end:
                raise AssertionError(f"{self.scenario}: not done after {limit} s\n{self.last_words()}")
            time.sleep(TICK)

    def reports(self, limit):
        """What they have found when all have ended."""
        self.wait_until(lambda: all(process.poll() == 0 for process in self.processes), limit)
        return [self.found(rank) for rank in range(len(self.processes))]

    def last_words(self):
        logs = [self.path(rank, "log").read_text(errors="replace") for rank in range(len(self.processes))]
        return "\n".join(f"-- {rank} --\n{log[-8000:]}" for rank, log in enumerate(logs))


@contextlib.contextmanager
def launched(scenario, folder, processes, devices=2):
    """The processes of a scenario, of which none is left at the end."""
    launch = Launch(scenario, folder)
    try:
        launch.start(processes, devices)
        yield launch
    finally:
        launch.end()


def environment_with(devices):
    """This process's own, its flags of XLA too, with another number of devices, and no proxy between processes."""
    direct = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    flags = re.sub(rf"{DEVICES}=\d+", "", direct.get("XLA_FLAGS", ""))
    return direct | dict(XLA_FLAGS=f"{flags} {DEVICES}={devices}", JAX_PLATFORMS="cpu")


def free_port():
    for port in random.sample(PORTS, 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")
