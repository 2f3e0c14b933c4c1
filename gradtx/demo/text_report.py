"""What the demo tells of transformers trained on text."""

import hashlib
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

import gradtx
from gradtx.demo.figures import draw_text_runs
from gradtx.demo.reports import Compared, ProgressReport
from gradtx.demo.resume import Checkpoints
from gradtx.demo.text import Setup, Text, TextRun, load_text, train_on_text
from gradtx.demo.transformer import ModelSize, continue_text
from gradtx.values.value import text_of


def settings_of(tx: gradtx.Transformation, setup: Setup, text: Text) -> dict[str, Any]:
    """All that a checkpoint has to agree in, the names as messages have them."""
    digest = hashlib.sha256(text.train.tobytes() + text.held_out.tobytes()).hexdigest()[:12]
    return {
        "text": f"{len(text.train) + len(text.held_out) - 1} bytes, {digest}",
        "model": describe_size(setup.size),
        "number of steps": setup.steps,
        "batch size": setup.rows,
        "seed": setup.seed,
        "optimizer": text_of(tx),
    }


def describe_size(size: ModelSize) -> str:
    return f"layers {size.layers}, width {size.width}, context {size.context}"


def folder_of(name: str, folder: Path) -> Path:
    return folder / name.replace(" ", "_")


def train_all_on_text(compared: Compared, setup: Setup, mesh: Mesh, folder: Path) -> dict[str, TextRun]:
    """Train with each optimizer, behind a progress bar."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console, speaks = Console(stderr=True), jax.process_index() == 0
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    columns = *columns, TextColumn("{task.fields[loss]}"), TimeRemainingColumn()
    runs: dict[str, TextRun] = {}
    with Progress(*columns, console=console, transient=True, disable=not (console.is_terminal and speaks)) as progress:
        for name, tx in compared.items():
            checkpoints = Checkpoints(folder_of(name, folder))
            if speaks and (done := checkpoints.latest()):
                way = "goes on from" if done < setup.steps else "has done"
                console.print(f"{name} {way} step {done} of {setup.steps}.", highlight=False)
            task = progress.add_task(name, total=setup.steps, loss="compiling")

            def report(done: int, loss: float, task: Any = task) -> None:
                progress.update(task, completed=done, loss=f"{loss:.2f} bits/byte")

            runs[name] = train_on_text(tx, setup, mesh, checkpoints, report)
            progress.update(task, completed=setup.steps, loss=f"{runs[name].bits:.3f} held out")
    return runs


def of_text(
    compared: Compared, setup: Setup, mesh: Mesh, folder: Path, schedule: gradtx.Schedule | None
) -> ProgressReport:
    runs, text = train_all_on_text(compared, setup, mesh, folder), load_text()
    head = "bits/byte", "bytes/s", "state bytes/param.", "seconds"
    rows = [(f"{x.bits:.3f}", f"{x.rate:,.0f}", f"{x.memory:.1f}", f"{x.seconds:.0f}") for x in runs.values()]
    count = sum(x.size for x in jax.tree.leaves(next(iter(runs.values())).params))
    where = f"{mesh.size} {jax.default_backend()} device{'s' * (mesh.size > 1)}"
    where += f" of {jax.process_count()} processes" if jax.process_count() > 1 else ""
    trained, held_out = f"{len(text.train):,}", f"{len(text.held_out) - 1:,}"
    note = (
        f"Steps: {setup.steps}, each of {setup.rows} passages of {setup.size.context} bytes; seed: {setup.seed}; on"
        f" {where}. The model: {describe_size(setup.size)}; {count:,} parameters. The text: Python's help without"
        f" repetitions, {trained} bytes to train on, and the {held_out} behind them held out. Bits per held-out byte"
        " after the last step, with the parameters to evaluate with. Compiling, evaluating and saving are not timed."
    )
    draw = partial(draw_text_runs, runs, setup.steps, schedule)
    return ProgressReport(compared, head, rows, note, "Held-out loss", draw, sample_of_best(runs, text, setup))


def sample_of_best(runs: dict[str, TextRun], text: Text, setup: Setup) -> str:
    """What the best model writes behind the first held-out bytes."""
    name, best = min(runs.items(), key=lambda item: np.nan_to_num(item[1].bits, nan=np.inf))
    start = text.held_out[: setup.size.context]
    drawn = continue_text(best.params, start, jax.random.key(setup.seed))
    before, written = printable(start), printable(drawn)
    return f"What {name} writes, behind the held-out text in brackets:\n\n[{before}]{written}"


def printable(text: Any) -> str:
    """As UTF-8; what is none, and what would move a terminal's cursor, is a sign of its own."""
    decoded = bytes(np.asarray(text, np.uint8)).decode(errors="replace")
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in decoded)
