"""Pictures of schedules, of paths over a surface, of training curves and of spectra, on Matplotlib's `Axes`.

Each function draws on the `Axes` that it is given, or on new ones as wide as a notebook, and returns them. Titles,
limits and further lines are added with Matplotlib. The label of a line is what its value prints. Long labels stand
below the axes; a figure of several axes makes room for them with `layout="constrained"`. `LINES` is the cycle of
colours and dashes, from dark to light, so that a figure can be read in greyscale too. Other figures use it with
`plt.rcParams["axes.prop_cycle"] = plot.LINES`.
"""

try:
    import matplotlib as _  # noqa: F401  # only to see whether it is there
except ImportError as error:
    raise ImportError("gradtx.plot needs Matplotlib: pip install 'matplotlib>=3.10'") from error

from gradtx.plot.drawing import LINES
from gradtx.plot.growth import animation
from gradtx.plot.over_steps import curves, schedule
from gradtx.plot.spectra import spectrum
from gradtx.plot.surface import paths

__all__ = [  # noqa: RUF022  # in reading order
    "schedule",
    "paths",
    "curves",
    "spectrum",
    "animation",
    "LINES",
]
