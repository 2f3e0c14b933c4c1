"""What all measuring commands share: `--quick`, `--json PATH`, the refusal of a busy machine, tables on the screen."""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markdown import Markdown

from benchmarks import record, report

Rows = list[dict[str, Any]]
BUSY = 75  # the exit status where other work runs: what is tried again later may succeed


def parser(benchmark: str, text: str, **more: Any) -> argparse.ArgumentParser:
    out = argparse.ArgumentParser(prog=f"python -m benchmarks.{benchmark}", description=text, **more)
    out.add_argument("--quick", action="store_true", help="small and few rounds: for a look, not for a claim")
    out.add_argument("--json", metavar="PATH", type=Path, help="also write the figures to this file")
    return out


def check_writable(path: Path, arguments: argparse.ArgumentParser) -> None:
    """Before minutes are spent on numbers that can't be saved."""
    if path.is_dir():
        arguments.error(f"argument --json: {path} is a folder; give the path of a file")
    if not path.parent.is_dir():
        arguments.error(f"argument --json: there is no folder {path.parent}; create it first")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        arguments.error(f"argument --json: no permission to write {path}")


def without_path(words: Iterable[str]) -> list[str]:
    """The arguments that say what is measured: all but `--json` and its path."""
    kept: list[str] = []
    left = iter(words)
    for word in left:
        if word == "--json":
            next(left, None)
        elif not word.startswith("--json="):
            kept.append(word)
    return kept


def measured(
    benchmark: str,
    arguments: argparse.ArgumentParser,
    chosen: argparse.Namespace,
    rows: Callable[[], Rows],
    given: Sequence[str] | None,
) -> dict[str, Any]:
    """Rows with the record around them: on the screen, and in the file of `--json`."""
    if chosen.json:
        check_writable(chosen.json, arguments)
    found = record.begin(benchmark, without_path(sys.argv[1:] if given is None else given), chosen.quick)
    if chosen.json and record.is_for_pages(chosen.json) and (problem := record.refusal(found)):
        said = f"argument --json: {chosen.json} is for the pages, and nothing is measured for it: {problem}"
        if record.refusal(found | {"load": 0.0}) is None:
            arguments.exit(BUSY, f"{arguments.prog}: error: {said}\n")
        arguments.error(said)
    began = time.perf_counter()
    found["rows"] = rows()
    found["seconds"] = round(time.perf_counter() - began)
    console = Console()
    if not console.is_terminal:
        console.width = 160  # piped text has no width of its own
    for text in report.tables(found).values():
        console.print(Markdown(text))
    console.print(Markdown(report.measured([found])))
    if chosen.json:
        record.write(chosen.json, found)
    return found


def main(benchmark: str, text: str | None, rows: Callable[[bool], Rows], given: Sequence[str] | None = None) -> None:
    """A command without options of its own; `rows` is told whether to be quick."""
    arguments = parser(benchmark, (text or "").splitlines()[0])
    chosen = arguments.parse_args(given)
    measured(benchmark, arguments, chosen, lambda: rows(chosen.quick), given)
