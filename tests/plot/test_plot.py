"""The pictures of gradtx.plot: what they hold, and that nothing is cut off."""

import importlib
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib import cbook
from matplotlib.colors import to_rgb
from PIL import Image

import gradtx as gx
from gradtx.demo.surfaces import SURFACES
from gradtx.plot import surface
from gradtx.plot.drawing import COLORS, label

plot: Any = importlib.import_module("gradtx.plot")  # whose lines are matplotlib's, with many types
ADAMW = gx.chain(gx.clip_by_global_norm(1.0), gx.adamw(gx.cosine(0.1, 9) + gx.linear(1.0, 0.0, 30), weight_decay=0.1))
ravine = SURFACES["ravine"].loss
pytestmark = pytest.mark.usefixtures("closed")


def labels(ax):
    return [line.get_label() for line in ax.lines if not line.get_label().startswith("_")]


# ---- what they hold ----


def test_schedules_are_drawn_with_their_values():
    falling = gx.cosine(0.1, 30)
    ax = plot.schedule(falling, 0.05, steps=40)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [falling(t) for t in range(40)])
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), np.full(40, 0.05))
    np.testing.assert_array_equal(ax.lines[1].get_xdata(), np.arange(40))
    assert labels(ax) == ["cosine(start=0.1, steps=30)", "0.05"]
    assert ax.get_ylim()[0] <= 0.0
    assert all(tick == int(tick) for tick in plot.schedule(falling, steps=5).get_xticks())


def test_paths_are_those_of_the_optimizers():
    ax = plot.paths(ravine, {"slow": gx.sgd(0.1), "newton": gx.newton()}, (-8, 1), steps=5)
    t = np.arange(6)
    np.testing.assert_allclose(ax.lines[0].get_xdata(), -8 * (1 - 0.1 / 32) ** t, rtol=1e-6)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), (1 - 0.2) ** t, rtol=1e-6)
    np.testing.assert_allclose(ax.lines[1].get_xydata()[1], 0.0, atol=1e-6)
    assert labels(ax) == ["slow", "newton"]


def test_a_path_that_diverges_does_not_widen_the_view():
    alone = plot.paths(ravine, [gx.sgd(0.9)], (-8.0, 1.0))
    both = plot.paths(ravine, [gx.sgd(0.9), gx.sgd(9.0)], (-8.0, 1.0), steps=50)
    assert both.get_xlim() == alone.get_xlim()
    assert np.abs(both.lines[1].get_ydata()).max() == 1e3 * -both.get_xlim()[0]
    given = plot.paths(ravine, [gx.sgd(0.9)], (-8.0, 1.0), view=((-9, 1), (-3, 2)))
    assert (given.get_xlim(), given.get_ylim()) == ((-9, 1), (-3, 2))


@pytest.mark.parametrize("rate", [1.05, 50.0])
def test_where_all_paths_rise_their_first_steps_are_seen(rate):
    ax = plot.paths(ravine, [gx.sgd(rate)], (-8.0, 1.0))
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    for x, y in ax.lines[0].get_xydata()[:2]:
        assert left < x < right
        assert bottom < y < top


def test_contours_are_those_of_the_loss_with_like_areas_between_them():
    ax = plot.paths(ravine, [gx.sgd(0.9)], (-8.0, 1.0), view=((-9.0, 3.0), (-2.0, 1.0)))
    (contours,) = ax.collections
    assert len(contours.levels) == 13
    for level, path in zip(contours.levels, contours.get_paths(), strict=True):
        assert path.vertices.size
        np.testing.assert_allclose(ravine(path.vertices.T), level, rtol=0.02)
    everywhere = ravine(np.stack(np.meshgrid(np.linspace(-9, 3, 500), np.linspace(-2, 1, 500))))
    shares = np.histogram(everywhere, contours.levels)[0] / everywhere.size
    np.testing.assert_allclose(shares, 0.08, atol=0.003)


def test_each_step_and_the_start_have_a_mark():
    ax = plot.paths(ravine, [gx.sgd(0.9), gx.adam(0.1)], (-8.0, 1.0))
    *walks, start = ax.lines
    assert len({line.get_marker() for line in walks} - {"None", ""}) == 2
    assert (start.get_xydata().tolist(), start.get_marker()) == ([[-8.0, 1.0]], "o")


def test_two_that_print_the_same_are_both_drawn():
    assert len(labels(plot.paths(ravine, [gx.sgd(0.1), gx.sgd(0.1)], (-8.0, 1.0)))) == 2
    assert len(labels(plot.curves({gx.sgd(0.1): [2.0], "sgd(learning_rate=0.1)": [1.0]}))) == 2


def test_paths_of_one_structure_compile_once():
    compiled: Any = surface.points_and_losses
    compiled.clear_cache()
    plot.paths(ravine, [gx.adam(0.1), gx.adam(0.2)], (-8.0, 1.0), steps=3)
    assert compiled._cache_size() == 1


def test_curves_are_smoothed_with_the_numbers_behind_them():
    ax = plot.curves({gx.sgd(0.1): jnp.array([4.0, 2.0, 6.0, 1.0])}, window=3)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [4.0, 3.0, 4.0, 3.0])
    np.testing.assert_allclose(ax.lines[1].get_ydata(), [4.0, 2.0, 6.0, 1.0])
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), [1, 2, 3, 4])
    assert (ax.get_yscale(), ax.get_xscale(), ax.get_ylabel()) == ("log", "linear", "mean over 3 steps")
    assert ax.lines[1].get_alpha() < 0.5
    assert labels(ax) == ["sgd(learning_rate=0.1)"]
    assert all(tick == int(tick) for tick in ax.get_xticks())
    raw = plot.curves({"a": [1, 2], "b": np.array([3.0], np.float16)}, xscale="log", yscale="linear")
    assert (raw.get_yscale(), raw.get_xscale(), len(raw.lines)) == ("linear", "log", 2)


def test_a_curve_that_diverges_is_cut_off():
    ax = plot.curves({"good": [1.0, 0.5, 0.1], "bad": [2.0, 1e9, np.inf]})
    assert ax.get_ylim()[1] == 200.0
    assert plot.curves({"good": [1.0, 0.5, 0.1]}).get_ylim()[1] < 2.0
    assert plot.curves({"accuracy": [0.001, 0.5, 0.9]}, yscale="linear").get_ylim()[1] > 0.9  # it hides no other


@pytest.mark.parametrize("x", [np.float32(0.5), jnp.float32(0.5), np.array(0.5), gx.controlled(0.5)])
def test_a_number_of_any_kind_is_drawn_as_a_line(x):
    values = plot.schedule(x, steps=3).lines[0].get_ydata()
    np.testing.assert_array_equal(values, np.full(3, 0.5))


def test_a_schedule_of_one_count_alone_is_drawn():
    @gx.schedule
    def jump(high: gx.NonNegative):
        return lambda t: jax.lax.cond(t < 2, lambda: 0.0 * high, lambda: 1.0 * high)

    np.testing.assert_array_equal(plot.schedule(jump(3.0), steps=4).lines[0].get_ydata(), [0, 0, 3, 3])


@pytest.mark.parametrize(
    "draw",
    [
        lambda top, ax: plot.schedule(top, steps=3, ax=ax),
        lambda top, ax: plot.curves({"a": [top, top / 2]}, ax=ax),
        lambda top, ax: plot.curves({"a": [top, 9e9], "b": [top, top]}, ax=ax),
    ],
)
@pytest.mark.parametrize("tops", [(1.0, 1000.0), (1000.0, 1.0)])
def test_further_lines_in_the_same_axes_are_in_view(draw, tops):
    ax = draw(tops[0], None)
    draw(tops[1], ax)
    assert ax.get_ylim()[1] > 1000.0


def test_spectrum_sorts_by_size_and_counts_zeros():
    values = jnp.array([1e-9, -0.5, 2.0, 1.0, 0.0], jnp.float32)
    ax = plot.spectrum(values)
    positive, negative = ax.lines[:2]
    np.testing.assert_allclose(positive.get_xydata(), [[1, 2.0], [2, 1.0]])
    np.testing.assert_allclose(negative.get_xydata(), [[3, 0.5]])
    assert labels(ax) == ["2 positive", "1 negative", "2 within rounding of zero"]
    assert labels(plot.spectrum(np.array([1e-9, 2.0]))) == ["2 positive"]
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert to_rgb(negative.get_markerfacecolor()) == (1.0, 1.0, 1.0) != to_rgb(positive.get_markerfacecolor())
    eps = float(jnp.finfo(jnp.float32).eps)
    assert labels(plot.spectrum(jnp.array([1.0, 1.9 * eps, 2.1 * eps], jnp.float32)))[0] == "1 positive"
    assert labels(plot.spectrum(jnp.array([1.0, 3.1 * eps, 3.1 * eps], jnp.float32)))[0] == "3 positive"
    nothing = plot.spectrum([0.0, 0.0])
    assert labels(nothing) == ["2 within rounding of zero"]
    nothing.figure.canvas.draw()


def test_lines_grow_from_the_first_point_to_the_last(tmp_path):
    ax = plot.paths(ravine, [gx.sgd(0.9)], (-8.0, 1.0), steps=9)
    whole, view = ax.lines[0].get_xydata().copy(), ax.get_xlim()
    across = ax.axhline(0.5)
    growing = plot.animation(ax, frames=4)
    seen = []
    growing.save(tmp_path / "paths.gif", writer="pillow", progress_callback=lambda *_: seen.append(ax.lines[0]._x.size))
    assert seen == [1, 4, 7, 10]
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), whole)
    growing._draw_frame(0)
    assert len(across.get_xdata()) == 2
    assert ax.get_xlim() == view
    with Image.open(tmp_path / "paths.gif") as image:
        assert getattr(image, "n_frames", 1) == 4


# ---- how they look ----


DRAWINGS = {
    "schedule": lambda ax: plot.schedule(
        gx.cosine(0.1, 100), *(gx.one_cycle(0.1 * i, 90) for i in range(1, 6)), steps=99, ax=ax
    ),
    "paths": lambda ax: plot.paths(ravine, [gx.sgd(0.9, momentum=0.9), gx.adam(0.5), ADAMW], (-8.0, 1.0), ax=ax),
    "curves": lambda ax: plot.curves({ADAMW: [3.0, 2.0, 1.0], gx.adam(0.1): [3.0, 0.2, 0.1]}, ax=ax),
    "spectrum": lambda ax: plot.spectrum([2.0, 0.1, -0.2], ax=ax),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_an_axes_is_taken_and_returned(name):
    figure, (left, right) = plt.subplots(1, 2, figsize=(16, 5), layout="constrained")
    assert DRAWINGS[name](right) is right
    assert figure.get_size_inches().tolist() == [16, 5]
    assert not left.lines
    assert right.get_xlabel()
    assert right.get_ylabel()


@pytest.mark.parametrize("name", DRAWINGS)
def test_nothing_is_cut_off_and_no_legend_hides_a_line(name):
    ax = DRAWINGS[name](None)
    figure = ax.figure
    figure.canvas.draw()
    assert figure.get_size_inches()[0] == 8
    legend = ax.get_legend()
    box = legend.get_window_extent()
    whole = figure.bbox
    assert box.x0 >= whole.x0
    assert box.x1 <= whole.x1
    assert box.y0 >= whole.y0
    assert ax.get_tightbbox().y0 >= 0
    if name != "spectrum":  # whose short legend is inside, where Matplotlib finds it a place
        assert box.y1 < ax.xaxis.label.get_window_extent().y0
        assert ax.bbox.height > 0.5 * 4 * figure.dpi


def test_a_legend_stands_clear_of_the_label_under_low_axes():
    fig, axs = plt.subplots(2, 1, figsize=(8, 4.5), layout="constrained")
    for ax in axs:
        plot.schedule(gx.warmup_stable_decay(0.1, 200, warmup_steps=30, decay_steps=40), 0.1, steps=200, ax=ax)
    fig.canvas.draw()
    for ax in axs:
        assert ax.get_legend().get_window_extent().y1 < ax.xaxis.label.get_window_extent().y0


@pytest.mark.parametrize("name", DRAWINGS)
@pytest.mark.filterwarnings("error")
def test_two_beside_each_other_at_notebook_width_keep_to_their_half(name):
    figure, axs = plt.subplots(1, 2, figsize=(8, 5), layout="constrained")
    for ax in axs:
        DRAWINGS[name](ax)
    figure.canvas.draw()
    left, right = (ax.get_tightbbox() for ax in axs)
    assert left.x0 >= 0
    assert left.x1 <= right.x0
    assert right.x1 <= figure.bbox.width
    assert all(ax.bbox.width > 0.25 * figure.bbox.width for ax in axs)


def test_lines_are_told_apart_in_greyscale_and_continue_in_the_same_axes():
    red, green, blue = np.array([to_rgb(color) for color in COLORS]).T
    linear = [np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4) for x in (red, green, blue)]
    lightness = 116 * np.cbrt(np.array([0.2126, 0.7152, 0.0722]) @ linear) - 16  # CIE L*, 0 to 100
    assert np.diff(lightness).min() > 6
    assert lightness.max() < 75
    pairs = [(style["color"], str(style["linestyle"])) for style in plot.LINES]
    assert len(set(pairs)) == 25
    assert all(len({pair[i] for pair in pairs[:5]}) == 5 for i in (0, 1))
    ax = plot.schedule(0.1, steps=3)
    plot.schedule(0.2, steps=3, ax=ax)
    assert [line.get_color() for line in ax.lines] == list(COLORS[:2])


def test_a_label_is_what_is_printed_in_one_line():
    assert "\n" in repr(ADAMW)
    assert label(ADAMW) == (
        "chain(clip_by_global_norm(max_norm=1.0), adamw(learning_rate=(cosine(start=0.1, steps=9)"
        " + linear(start=1.0, end=0.0, steps=30)), weight_decay=0.1))"
    )
    assert eval(label(ADAMW), dict(vars(gx))) == ADAMW


def test_a_pattern_in_a_label_is_not_set_as_mathematics():
    biases = gx.partition((gx.by_path("bias$"), gx.sgd(0.1)), (gx.by_path("scale$"), gx.sgd(0.2)), default=gx.adam(0.1))
    assert cbook.is_math_text(repr(biases))
    text = plot.curves({biases: [1.0, 0.5], "$\\eta$": [1.0]}).get_legend().get_texts()
    assert [bool(cbook.is_math_text(x.get_text())) for x in text] == [False, True]
