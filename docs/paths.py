"""Draws docs/paths.gif, `python -m docs.paths`: the paths of four optimizers in a ravine of condition number 64."""

from pathlib import Path

import matplotlib.pyplot as plt

import gradtx as gx
from gradtx import plot
from gradtx.demo.surfaces import SURFACES

RAVINE = SURFACES["ravine"]


def draw(path: Path) -> None:
    optimizers = [gx.sgd(0.95), gx.sgd(0.3, momentum=0.9), gx.adam(0.5), gx.rmsprop(0.25)]
    figure, ax = plt.subplots(figsize=(8, 3.6), layout="constrained")
    plot.paths(RAVINE.loss, optimizers, RAVINE.start, steps=40, ax=ax)
    figure.suptitle("$w_1^2/64 + w_2^2$, 40 steps from $(-8, 1)$", fontsize=10)
    plot.animation(ax, frames=41, interval=150).save(path, writer="pillow", dpi=100)


if __name__ == "__main__":
    draw(Path(__file__).with_suffix(".gif"))
