"""What all pictures share: the `Axes`, the lines, their labels, the legend, and the check of numbers."""

import textwrap
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import offset_copy

from gradtx.values.errors import Refusal
from gradtx.values.printing import excerpt
from gradtx.values.value import text_of

COLORS = ("#140e36", "#8c2369", "#2f7fc1", "#e8853a", "#8fbf5a")  # each lighter than the one before
DASHES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)))
LINES = cycler(color=[COLORS[i % 5] for i in range(25)], linestyle=[DASHES[(i + i // 5) % 5] for i in range(25)])
"""The cycle of lines: five lines have five colours and five dashes, the next five the same colours with other dashes.

>>> import matplotlib.pyplot as plt
>>> from gradtx import plot
>>> with plt.rc_context({"axes.prop_cycle": plot.LINES}):
...     _, ax = plt.subplots()
>>> [ax.plot([0, 1])[0].get_linestyle() for _ in range(3)]
['-', '--', '-.']
"""

WIDTH, HEIGHT, LINE_OF_TEXT = 8.0, 4.0, 0.22  # in inches


def axes(ax: Any) -> Axes:
    """The `Axes` to draw on, a new one for None."""
    if ax is None:
        return plt.subplots(figsize=(WIDTH, HEIGHT), layout="constrained")[1]
    if not isinstance(ax, Axes):
        raise Refusal(TypeError, f"ax must be one Matplotlib Axes, got {excerpt(ax)}; take one of figure.axes")
    return ax


def line(ax: Axes, x: np.ndarray, y: np.ndarray, name: str, **style: Any) -> Line2D:
    """A line in the first of the styles that no line of these `Axes` has."""
    used = sum(not str(drawn.get_label()).startswith("_") for drawn in ax.lines)
    (drawn,) = ax.plot(x, y, label=name, **{**list(LINES)[used % len(LINES)], **style})
    return drawn


def label(x: Any) -> str:
    """What a value prints, in one line; a `$` in it, as in a pattern, is none of Matplotlib's mathematics."""
    return x if isinstance(x, str) else text_of(x).replace("$", r"\$")


def count_steps(ax: Axes) -> None:
    """Marks at whole numbers, for an axis of steps."""
    ax.xaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))


def finish(ax: Axes, own: bool) -> Axes:
    """With a grid and a legend: inside where it is small, below where it is not, for which a figure of ours grows."""
    ax.grid(alpha=0.3)
    handles, labels = ax.get_legend_handles_labels()
    figure: Any = ax.get_figure(root=True)
    room = 95 if own else int(15 * ax.bbox.width / figure.dpi)  # characters, in one of several axes fewer
    names = [textwrap.fill(str(name), room, subsequent_indent="    ") for name in labels]
    longest = max(map(len, names), default=0)
    if longest > 30 or len(names) > 6:
        columns = 1 if longest > room // 2 - 2 else 2
        below = offset_copy(ax.transAxes, figure, y=-0.5)  # in inches: low axes have labels as high
        style: Any = dict(loc="upper center", bbox_to_anchor=(0.5, 0.0), bbox_transform=below, frameon=False)
        ax.legend(handles, names, ncols=columns, **style)
        if own:
            height = sum(1 + name.count("\n") for name in names) / columns
            figure.set_figheight(HEIGHT + LINE_OF_TEXT * height)
    elif names:
        ax.legend(handles, names, framealpha=0.9)
    return ax


def real_array(x: Any) -> np.ndarray | None:
    """An array of real numbers, None for anything else."""
    try:
        numbers = np.asarray(x)
    except jax.errors.TracerArrayConversionError:  # which says what to do
        raise
    except (TypeError, ValueError):  # rows of different lengths
        return None
    return numbers if numbers.dtype.kind in "fiu" or jnp.issubdtype(numbers.dtype, jnp.floating) else None


def real(name: str, x: Any, remedy: str = "") -> np.ndarray:
    """Real numbers in one dimension, one at least, as float64."""
    if (numbers := real_array(x)) is None:
        raise Refusal(TypeError, f"{name} must be real numbers, got {excerpt(x)}{remedy}")
    if numbers.ndim != 1 or not numbers.size:
        raise Refusal(ValueError, f"{name} must be one number after another, got shape {numbers.shape}{remedy}")
    return numbers.astype(np.float64)
