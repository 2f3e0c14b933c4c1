"""What is written of a measurement: the machine, how busy it was, versions, the date, the command, and rows of figures.

Figures for the pages lie in `benchmarks/results/`. What was measured beside other work is neither written there nor
rendered.
"""

import datetime
import importlib.metadata
import json
import os
import platform
import re
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

RESULTS = Path(__file__).parent / "results"
MAX_LOAD = 1.0
Figure = dict[str, float]


# ---- figures ----


def significant(x: float) -> float:
    return float(f"{x:.5g}")


def figure(values: Iterable[float]) -> Figure:
    """The median of rounds with its quartiles, and how many rounds there were."""
    found = np.array([*values], float)
    low, median, high = (significant(x) for x in np.percentile(found, [25, 50, 75]))
    return {"median": median, "low": low, "high": high, "rounds": len(found)}


def pair(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, Figure]:
    """Both, and what Optax takes by what gradtx takes, round by round."""
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    return {"gradtx": figure(ours), "Optax": figure(theirs), "ratio": figure(ratios)}


# ---- the machine ----


def load(seconds: float = 3.0) -> float:
    """How many tasks of others run or wait to, on average over some seconds of rest.

    The load average still counts what ended a minute ago, the benchmark before among it. It stands in where the system
    does not say how many tasks run.
    """
    now = Path("/proc/loadavg")
    if not now.exists():
        return round(os.getloadavg()[0], 2)
    running: list[int] = []
    for _ in range(round(seconds / 0.05)):
        time.sleep(0.05)
        running.append(int(now.read_text().split()[3].partition("/")[0]) - 1)  # without this program
    return round(sum(running) / len(running), 2)


def cpu() -> str:
    info = Path("/proc/cpuinfo")  # Linux; elsewhere Python knows it
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return re.sub(r"\((R|TM)\)", "", name)


def versions() -> dict[str, str]:
    found = {"Python": platform.python_version()}
    for name in ("gradtx", "jax", "jaxlib", "optax", "torch"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def begin(benchmark: str, arguments: Sequence[str], quick: bool) -> dict[str, Any]:
    """A record without its rows."""
    return {
        "benchmark": benchmark,
        "command": " ".join([f"python -m benchmarks.{benchmark}", *arguments]),
        "date": datetime.date.today().isoformat(),
        "quick": quick,
        "load": load(0.5 if quick else 3.0),
        "machine": {"CPU": cpu(), "cores": os.cpu_count(), "JAX runs on": jax.devices()[0].device_kind},
        "versions": versions(),
    }


# ---- which records count ----


def refusal(record: dict[str, Any]) -> str | None:
    """Why the pages can't have the figures of this record, and what to do; None where they can."""
    again = f"end what else runs, then call python -m benchmarks.all --only {record['benchmark']}"
    if record["quick"]:
        return f"it was measured with --quick, which is for a look: {again}"
    if record["command"] != f"python -m benchmarks.{record['benchmark']}":
        return f"its command, {record['command']}, measures a part of what the pages have: {again}"
    if record["load"] is None and "note" not in record:
        return f"its load is not recorded: {again}"
    if record["load"] is not None and record["load"] > MAX_LOAD:
        return f"it was measured at a load of {record['load']:.2f}, expected at most {MAX_LOAD} at the start: {again}"
    return None


def is_for_pages(path: Path) -> bool:
    return RESULTS.resolve() in path.resolve().parents


def write(path: Path, record: dict[str, Any]) -> None:
    """Whole or not at all, so that a run that is ended leaves the figures before it."""
    whole = path.with_suffix(".new")
    whole.write_text(json.dumps(record, indent=1) + "\n")
    whole.replace(path)


def read(benchmark: str) -> dict[str, Any] | None:
    """The record that the pages have of a benchmark; None where there is none yet."""
    path = RESULTS / f"{benchmark}.json"
    if not path.exists():
        return None
    record = json.loads(path.read_text())
    if problem := refusal(record):
        raise ValueError(f"benchmarks.report: {path.name} is refused, since {problem}")
    return record
