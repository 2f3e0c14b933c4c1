"""What the demo's figures hold, looked at in place of being written."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

import gradtx as gx
from gradtx.demo import figures
from gradtx.demo.digits import Run
from gradtx.demo.surfaces import SURFACES, follow_path
from gradtx.demo.text import TextRun

SCHEDULE = gx.linear(1.0, 0.5, 9)


@pytest.fixture
def drawn(monkeypatch):
    """The panels of a figure."""

    def panels(draw, *arguments):
        seen: list[Any] = []
        monkeypatch.setattr(Figure, "savefig", lambda figure, path, **options: seen.append(figure))
        draw(*arguments, Path("never written"))
        return seen[0].axes

    return panels


def run(losses):
    return Run(gx.sgd(0.1), np.array(losses), losses[-1], 0.9, 1.0, 4.0)


def by_label(panel):
    return {line.get_label(): line.get_xydata() for line in panel.lines}


@pytest.mark.parametrize("schedule", [None, SCHEDULE])
def test_each_curve_has_a_panel_where_it_stands_before_all_the_others(drawn, schedule):
    runs = {f"run {i}": run(np.linspace(3, 1, 10) / i) for i in range(1, 15)}
    panels = drawn(figures.draw_losses, runs, 10, schedule)
    titles = [panel.get_title() for panel in panels]
    assert titles[:14] == [f"{name}: {x.loss:.1e}" for name, x in runs.items()]
    assert titles[14:] == (["schedule, by step"] if schedule else [])
    for panel, own in zip(panels, runs.values(), strict=False):
        *rest, front = panel.lines
        assert len(rest) == 14
        assert {line.get_color() for line in rest} == {figures.REST}
        assert front.get_color() == figures.INK
        np.testing.assert_array_equal(front.get_ydata(), own.losses)
        assert panel.get_ylim() == panels[0].get_ylim()


def test_the_panel_of_the_schedule_shows_it_from_zero(drawn):
    (curve,) = (panel := drawn(figures.draw_losses, {"sgd": run([2.0] * 10)}, 10, SCHEDULE)[-1]).lines
    np.testing.assert_allclose(curve.get_ydata(), SCHEDULE(np.arange(10)))
    assert panel.get_ylim()[0] == 0.0


def test_a_diverging_run_does_not_hide_the_others(drawn):
    runs = {"sgd": run([2.0, 1.0]), "custom 1": run([2.0, 1e30]), "custom 2": run([2.0, np.nan])}
    for panel in drawn(figures.draw_losses, runs, 2, None):
        assert panel.get_ylim()[1] == 20.0


@pytest.mark.parametrize(
    ("name", "label"), [("ravine", "minimum"), ("rosenbrock", "minimum"), ("saddle", "saddle point")]
)
def test_a_path_is_drawn_from_the_start_to_the_arrival(drawn, name, label):
    surface = SURFACES[name]
    walks = {"sgd": follow_path(gx.sgd(0.002), surface, 2000), "adam": follow_path(gx.adam(0.1), surface, 2000)}
    panels = drawn(figures.draw_walks, walks, surface, 2000, SCHEDULE)
    assert panels[-1].get_title() == "schedule, by step"
    for panel, (title, way) in zip(panels, walks.items(), strict=False):
        took = "not in 2,000" if way.arrival is None else f"{way.arrival:,} steps"
        assert panel.get_title() == f"{title}: {took}"
        lines = by_label(panel)
        np.testing.assert_array_equal(lines["start"], [surface.start])
        np.testing.assert_array_equal(lines[label], [surface.point])
        points = lines["a point for each step"]
        np.testing.assert_array_equal(points, way.points[: len(points)])
        assert len(points) == (2001 if way.arrival is None else way.arrival + 1)
        assert (panel.get_xlim(), panel.get_ylim()) == surface.view


def test_held_out_losses_are_drawn_over_steps_and_over_time(drawn):
    def text_run(bits):
        curve = np.stack([np.arange(len(bits)) * 5, np.arange(len(bits)) * 0.25, bits], axis=1)
        return TextRun(gx.sgd(0.1), np.zeros(10), curve, bits[-1], 0.5, 1.0, 4.0, None)

    runs = {
        "sgd": text_run([8.0, 4.0, 3.0]),
        "adam": text_run([8.0, 3.0, 2.5]),
        "custom 1": text_run([8.0, 1e9, np.nan]),
    }
    over_steps, over_time, *rest = drawn(figures.draw_text_runs, runs, 10, SCHEDULE)
    lines = by_label(over_steps)
    assert list(lines) == ["2.500  adam", "3.000  sgd", "nan  custom 1", "schedule, from zero"]
    np.testing.assert_array_equal(lines["3.000  sgd"], [[0, 8], [5, 4], [10, 3]])
    np.testing.assert_array_equal(over_time.lines[1].get_xydata(), [[0, 8], [0.25, 4], [0.5, 3]])
    assert over_steps.get_ylim() == over_time.get_ylim() == pytest.approx((2.4, 6.0))
    np.testing.assert_allclose(rest[0].lines[0].get_ydata(), SCHEDULE(np.arange(10)))
