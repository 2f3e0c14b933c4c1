"""The paths of optimizers over the contours of a function of two parameters."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes

from gradtx.core.apply import apply_updates
from gradtx.core.transformation import Transformation
from gradtx.plot.drawing import axes, finish, label, line, real, real_array
from gradtx.values.errors import Refusal, errors_of, require_function, require_whole
from gradtx.values.printing import excerpt

SurfaceLoss = Callable[[jax.Array], Any]
View = tuple[tuple[float, float], tuple[float, float]]  # the ends of w₁ and of w₂
MARKERS = "os^Dv"


def paths(
    loss: SurfaceLoss,
    optimizers: Sequence[Transformation] | Mapping[str, Transformation],
    start: Any,
    *,
    steps: int = 50,
    view: View | None = None,
    ax: Axes | None = None,
) -> Axes:
    r"""The paths of optimizers from one start, a mark for each step, over the contours of a loss $L(w_1, w_2)$.

    **Arguments:** `loss` of an array of shape (2,); the optimizers, or a dictionary with a name for each; `start`, two
    numbers; `steps` $\ge 1$; `view`, the ends of $w_1$ and of $w_2$ that are shown, by default around all points that
    are not higher than the start or, where all paths only rise, around the beginning of each; `ax`, by default a new
    one. Between any two neighbouring contours lies the same area.

    **Raises:** `TypeError` for anything but transformations and for a loss that is not a real scalar; `ValueError` for
    anything but two numbers, for a start where the loss is not finite and for a view that is not a box.

    >>> import gradtx as gx
    >>> from gradtx import plot
    >>> ax = plot.paths(lambda w: w[0] ** 2 / 64 + w[1] ** 2, [gx.sgd(0.9), gx.adam(0.5)], (-8.0, 1.0), steps=20)
    >>> [line.get_label() for line in ax.lines[:2]]
    ['sgd(learning_rate=0.9)', 'adam(learning_rate=0.5)']
    """
    with errors_of("plot.paths"):
        require_whole("steps", steps)
        require_function("loss", loss, "an array of shape (2,)", 1)
        named = by_name(optimizers)
        at = real("start", start)
        if at.shape != (2,):
            raise Refusal(ValueError, f"start must be two numbers, got {at.size}")
        begin = jnp.asarray(at, jnp.result_type(float))
        value = jax.eval_shape(loss, begin)
        if getattr(value, "shape", None) != () or not jnp.issubdtype(value.dtype, jnp.floating):
            raise Refusal(TypeError, f"the loss must return a real scalar, got {excerpt(value)}")
        box = None if view is None else real_array(view)
        if view is not None and (box is None or box.shape != (2, 2) or not (box[:, 0] < box[:, 1]).all()):
            raise Refusal(ValueError, f"view must be ((left, right), (bottom, top)), got {excerpt(view)}")
        walks = [(name, *descent(tx, loss, begin, steps)) for name, tx in named]
        if not np.isfinite(first := walks[0][2][0]):
            raise Refusal(ValueError, f"the loss at the start must be finite, got {first}")
        own, ax = ax is None, axes(ax)
    span = around([(points, losses) for _, points, losses in walks]) if view is None else view
    contours(ax, heights_over(loss, span))
    far = 1e3 * np.abs(span).max()  # beyond, a figure's own coordinates overflow
    for i, (name, points, _) in enumerate(walks):
        shown = np.clip(points, -far, far)
        line(ax, shown[:, 0], shown[:, 1], name, linewidth=1.0, marker=MARKERS[i % len(MARKERS)], markersize=3)
    ax.plot(*at, "o", color="white", markeredgecolor="black", zorder=4)
    ax.set(xlim=span[0], ylim=span[1], xlabel="$w_1$", ylabel="$w_2$")
    return finish(ax, own)


def by_name(optimizers: Any) -> list[tuple[str, Transformation]]:
    if isinstance(optimizers, Transformation) or not isinstance(optimizers, Mapping | Sequence):
        remedy = "give a list of optimizers, or a dictionary with a name for each"
        raise Refusal(TypeError, f"draws several optimizers, got {excerpt(optimizers)}; {remedy}")
    named = optimizers.items() if isinstance(optimizers, Mapping) else zip(optimizers, optimizers, strict=True)
    pairs = [(label(name), tx) for name, tx in named]
    for _, tx in pairs:
        if not isinstance(tx, Transformation):
            remedy = "put Optax's into gradtx.chain(…)"
            raise Refusal(TypeError, f"draws gradtx's transformations, got {excerpt(tx)}; {remedy}")
    if not pairs:
        raise Refusal(ValueError, "draws one optimizer at least, got none")
    return pairs


@partial(jax.jit, static_argnames=("loss", "steps"))
def points_and_losses(tx: Transformation, loss: SurfaceLoss, start: jax.Array, steps: int) -> Any:
    def step(at: Any, _: None) -> Any:
        w, state = at
        value, grad = jax.value_and_grad(loss)(w)
        updates, state = tx.update(grad, state, w, value=value, grad=grad, value_fn=loss, loss_fn=loss)
        return (apply_updates(w, updates), state), (w, value)

    return jax.lax.scan(step, (start, tx.init(start)), length=steps + 1)[1]


def descent(tx: Transformation, loss: SurfaceLoss, start: jax.Array, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """The start and the points after each step, (steps + 1, 2), and the losses there; compiled once per structure."""
    points, losses = points_and_losses(tx, loss, start, steps)
    return np.asarray(points), np.asarray(losses)


def around(walks: list[tuple[np.ndarray, np.ndarray]]) -> View:
    """The box of all points that are not higher than the start, with a margin that a flat one has too."""
    shown = [points[losses <= losses[0]] for points, losses in walks]
    if max(map(len, shown)) == 1:  # none but the start: the first steps, and those that are ten times as high
        rising = [(losses <= 10 * losses[0]) | (np.arange(len(losses)) < 2) for _, losses in walks]
        shown = [points[low & np.isfinite(points).all(axis=1)] for (points, _), low in zip(walks, rising, strict=True)]
    points = np.concatenate(shown)
    low, high = points.min(axis=0), points.max(axis=0)
    margin = 0.15 * np.maximum(high - low, 0.1 * (high - low).max() + 1e-3)
    (left, right), (bottom, top) = zip(low - margin, high + margin, strict=True)
    return (left, right), (bottom, top)


def heights_over(loss: SurfaceLoss, view: View) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """200 places of w₁, as many of w₂, and the losses there, as `Axes.contour` takes them."""
    across, up = (np.linspace(low, high, 200) for low, high in view)
    grid = jnp.stack(jnp.meshgrid(across, up), axis=-1).reshape(-1, 2)
    return across, up, np.asarray(jax.vmap(loss)(grid)).reshape(200, 200)


def contours(ax: Axes, heights: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    levels = np.unique(np.nanquantile(heights[2], np.linspace(0.02, 0.98, 13)))
    ax.contour(*heights, levels=levels, colors="0.75", linewidths=0.7, linestyles="solid")
