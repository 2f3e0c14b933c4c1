"""The tables of the pages, from the figures in benchmarks/results: `python -m benchmarks.report`, or with `--check`.

A table stands between `<!-- benchmarks: NAME -->` and `<!-- end -->`. Nothing between them is written by hand.
"""

import argparse
import datetime
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from textwrap import fill

from benchmarks.record import read
from benchmarks.tables import BLOCKS, IN_README, NAMES, OTHERS, Record, in_readme

ROOT = Path(__file__).parent.parent
MARKED = re.compile(r"(<!-- benchmarks: (\w+) -->\n)((?:(?!<!-- benchmarks:).)*?)(<!-- end -->)", re.DOTALL)


# ---- what stands below a table ----


def condition(record: Record) -> str:
    """Where, when and with what; the same for all that was measured in one go."""
    machine, used = record["machine"], record["versions"]
    day = datetime.date.fromisoformat(record["date"])
    names = {"Python": "Python", "jax": "JAX", "optax": "Optax", "torch": "torch"}
    with_what = [f"{title} {used[name]}" for name, title in names.items() if name in used]
    where = f"on {machine['cores']} cores ({machine['CPU']})"
    where += f", JAX on {on}" if (on := machine["JAX runs on"]) != "cpu" else ""
    return f"on {day.day} {day:%B %Y} {where}, with {', '.join(with_what)}"


def measured(records: Iterable[Record]) -> str:
    """One sentence for each machine and day."""
    together: dict[str, list[Record]] = {}
    for record in records:
        together.setdefault(condition(record), []).append(record)
    lines: list[str] = []
    for where, own in together.items():
        loads = [record["load"] for record in own if record["load"] is not None]
        load = f"; load when it began: {max(loads):.2f}" if loads else ""
        commands = ", ".join(f"`{record['command']}`" for record in own)
        notes = "".join(f" {note}" for note in dict.fromkeys(r["note"] for r in own if "note" in r))
        text = f"Measured {where}, by {commands}{load}.{notes}"
        lines.append(fill(text, 120, break_long_words=False, break_on_hyphens=False))
    return "\n\n".join(lines)


# ---- blocks ----


def tables(record: Record) -> dict[str, str]:
    """All tables of one benchmark."""
    own = {name: render for name, (benchmark, render) in BLOCKS.items() if benchmark == record["benchmark"]}
    return {name: f"{render(record['rows'])}\n" for name, render in own.items()}


def absent(*benchmarks: str) -> str:
    """What stands in the place of tables, with the command that measures them."""
    own = dict.fromkeys(name if name in OTHERS else "all" for name in benchmarks)
    commands = ", ".join(f"`python -m benchmarks.{name}`" for name in own)
    return f"Not measured yet on a machine without other work: {', '.join(benchmarks)} ({commands}).\n"


def blocks() -> dict[str, str]:
    """Of every name that a page may have, what stands there; below the first of a benchmark, how it was measured."""
    records = {name: read(name) for name in NAMES}
    found: dict[str, str] = {}
    for benchmark, record in records.items():
        if record:
            own = tables(record)
            found |= own | {(first := next(iter(own))): f"{own[first]}\n{measured([record])}\n"}
        else:
            names = [name for name, (own, _) in BLOCKS.items() if own == benchmark]
            found |= dict.fromkeys(names, absent(benchmark))
    there = {name: record for name in IN_README if (record := records[name])}
    missing = [name for name in IN_README if name not in there]
    text = in_readme({name: record["rows"] for name, record in there.items()})
    lines = [f"{text}\n", f"{measured(there.values())}\n"] if there else []
    found["readme"] = "\n".join([*lines, absent(*missing)] if missing else lines)
    return found


# ---- pages ----


def pages() -> list[Path]:
    every = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    return [path for path in every if "<!-- benchmarks:" in path.read_text()]


def with_blocks(page: str, found: dict[str, str]) -> str:
    """The page with these tables between their marks."""

    def replaced(match: re.Match[str]) -> str:
        start, name, _, end = match.groups()
        if name not in found:
            raise ValueError(f"benchmarks.report: a page asks for {name!r}, expected one of {', '.join(sorted(found))}")
        return f"{start}\n{found[name]}\n{end}"

    out, n = MARKED.subn(replaced, page)
    if (marks := page.count("<!-- benchmarks:")) != n:
        raise ValueError(f"benchmarks.report: a page has {marks} marks of tables, and {n} end with <!-- end -->")
    return out


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--check", action="store_true", help="write nothing; an error where a page is not as it would be"
    )
    check = parser.parse_args(given).check
    try:
        found = blocks()
        written = {path: with_blocks(path.read_text(), found) for path in pages()}
    except ValueError as error:
        raise SystemExit(str(error)) from None
    stale = {path: text for path, text in written.items() if text != path.read_text()}
    names = ", ".join(str(path.relative_to(ROOT)) for path in stale)
    if check and stale:
        raise SystemExit(f"not what benchmarks/results says: {names}; call python -m benchmarks.report")
    for path, text in stale.items():
        path.write_text(text)
    print(f"written: {names}" if stale else "every page is as benchmarks/results says")


if __name__ == "__main__":
    main()
