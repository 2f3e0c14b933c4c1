"""What is printed: the machine, and a table per tree and optimizer."""

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich import box
from rich.table import Table

from benchmarks.cases import LIBRARIES
from benchmarks.measure import Result, Seconds

RATIO = "Optax/gradtx"
LEGEND = """\
Times are medians. Optax/gradtx is the median of the ratios of the rounds, with their quartiles:
where it is above 1, gradtx is faster. The libraries take turns in one process; a run ends with an
error where they don't change the parameters alike.
  trace, lower, compile  of the step below, from empty caches
  eager update           tx.update outside jit
  step                   an update and its application; JAX: compiled, with donated state and
                         parameters; torch: in place, clipping included
  share of the copy      the bytes that a step must move at the least, over its time, in percent of
                         the bandwidth of x + 1 on a large array in place, the fastest of its round
  temporary, accessed    bytes per parameter by XLA's analysis of the compiled step
"""


def machine(torch: Any) -> dict[str, str]:
    device = jax.devices()[0]
    versions = {name: importlib.metadata.version(name) for name in ("gradtx", "jax", "jaxlib", "optax")}
    absent = "not installed" if device.platform == "cpu" else "compared on CPUs only"
    return {
        "CPU": f"{cpu()}, {os.cpu_count()} cores",
        "JAX runs on": device.device_kind,
        "load average": loads(),
        "Python": platform.python_version(),
        **versions,
        "torch": f"{torch.__version__}, {torch.get_num_threads()} threads" if torch else f"left out: {absent}",
    }


def opening(facts: dict[str, str], counts: dict[str, dict[str, int]]) -> str:
    lines = [f"{name:14}{fact}" for name, fact in facts.items()]
    lines += ["", "Compilations that a second learning rate costs:"] if counts else []
    lines += [f"  {name:12}" + ", ".join(f"{way} {n}" for way, n in ways.items()) for name, ways in counts.items()]
    return "\n".join([*lines, "", LEGEND])


def cpu() -> str:
    info = Path("/proc/cpuinfo")  # Linux; elsewhere Python knows it
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def loads() -> str:
    return " ".join(f"{load:.2f}" for load in os.getloadavg()) + " (1, 5, 15 minutes)"


def table(result: Result) -> Table:
    names = list(result.step)
    columns = [*names[:2], RATIO, *names[2:]] if "Optax" in names else names
    out = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    out.add_column("")
    for name in columns:
        out.add_column(name.replace(" ", "\n"), justify="right", no_wrap=True, vertical="bottom")

    def add(label: str, values: dict[str, str]) -> None:
        out.add_row(label, *(values.get(name, "" if name == RATIO else "-") for name in columns))

    for name in ("trace", "lower", "compile", "eager", "step"):
        seconds: Seconds = getattr(result, name)
        label = {"eager": "eager update"}.get(name, name) + ", ms"
        ratios = {RATIO: ratio(seconds)} if "Optax" in seconds else {}
        add(label, {key: digits(1e3 * np.median(value)) for key, value in seconds.items()} | ratios)
    add("share of the copy, %", {name: digits(100 * np.median(result.shares(name))) for name in names})
    add("temporary, bytes", {name: f"{value:.1f}" for name, value in result.temporary.items()})
    add("accessed, bytes", {name: f"{value:.1f}" for name, value in result.accessed.items()})
    return out


def traffic(result: Result) -> str:
    low, median, high = np.percentile(result.bandwidth, [25, 50, 75]) / 1e9
    copy = f"{median:.1f} GB/s [{low:.1f}, {high:.1f}]"
    return f"A step moves at least {result.traffic} bytes per parameter; the copy ran at {copy}.\n"


def ratio(seconds: Seconds) -> str:
    ours, theirs = (np.array(seconds[name]) for name in LIBRARIES)
    low, median, high = np.percentile(theirs / ours, [25, 50, 75])
    if len(ours) < 3:
        return f"{median:.2f}"
    return f"{median:.2f} [{low:.2f}, {high:.2f}]"


def digits(x: Any) -> str:
    """Three significant digits, and every digit before the point."""
    return f"{x:,.0f}" if x >= 100 else f"{x:#.3g}"
