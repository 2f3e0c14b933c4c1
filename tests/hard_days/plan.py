"""What a soak goes through: the micro-batch of each step, with its fault, and the restarts, each of which changes
something.
"""

from typing import Any, NamedTuple

import numpy as np

import gradtx as gx

# Matrices are Adam's, others gradient descent's; float64 is followed to its last digits, float32 to its own.
SHAPES = {
    "body": {"w": ((8, 6), "float64"), "v": ((4, 8), "float32")},
    "bias": ((8,), "float64"),
    "gain": ((16,), "float32"),
}
CURVATURE = 0.5
THRESHOLD, DECAY, WARMUP, LIMIT = 6.0, 0.98, 40, 3  # of skip_spikes
B1, B2, EPS, WEIGHT_DECAY = 0.9, 0.95, 1e-8, 0.01  # of adamw
MOMENTUM = 0.9


class Phase(NamedTuple):
    """A stretch between two restarts."""

    devices: int  # of the mesh; 1 for none
    rate: tuple[str, float, float, int]  # a schedule of gradtx's: from, to, over so many windows
    window: int  # micro-batches
    lost: int = 0  # steps that were done when it was killed, and that no checkpoint has


PHASES = (
    Phase(1, ("cosine", 3e-3, 3e-4, 1000), 4),
    Phase(2, ("cosine", 3e-3, 3e-4, 1000), 4, lost=7),  # another mesh
    Phase(4, ("cosine", 2e-3, 1e-4, 2000), 4),  # another mesh, and another schedule
    Phase(1, ("linear", 2e-3, 1e-3, 1500), 3, lost=2),  # a schedule of another kind, shorter windows
    Phase(2, ("linear", 2e-3, 1e-3, 1500), 5),
    Phase(1, ("cosine", 1e-3, 1e-4, 900), 2, lost=1),  # what was the first, with other numbers
)
FORMS = len({(phase.devices, phase.rate[0]) for phase in PHASES})


def make_transformation(phase: Phase) -> Any:
    kind, start, end, length = phase.rate
    rate = gx.cosine(start, length, end) if kind == "cosine" else gx.linear(start, end, length)
    groups = gx.partition(
        (gx.by_ndim(at_least=2), gx.adamw(rate, B1, B2, EPS, weight_decay=WEIGHT_DECAY)),
        default=gx.sgd(rate, momentum=MOMENTUM),
    )
    nearest = gx.bfloat16(stochastic=False)
    held = gx.hold(groups, mu=nearest, nu=nearest, trace=nearest)
    windows = gx.accumulate(held, phase.window)
    return gx.skip_spikes(windows, THRESHOLD, decay=DECAY, warmup_steps=WARMUP, limit=LIMIT)


def map_shapes(make: Any, shapes: Any = None) -> Any:
    shapes = SHAPES if shapes is None else shapes
    if isinstance(shapes, dict):
        return {name: map_shapes(make, inside) for name, inside in shapes.items()}
    return make(*shapes)


def draw(seed: Any, size: float = 1.0) -> Any:
    """Normal random arrays of the parameters' shapes and dtypes."""
    source = np.random.default_rng(seed)
    return map_shapes(lambda shape, dtype: (size * source.standard_normal(shape)).astype(dtype))


START, TARGET = draw(0), draw(1)


def noise_of(step: int) -> Any:
    """What a micro-batch adds to the gradient, the same whenever the step is done: one in fifty has a NaN in it, one
    in a hundred an infinity, one in fifty is a spike, and now and then there are more in a row than the limit.
    """
    noise, luck = draw((2, step)), np.random.default_rng((3, step)).random()
    if luck < 0.02 or step % 700 in range(150, 152 + LIMIT):
        noise["bias"][step % 8] = np.nan
    elif luck < 0.03:
        noise["body"]["v"][0, step % 8] = -np.inf
    elif luck < 0.05:
        for x in (noise["body"]["w"], noise["gain"]):
            x *= 300
    return noise
