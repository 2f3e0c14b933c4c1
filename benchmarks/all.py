"""All benchmarks of the pages, one after the other, and the pages anew: `python -m benchmarks.all`.

It takes under 15 minutes on two cores without other work. Each benchmark waits until the machine is idle, and runs in a
process of its own; one that fails or takes too long leaves its figures as they were, and the others go on.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import record, report
from benchmarks.run import BUSY
from benchmarks.tables import NAMES, OTHERS

ON_CPUS = tuple(name for name in NAMES if name not in OTHERS)
LONGEST = 600  # seconds of one benchmark
TRIES = 3  # of one that found other work when it began, though there was none just before


def wait(minutes: float) -> float:
    """Until the machine is idle, or so long; the last load."""
    end = time.monotonic() + 60 * minutes
    while (load := record.load()) > record.MAX_LOAD and time.monotonic() < end:
        print(f"  {load:.2f} other tasks run, expected at most {record.MAX_LOAD}: waiting", flush=True)
        time.sleep(10)
    return load


def measure(name: str, folder: Path, quick: bool, minutes: float) -> str | None:
    """Runs one benchmark; says why it has no figures, if it has none."""
    command = [sys.executable, "-m", f"benchmarks.{name}", *["--quick"] * quick, "--json", str(folder / f"{name}.json")]
    for _ in range(TRIES):
        if not quick and (load := wait(minutes)) > record.MAX_LOAD:
            return f"{load:.2f} other tasks run after {minutes:g} minutes of waiting: end them, or give a longer --wait"
        try:
            code = subprocess.run(command, timeout=LONGEST, cwd=report.ROOT, check=False).returncode
        except subprocess.TimeoutExpired:
            return f"it took more than {LONGEST} seconds"
        if code != BUSY:
            break
    return f"it ended with code {code}; its error stands above" if code else None


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.all", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small and few rounds; writes nothing, on no page either")
    parser.add_argument("--only", metavar="NAME", action="append", choices=ON_CPUS, help=f"of {', '.join(ON_CPUS)}")
    parser.add_argument("--wait", metavar="MINUTES", type=float, default=5.0, help="for an idle machine, before each")
    chosen = parser.parse_args(given)
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    failed: dict[str, str] = {}
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        for name in chosen.only or ON_CPUS:
            start = time.monotonic()
            print(f"== {name}", flush=True)
            folder = Path(temporary) if chosen.quick else record.RESULTS
            if problem := measure(name, folder, chosen.quick, chosen.wait):
                failed[name] = problem
                print(f"  {problem}", flush=True)
            print(f"  {time.monotonic() - start:.0f} s", flush=True)
    print(f"== all: {time.monotonic() - began:.0f} s", flush=True)
    if not chosen.quick:
        report.main([])
    if failed:
        raise SystemExit("\n".join(f"{name} has no new figures: {problem}" for name, problem in failed.items()))


if __name__ == "__main__":
    main()
