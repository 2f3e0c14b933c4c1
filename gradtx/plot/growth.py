"""A picture's lines, as they come to be."""

from typing import Any

import numpy as np
from matplotlib.animation import FuncAnimation
from matplotlib.axes import Axes

from gradtx.plot.drawing import axes
from gradtx.values.errors import Refusal, errors_of, require_whole


def animation(ax: Axes, *, frames: int = 60, interval: int = 80) -> FuncAnimation:
    r"""The lines of `ax` growing from their first point to their last, whichever function drew them.

    Show it in a notebook with `IPython.display.HTML(plot.animation(ax).to_jshtml())`. Write it to a file with
    `plot.animation(ax).save("paths.gif", writer="pillow")`.

    **Arguments:** `frames` $\ge 2$, the number of pictures; `interval` $\ge 1$, the time between two, in milliseconds.

    **Raises:** `TypeError` for anything but an `Axes`, `ValueError` for one without a line of two points.

    >>> import gradtx as gx
    >>> from gradtx import plot
    >>> growing = plot.animation(plot.schedule(gx.cosine(0.1, 100), steps=100), frames=2)
    >>> growing.to_jshtml().count("data:image/png")
    2
    """
    with errors_of("plot.animation"):
        require_whole("frames", frames)
        require_whole("interval", interval)
        if frames < 2:
            raise Refusal(ValueError, f"frames must be at least 2, got {frames}")
        if ax is None:
            raise Refusal(TypeError, "ax must be what plot.paths or another of them returned, got None")
        ours = [drawn for drawn in axes(ax).lines if drawn.get_transform() is ax.transData]  # not those across the Axes
        lines = [(drawn, np.asarray(drawn.get_data())) for drawn in ours]
        lines = [(drawn, points) for drawn, points in lines if points.shape[1] > 1]
        if not lines:
            raise Refusal(ValueError, "ax has no line of two points or more: there is nothing to grow")
    ax.set(xlim=ax.get_xlim(), ylim=ax.get_ylim())  # which would grow with the lines

    figure: Any = ax.get_figure(root=True)

    def grown(frame: int) -> list[Any]:
        for drawn, points in lines:
            drawn.set_data(*points[:, : 1 + (points.shape[1] - 1) * frame // (frames - 1)])
        return [drawn for drawn, _ in lines]

    return FuncAnimation(figure, grown, frames=frames, interval=interval)
