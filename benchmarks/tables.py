"""Rows of figures as tables of Markdown, one function for each table.

Under "Optax ÷ gradtx" a ratio above 1 says that gradtx is faster. Other ratios are of what the head of their column
names.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

Record = dict[str, Any]
Rows = list[dict[str, Any]]
RATIO = "Optax ÷ gradtx"
SHORT = {"clip-adamw": "clipped AdamW", "adam": "Adam"}
ONE_LOOP = "gradtx, one loop"
SPACE = "\N{NO-BREAK SPACE}"
CLOSURE = "Optax, a closure"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> str:
    """The first columns hold words, the others numbers."""
    lines = [head, ["---"] * words + ["--:"] * (len(head) - words), *rows]
    return "\n".join(f"| {' | '.join(line)} |".replace("|  |", "| |") for line in lines)


def digits(x: float) -> str:
    """Three significant digits, and every digit before the point."""
    return f"{x:,.0f}" if x >= 100 else f"{x:#.3g}".removesuffix(".")


def duration(figure: dict[str, float] | None) -> str:
    if figure is None:
        return ""
    x = figure["median"]
    for unit, scale in (("s", 1.0), ("ms", 1e-3)):
        if x >= scale:
            return f"{digits(x / scale)}{SPACE}{unit}"
    return f"{digits(x / 1e-6)}{SPACE}µs"


def ratio(figure: dict[str, float] | None) -> str:
    """The median of rounds with their quartiles, where there are as many as these need."""
    if figure is None:
        return ""
    places = 2 if figure["median"] < 10 else 1
    median, low, high = (f"{figure[name]:.{places}f}" for name in ("median", "low", "high"))
    return median if figure["rounds"] < 3 else f"{median} [{low}, {high}]"


def percent(figure: dict[str, float] | None) -> str:
    return "" if figure is None else f"{100 * figure['median']:.0f} %"


def compared(title: str, pair: dict[str, Any]) -> list[str]:
    """A row of both libraries."""
    return [title, duration(pair["gradtx"]), duration(pair.get("Optax")) or "no peer", ratio(pair.get("ratio"))]


# ---- a step ----


def cases(rows: Rows) -> Rows:
    return [row for row in rows if "tree" in row]


def tree(row: dict[str, Any]) -> str:
    n = row["parameters"]
    size = f"{n / 1e6:.0f} million" if n >= 2e6 else f"{n:,}"
    arrays = f"{row['arrays']:,} arrays" if row["arrays"] > 1 else "1 array"
    return f"{size} in {arrays}{' (GPT-2)' if row['tree'] == 'gpt2' else ''}"


def case(row: dict[str, Any]) -> list[str]:
    return [SHORT.get(row["optimizer"]) or row["title"], tree(row)]


def fastest_torch(row: dict[str, Any]) -> str:
    found = [name for name in row["step"] if name.startswith("torch")]
    return min(found, key=lambda name: row["step"][name]["median"]) if found else ""


def without_empty(head: list[str], lines: list[list[str]], words: int = 1) -> str:
    """The table without the columns in which nothing stands: torch's, where it is not installed."""
    kept = [i for i in range(len(head)) if i == 0 or any(line[i] for line in lines)]
    return table([head[i] for i in kept], [[line[i] for i in kept] for line in lines], words)


def steps(rows: Rows) -> str:
    head = ["optimizer", "parameters", "gradtx", "one loop", "Optax", RATIO, "Optax ÷ one loop"]
    head += ["torch", "torch ÷ gradtx"]
    lines: list[list[str]] = []
    for row in cases(rows):
        times, by, torch = row["step"], row["by gradtx"]["step"], fastest_torch(row)
        cells = [duration(times.get(name)) for name in ("gradtx", ONE_LOOP, "Optax")]
        cells += [ratio(by.get("Optax")), ratio((row["one loop"] or {}).get("ratio"))]
        lines.append([*case(row), *cells, duration(times.get(torch)), ratio(by.get(torch))])
    return without_empty(head, lines, 2)


def limits(rows: Rows) -> str:
    """The bytes of a step, and at which share of a copy's rate the least of them would have moved."""
    head = ["optimizer", "parameters", "least bytes", "gradtx", "one loop", "Optax"]
    head += ["of the copy: gradtx", "one loop", "Optax", "torch"]
    lines: list[list[str]] = []
    for row in cases(rows):
        found, share = row["accessed"], row["share"]
        names = ("gradtx", ONE_LOOP, "Optax")
        cells = [f"{found[name]:.0f}" if name in found else "" for name in names]
        cells += [percent(share.get(name)) for name in (*names, fastest_torch(row))]
        lines.append([*case(row), str(row["least"]), *cells])
    text = without_empty(head, lines, 2)
    rates = [row["bytes per second"]["median"] / 1e9 for row in cases(rows)]
    return f"{text}\n\nThe copy ran at {min(rates):.1f} to {max(rates):.1f} GB/s." if rates else text


def outside(rows: Rows) -> str:
    head = ["optimizer", "parameters", "what", "gradtx", "Optax", RATIO]
    what = {"eager": "`update` outside `jit`", "trace": "trace", "lower": "lower", "compile": "compile"}
    lines = [
        [*case(row), title, *compared("", {**row[kind], "ratio": row["by gradtx"][kind].get("Optax")})[1:]]
        for kind, title in what.items()
        for row in cases(rows)
    ]
    return table(head, lines, 3)


def compilations(rows: Rows) -> str:
    (counts,) = [row["compilations"] for row in rows if "compilations" in row] or [{}]
    ways = list(dict.fromkeys(way for own in counts.values() for way in own))
    return table(
        ["", *counts], [[way, *(str(own.get(way, "not possible")) for own in counts.values())] for way in ways]
    )


# ---- matrices, wrappers, devices, calls ----


def matrices(rows: Rows) -> str:
    lines: list[list[str]] = []
    for row in rows:
        name, peer = row["title"], "Optax" in row["step"]
        lines.append(compared(f"{name} on {row['matrices']}: a step", row["step"]))
        lines.append(compared(f"{name}: trace, lower and compile", row["start"]))
        dots, held = (list(row[kind].values()) for kind in ("dots", "temporary"))
        lines.append([f"{name}: products in the program", *map(str, dots), *[""] * (3 - len(dots))])
        by = f"{held[1] / held[0]:.2f}" if peer else ""
        lines.append([f"{name}: temporaries", *(f"{x / 1e6:,.0f} MB" for x in held), *[""] * (2 - len(held)), by])
        shares = [percent(x) for x in row["share"].values()]
        lines.append([f"{name}: share of the rate of `jnp.dot`", *shares, *[""] * (3 - len(shares))])
    return table(["", "gradtx", "Optax", RATIO], lines)


def overhead(rows: Rows) -> str:
    return table(["", "gradtx", "Optax", RATIO], [compared(row["title"], row) for row in rows])


def accumulation(rows: Rows) -> str:
    head = ["", "gradtx", "`optax.MultiSteps`", RATIO, "least bytes", "of the copy: gradtx", "Optax"]
    shares = [[str(row["least"]), *map(percent, row["share"].values())] for row in rows]
    return table(head, [[*compared(row["title"], row), *own] for row, own in zip(rows, shares, strict=True)])


def zero(rows: Rows) -> str:
    head = ["", "a step", "by `zero_redundancy`'s", "bytes of the state per parameter, on a device"]
    return table(head, [[r["title"], duration(r["step"]), ratio(r["ratio"]), f"{r['held']:.2f}"] for r in rows])


def dispatch(rows: Rows) -> str:
    head = ["the optimizer"]
    for row in rows:
        head += [f"{row['title']}, {row['numbers']} numbers", RATIO]
    lines: list[list[str]] = []
    for form in rows[0]["forms"]:
        found = [row["forms"][form] for row in rows]
        lines.append([form, *(cell for own in found for cell in (duration(own["call"]), ratio(own["ratio"])))])
    return table(head, lines)


def multi_output(rows: Rows) -> str:
    head = ["", "without", "with", "with ÷ without", "of the copy, with"]
    cells = ("without", "with")
    lines = [[r["title"], *(duration(r[k]) for k in cells), ratio(r["ratio"]), percent(r.get("share"))] for r in rows]
    return without_empty(head, lines)


def steps_in_codes(rows: Rows) -> str:
    lines = [[f"`{r['title']}`", duration(r["step"]), duration(r["float32"]), ratio(r["by float32"])] for r in rows]
    return table(["", "a step", "AdamW in float32", "by float32's"], lines)


def mean(seeds: Sequence[float | None]) -> float:
    """Infinite where one of them diverged."""
    return sum(math.inf if x is None else x for x in seeds) / len(seeds)


def comparison(rows: Rows) -> str:
    """In the order of the losses."""

    def bits(x: float | None) -> str:
        return "diverged" if x is None else f"{x:.3f}"

    def beside(row: dict[str, Any], place: int) -> str:
        return bits(row["bits"][place]) if 0 <= place < len(row["bits"]) else "not tried"

    lines: list[list[str]] = []
    for row in sorted(rows, key=lambda row: mean(row["seeds"])):
        best, own = row["best"], mean(row["seeds"])
        cells = [row["title"], bits(own if math.isfinite(own) else None), ", ".join(map(bits, row["seeds"]))]
        cells += [f"{row['rates'][best]:g}", beside(row, best - 1), beside(row, best + 1), f"{row['memory']:.1f}"]
        lines.append(cells)
    head = ["", "bits per byte", "of each seed", "best rate", "√10 lower", "√10 higher", "state bytes per parameter"]
    return table(head, lines)


def gpu(rows: Rows) -> str:
    head = ["", "step", "Optax", RATIO, "of the copy", "of `jnp.dot`", "least bytes", "gradtx", "Optax", "temporary"]
    lines: list[list[str]] = []
    for row in rows:
        cells = [*compared(row["title"], row["step"]), percent(row["share"]), percent(row["of jnp.dot"])]
        cells.append(str(row["least"]))
        cells += [f"{row['accessed'][name]:.1f}" if name in row["accessed"] else "" for name in ("gradtx", "Optax")]
        kernels = [str(row["kernels"].get(name, "")) for name in ("gradtx", "Optax")]
        lines.append([*cells, f"{row['temporary']['gradtx']:.1f}", *kernels])
    return without_empty([*head, "kernels", "Optax's"], lines)


BLOCKS: dict[str, tuple[str, Callable[[Rows], str]]] = {
    "step": ("step", steps),
    "limits": ("step", limits),
    "outside": ("step", outside),
    "compilations": ("step", compilations),
    "matrices": ("matrices", matrices),
    "accumulation": ("accumulation", accumulation),
    "zero": ("zero", zero),
    "overhead": ("overhead", overhead),
    "dispatch": ("dispatch", dispatch),
    "multi_output": ("multi_output", multi_output),
    "steps_in_codes": ("steps_in_codes", steps_in_codes),
    "comparison": ("comparison", comparison),
    "gpu": ("gpu", gpu),
}
NAMES = tuple(dict.fromkeys(benchmark for benchmark, _ in BLOCKS.values()))
OTHERS = ("comparison", "gpu")  # apart from `benchmarks.all`: takes longer than all the rest and no times; needs a GPU


# ---- the README ----


IN_README = ("step", "matrices", "dispatch", "overhead")


def in_readme(records: dict[str, Rows]) -> str:
    """One small table of the others, of those that there are."""
    lines: dict[str, list[list[str]]] = {}
    for row in cases(records.get("step", [])):
        if row["tree"] == "one":  # as GPT-2's arrays, which more readers have
            continue
        name, by = ", ".join(case(row)), row["by gradtx"]
        own = lines.setdefault("step", [])
        own.append(compared(f"step of {name}", {**row["step"], "ratio": by["step"]["Optax"]}))
        if row["tree"] == "gpt2" and row["optimizer"] == "clip-adamw":
            for kind, title in (("eager", "`update` outside `jit` of"), ("trace", "trace")):
                own.append(compared(f"{title} {name}", {**row[kind], "ratio": by[kind]["Optax"]}))
    if muon := [row for row in records.get("matrices", []) if row["title"] == "Muon"]:
        lines["matrices"] = [compared(f"step of Muon, {muon[0]['matrices']}", muon[0]["step"])]
    for row in records.get("dispatch", [])[:1]:
        forms = row["forms"]
        for form in ("gradtx, an argument", "gradtx, an argument on the device"):
            title = f"step of Adam, tiny arrays, the optimizer {form[8:]}"
            pair = {"gradtx": forms[form]["call"], "Optax": forms[CLOSURE]["call"], "ratio": forms[form]["ratio"]}
            lines.setdefault("dispatch", []).append(compared(title, pair))
    if rows := records.get("overhead"):
        lines["overhead"] = [compared(row["title"], row) for row in rows if "trace" not in row["title"]]
    return table(["", "gradtx", "Optax", RATIO], [line for own in lines.values() for line in own])
