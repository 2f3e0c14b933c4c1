"""What the demo tells of a comparison: a table, a note on what its figures mean, and a figure."""

import shutil
import textwrap
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax

import gradtx
from gradtx.demo.digits import Digits, train_all
from gradtx.demo.figures import draw_losses, draw_walks
from gradtx.demo.surfaces import IN_A_ROW, SURFACES, follow_path
from gradtx.values.value import text_of

Compared = dict[str, gradtx.Transformation]


class ProgressReport(NamedTuple):
    compared: Compared
    head: Sequence[str]
    rows: Sequence[Sequence[str]]  # one to an optimizer
    note: str
    figure: str  # what it shows
    draw: Callable[[Path], None]


def of_training(
    compared: Compared, digits: Digits, steps: int, size: int, seed: int, schedule: gradtx.Schedule | None
) -> ProgressReport:
    runs = train_all(compared, digits, steps, size, seed)
    head = "training loss", "test accuracy", "steps/s", "state bytes/param."
    rows = [(f"{x.loss:.2e}", f"{x.accuracy:.1%}", f"{x.rate:,.0f}", f"{x.memory:.1f}") for x in runs.values()]
    note = (
        f"Steps: {steps}, each of {size} images; seed: {seed}; device: {jax.default_backend()}. Loss and accuracy after"
        f" the last step: mean cross-entropy over the {len(digits.train[0])} training images, share of the"
        f" {len(digits.test[0])} test images named rightly. Compilation is not timed."
    )
    return ProgressReport(compared, head, rows, note, "Loss curves", partial(draw_losses, runs, steps, schedule))


def of_surface(compared: Compared, name: str, steps: int, schedule: gradtx.Schedule | None) -> ProgressReport:
    surface = SURFACES[name]
    walks = {name: follow_path(tx, surface, steps) for name, tx in compared.items()}
    aim = "the minimum" if surface.is_minimum else "leave the saddle"
    head = f"steps to {aim}", "last loss"
    rows = [("none" if x.arrival is None else f"{x.arrival:,}", f"{x.losses[-1]:.2e}") for x in walks.values()]
    w1, w2 = surface.start
    note = (
        f"Loss: {surface.formula}; start: ({w1:g}, {w2:g}); at most {steps:,} steps. Counted are the steps before the"
        f" first {IN_A_ROW} losses in a row of at most {surface.target:g}; the last loss is that after all steps."
    )
    return ProgressReport(compared, head, rows, note, "Paths", partial(draw_walks, walks, surface, steps, schedule))


def optimizer_table(report: ProgressReport) -> Iterator[str]:
    """A line for each optimizer, and under it the optimizer as it prints itself."""

    def row(name: str, cells: Sequence[str]) -> str:
        return f"{name:13}" + "".join(f"{x:>{len(title) + 2}}" for x, title in zip(cells, report.head, strict=True))

    yield (head := row("optimizer", report.head))
    yield "-" * len(head)
    for (name, tx), cells in zip(report.compared.items(), report.rows, strict=True):
        yield row(name, cells)
        yield wrap_text(text_of(tx), "    ")


def wrap_text(text: str, indent: str = "") -> str:
    width = shutil.get_terminal_size().columns
    return textwrap.fill(
        text, width, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
