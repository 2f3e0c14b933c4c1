"""The demo's figures: a panel to each optimizer, since a dozen lines in one can't be told apart."""

from pathlib import Path
from typing import Any

import numpy as np

import gradtx
from gradtx.demo.digits import Run
from gradtx.demo.surfaces import Surface, Walk
from gradtx.demo.text import TextRun
from gradtx.plot.over_steps import smooth
from gradtx.plot.surface import contours, heights_over

INK, REST = "#10206a", "0.8"  # what a panel is about, and what is there to compare
Panels = list[Any]


def grid(count: int) -> tuple[Any, Panels]:
    """A figure as wide as a notebook with so many equal panels, four at most to a row."""
    from matplotlib.figure import Figure

    rows = -(-count // 4)
    columns = -(-count // rows)
    figure = Figure(figsize=(8, 0.7 + rows * min(7 / columns, 4)), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for panel in panels[count:]:
        panel.remove()
    for i, panel in enumerate(panels[:count]):
        panel.tick_params(labelsize=7, labelbottom=i + columns >= count, labelleft=i % columns == 0)
    return figure, panels[:count]


def draw_schedule(panel: Any, schedule: gradtx.Schedule, steps: int) -> None:
    panel.plot(np.asarray(schedule(np.arange(steps))), color="black", linestyle="--")
    panel.set_ylim(bottom=min(panel.get_ylim()[0], 0.0))
    panel.set_title("schedule, by step", fontsize=9, fontstyle="italic")
    panel.tick_params(labelleft=True, labelbottom=True)


def draw_losses(runs: dict[str, Run], steps: int, schedule: gradtx.Schedule | None, path: Path) -> None:
    """Write the figure of the loss curves: in each panel one of them, before all the others."""
    window = max(steps // 20, 1)
    curves = {name: smooth(run.losses, window) for name, run in runs.items()}
    figure, panels = grid(len(runs) + (schedule is not None))
    for panel, (name, own) in zip(panels, curves.items(), strict=False):
        for curve in curves.values():
            panel.plot(range(1, steps + 1), curve, color=REST, linewidth=0.8)
        panel.plot(range(1, steps + 1), own, color=INK, linewidth=1.8)
        panel.set_title(f"{name}: {runs[name].loss:.1e}", fontsize=9)
        panel.set_yscale("log")
        panel.grid(alpha=0.3)
        panel.sharey(panels[0])
    first = next(iter(runs.values())).losses[0]  # that of all
    panels[0].set_ylim(top=min(panels[0].get_ylim()[1], 10 * first))  # where one diverges, the others stay visible
    if schedule is not None:
        draw_schedule(panels[-1], schedule, steps)
    figure.supxlabel("training step", fontsize=9)
    figure.supylabel(f"training loss, mean over {window} steps (title: at the end)", fontsize=9)
    figure.savefig(path, dpi=150)


def draw_text_runs(runs: dict[str, TextRun], steps: int, schedule: gradtx.Schedule | None, path: Path) -> None:
    """Write the figure of the held-out losses: over steps and over time."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    over_steps, over_time = figure.subplots(1, 2, sharey=True)
    ranks = sorted(runs, key=lambda name: np.nan_to_num(runs[name].bits, nan=np.inf))
    for i, name in enumerate(ranks):
        done, seconds, bits = runs[name].curve.T
        style = dict(color=f"C{i % 10}", linestyle=("-", "--", ":")[i // 10 % 3], linewidth=1.5)
        over_steps.plot(done, bits, label=f"{runs[name].bits:.3f}  {name}", **style)
        over_time.plot(seconds, bits, **style)
    if schedule is not None:
        own = over_steps.twinx()
        own.plot(np.asarray(schedule(np.arange(steps))), color="black", linestyle="--", linewidth=0.8)
        own.set(ylim=(0, None), yticks=[])
        over_steps.plot([], [], color="black", linestyle="--", linewidth=0.8, label="schedule, from zero")
    least = np.nan_to_num(runs[ranks[0]].bits, nan=8.0, posinf=8.0)
    over_steps.set_ylim(least - 0.1, min(2 * least + 1, 8.2))  # from 8 all start; where one diverges, the rest stay
    over_steps.set(xlabel="training step", ylabel="bits per held-out byte")
    over_time.set(xlabel="seconds of training", xlim=(0, None))
    for panel in (over_steps, over_time):
        panel.grid(alpha=0.3)
    legend = figure.legend(loc="outside right upper", frameon=False, fontsize=8, title="at the end")
    legend.set_alignment("left")
    figure.savefig(path, dpi=150)


def draw_walks(
    walks: dict[str, Walk], surface: Surface, steps: int, schedule: gradtx.Schedule | None, path: Path
) -> None:
    """Write the figure of the paths: each to its arrival, over the contours of the surface."""
    heights = heights_over(surface.loss, surface.view)
    mark = dict(linestyle="none", color="white", markeredgecolor="black", zorder=4)
    middle = ("minimum", "*", 9) if surface.is_minimum else ("saddle point", "X", 8)
    figure, panels = grid(len(walks) + (schedule is not None))
    for panel, (name, walk) in zip(panels, walks.items(), strict=False):
        for place, (label, marker, size) in (surface.start, ("start", "o", 6)), (surface.point, middle):
            panel.plot(*place, **mark, label=label, marker=marker, markersize=size)
        points = walk.points[: None if walk.arrival is None else walk.arrival + 1]
        points = np.clip(points, -1e3, 1e3)  # larger ones would overflow in the figure's own coordinates
        panel.plot(
            *points.T, label="a point for each step", color=INK, linewidth=0.7, marker=".", markersize=3, zorder=3
        )
        contours(panel, heights)
        panel.contour(*heights, levels=[surface.target], colors="black", linewidths=0.8, linestyles="dashed")
        panel.plot([], [], label=f"loss {surface.target:g}", color="black", linewidth=0.8, linestyle="dashed")
        took = f"not in {steps:,}" if walk.arrival is None else f"{walk.arrival:,} steps"
        panel.set_title(f"{name}: {took}", fontsize=9)
        panel.set(xlim=surface.view[0], ylim=surface.view[1])
    if schedule is not None:
        draw_schedule(panels[-1], schedule, steps)
    figure.supxlabel("w₁", fontsize=9)
    figure.supylabel("w₂", fontsize=9)
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False, fontsize=8
    )
    figure.savefig(path, dpi=150)
