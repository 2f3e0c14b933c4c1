"""What goes over the steps: the values of schedules, and what was measured in training."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from matplotlib.axes import Axes

from gradtx.plot.drawing import axes, count_steps, finish, label, line, real, real_array
from gradtx.schedules.value import Schedule
from gradtx.values.errors import Refusal, errors_of, require_whole
from gradtx.values.printing import excerpt
from gradtx.values.recipe import Controlled


def schedule(*schedules: Any, steps: int, ax: Axes | None = None) -> Axes:
    r"""The values $\eta(\tau)$ of schedules at the steps $\tau = 0, \dots, n - 1$.

    **Arguments:** schedules and numbers, `controlled` ones too; `steps` $n \ge 1$; `ax`, by default a new one.

    **Raises:** `TypeError` for anything but schedules and numbers, `ValueError` for `steps` below 1.

    >>> import gradtx as gx
    >>> from gradtx import plot
    >>> ax = plot.schedule(gx.cosine(0.1, 100), gx.warmup(0.1, 20), steps=100)
    >>> [line.get_label() for line in ax.lines]
    ['cosine(start=0.1, steps=100)', 'warmup(value=0.1, steps=20)']
    """
    with errors_of("plot.schedule"):
        require_whole("steps", steps)
        if not schedules:
            raise Refusal(ValueError, "draws one schedule at least, got none")
        for x in schedules:
            if not isinstance(x, Schedule | Controlled) and ((number := real_array(x)) is None or number.ndim):
                remedy = "make a schedule of a function of the step with @gradtx.schedule"
                raise Refusal(TypeError, f"draws schedules and numbers, got {excerpt(x)}; {remedy}")
        at = np.arange(steps)
        values = [jax.vmap(x)(at) if isinstance(x, Schedule | Controlled) else np.full(steps, x) for x in schedules]
        drawn = [np.asarray(x, np.float64) for x in values]
        own, ax = ax is None, axes(ax)
    for x, y in zip(schedules, drawn, strict=True):
        line(ax, at, y, label(x))
    ax.set(xlabel="step", ylabel="value")
    count_steps(ax)
    ax.set_ylim(bottom=min(ax.get_ylim()[0], 0.0), auto=None)  # which leaves room for further lines
    return finish(ax, own)


def curves(
    histories: Mapping[Any, Any],
    *,
    window: int = 1,
    xscale: str = "linear",
    yscale: str = "log",
    ax: Axes | None = None,
) -> Axes:
    r"""Training curves: a number for each step $t = 1, 2, \dots$, by optimizer or by name.

    With a `window` $n > 1$ it draws the mean of the last $n$ numbers, $\frac{1}{n} \sum_{i=t-n+1}^{t} x_i$ (at the
    start, of as many as there are), and behind it the numbers themselves, pale. Numbers that are not finite leave a
    gap. A line that grows beyond a hundred times the largest start is cut off there if another line stays below, which
    it would otherwise hide.

    **Arguments:** `histories`, a dictionary from optimizers or names to one real number per step; `window` $\ge 1$;
    `xscale`, `yscale` as for `Axes.set`, `"linear"` or `"log"`; `ax`, by default a new one.

    **Raises:** `TypeError` for anything but a dictionary of real numbers; `ValueError` for anything but one number per
    step, and on a logarithmic scale for numbers that are not positive.

    >>> import gradtx as gx
    >>> from gradtx import plot
    >>> ax = plot.curves({gx.sgd(0.1): [4.0, 2.0, 1.0], "other": [4.0, 3.0, 2.0]})
    >>> [line.get_label() for line in ax.lines]
    ['sgd(learning_rate=0.1)', 'other']
    """
    with errors_of("plot.curves"):
        require_whole("window", window)
        if not isinstance(histories, Mapping):
            remedy = "give a dictionary from optimizers or names to one number per step"
            raise Refusal(TypeError, f"draws named histories, got {excerpt(histories)}; {remedy}")
        if not histories:
            raise Refusal(ValueError, "draws one history at least, got none")
        numbers = [(label(key), real(f"histories[{label(key)!r}]", x)) for key, x in histories.items()]
        for name, x in numbers:
            if yscale == "log" and (x <= 0.0).any():
                what = "has numbers that are not positive, which a logarithmic scale can't show"
                raise Refusal(ValueError, f"histories[{name!r}] {what}; give yscale='linear'")
        own, ax = ax is None, axes(ax)
    for name, x in numbers:
        at = np.arange(1, len(x) + 1)
        drawn = line(ax, at, smooth(x, window), name)
        if window > 1:
            ax.plot(at, x, color=drawn.get_color(), linestyle="-", alpha=0.25, linewidth=0.7, zorder=1)
    ax.set(xscale=xscale, yscale=yscale, xlabel="step")
    if xscale == "linear":
        count_steps(ax)
    ax.set_ylabel(f"mean over {window} steps" if window > 1 else "value")
    there = [abs(y[np.isfinite(y)]) for y in (np.asarray(drawn.get_ydata(), float) for drawn in ax.lines)]
    largest = 100.0 * max((y[0] for y in there if y.size), default=0.0)
    if 0.0 < largest < ax.get_ylim()[1] and any(y.size and y.max() <= largest for y in there):
        ax.set_ylim(top=largest, auto=None)
    return finish(ax, own)


def smooth(numbers: np.ndarray, window: int) -> np.ndarray:
    """At each step the mean of the last numbers, `window` of them once there are as many."""
    return np.array([numbers[max(end - window, 0) : end].mean() for end in range(1, len(numbers) + 1)])
