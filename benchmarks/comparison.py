"""Optimizers on text, each with the same number of tries for its rate: `python -m benchmarks.comparison`.

Every optimizer of `python -m gradtx.demo text` trains a small transformer at five rates, a factor of √10 apart, with
one seed; at the best of them it trains with two more. It takes about half an hour on two cores. The figures are losses
over steps and no times, so that other work beside it does no harm.
"""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import record, report
from benchmarks.tables import mean
from gradtx.demo.compared import ON_TEXT, for_text
from gradtx.demo.text import Setup, TextRun, train_on_text
from gradtx.demo.transformer import ModelSize

SETUP, QUICK = Setup(ModelSize(3, 96, 64), 300, 16, 0), Setup(ModelSize(1, 16, 16), 6, 4, 0)
MIDDLE = {  # of the rates, set before any of these runs
    "momentum": 0.3,
    "adafactor": 0.01,
    "adamw": 3e-3,
    "adamw_8bit": 3e-3,
    "lion": 3e-4,
    "schedule_free": 1e-2,
    "muon": 0.02,
    "soap": 3e-3,
}
FACTORS = [10 ** (k / 2) for k in range(-2, 3)]
SEEDS = 3
NOTE = "No time is claimed, so what else ran does not matter."
FIGURE = Path(__file__).parent.parent / "docs" / "comparison.png"


def rounded(rate: float) -> float:
    return float(f"{rate:.2g}")


def finite(x: float) -> float | None:
    return round(float(x), 4) if math.isfinite(x) else None  # JSON has no other numbers


def compare(name: str, setup: Setup) -> dict[str, Any]:
    """The row of one optimizer. The rate is chosen by the loss that is reported, for each in the same way."""
    rates = [rounded(MIDDLE[name] * factor) for factor in FACTORS]
    tries: list[TextRun] = [train_on_text(for_text(name, rate, setup.steps), setup) for rate in rates]
    bits = [x.bits if math.isfinite(x.bits) else math.inf for x in tries]
    best = bits.index(min(bits))
    tx = for_text(name, rates[best], setup.steps)
    others = [train_on_text(tx, setup._replace(seed=setup.seed + i)) for i in range(1, SEEDS)]
    return {
        "title": name,
        "optimizer": str(ON_TEXT[name][0](rates[best])),
        "rates": rates,
        "bits": [finite(x) for x in bits],
        "best": best,
        "seeds": [finite(x.bits) for x in (tries[best], *others)],
        "memory": record.significant(tries[best].memory),
        "curve": [[int(done), finite(x)] for done, _, x in tries[best].curve],
    }


# ---- the figure ----


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """The loss over steps at each best rate, and at the end over the rates by the best."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    over_steps, over_rates = figure.subplots(1, 2, sharey=True)
    ranks = sorted(rows, key=lambda row: mean(row["seeds"]))
    for i, row in enumerate(ranks):
        color, label = f"C{i}", f"{mean(row['seeds']):.3f}  {row['title']}"
        over_steps.plot(*zip(*row["curve"], strict=True), color=color, label=label)
        there = [(rate / row["rates"][row["best"]], x) for rate, x in zip(row["rates"], row["bits"], strict=True) if x]
        over_rates.plot(*zip(*there, strict=True), color=color, marker="o", markersize=4)
    low = mean(ranks[0]["seeds"])
    over_steps.set(xlabel="training step", ylabel="bits per held-out byte", ylim=(low - 0.1, low + 1.6))
    over_rates.set(xlabel="rate, by the best of the five", xscale="log")
    for panel in (over_steps, over_rates):
        panel.grid(alpha=0.3)
    title = "mean of three seeds\n(the curves: the first)"
    figure.legend(loc="outside right upper", frameon=False, fontsize=8, title=title, title_fontsize=8)
    figure.savefig(path, dpi=150)


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.comparison", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--quick", action="store_true", help="a tiny model and few steps: for a look; writes nothing")
    chosen = parser.parse_args(given)
    found = record.begin("comparison", [], chosen.quick) | {"load": None, "note": NOTE, "rows": []}
    for name in MIDDLE:
        found["rows"].append(compare(name, QUICK if chosen.quick else SETUP))
        print(found["rows"][-1], flush=True)
    if not chosen.quick:
        record.write(record.RESULTS / "comparison.json", found)
        draw(found["rows"], FIGURE)
        report.main([])


if __name__ == "__main__":
    main()
