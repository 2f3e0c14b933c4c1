"""Devices that are made of the processor, and several processes on this machine that train as one."""

import contextlib
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

import jax

PORTS = range(20_000, 30_000)  # below those that systems give out, so that none is taken before it is used


def make_devices(count: int) -> bool:
    """So many devices of the processor for this process, if its backend has not started with fewer."""
    try:
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError:
        return jax.local_device_count() >= count
    return True


def port_of_none() -> int:
    for port in random.sample(PORTS, 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no port from 20000 to 29999 is free")


def start_workers(arguments: Sequence[str], count: int) -> list[subprocess.Popen]:
    """The same command in so many processes, of which the first one speaks. None of them outlives this one."""
    direct = {name: x for name, x in os.environ.items() if not name.lower().endswith("_proxy")}
    port, quiet = port_of_none(), subprocess.DEVNULL
    return [
        subprocess.Popen(
            [sys.executable, "-m", "gradtx.demo.worker", str(port), str(count), str(rank), *arguments],
            env=direct,
            stdin=subprocess.PIPE,  # closed when this process ends, whatever ends it
            stdout=quiet if rank else None,
            process_group=0,  # Ctrl-C is for this process, which ends them
        )
        for rank in range(count)
    ]


def run_workers(arguments: Sequence[str], count: int) -> None:
    """Until all have ended. When one fails, all do: the others would wait for it."""
    workers = start_workers(arguments, count)
    try:
        while any(worker.poll() is None for worker in workers):
            if any(worker.poll() for worker in workers):
                break
            time.sleep(0.05)
    finally:
        failed = {rank: code for rank, worker in enumerate(workers) if (code := worker.poll())}
        for worker in workers:
            worker.kill()
            worker.wait()
    if failed:
        rank, code = min(failed.items(), key=lambda item: item[1] > 0)  # others fail for one that a signal has ended
        way = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        remedy = "its error stands above" if code == 2 else "--resume goes on from the last checkpoint"
        sys.exit(f"process {rank} of {count} has ended {way}; {remedy}")
