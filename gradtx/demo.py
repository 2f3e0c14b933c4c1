"""The main job: trains a classifier of handwritten digits with several optimizers and compares them.

python -m gradtx.demo
python -m gradtx.demo --only adam --optimizer 'chain(clip_by_norm(1.0), adam(cosine(3e-3, 500)))'
"""

import argparse
import importlib.util
import itertools
import shutil
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import gradtx
from gradtx.expression import ExpressionError, parse

EXTRAS = {"matplotlib": "matplotlib", "rich": "rich", "sklearn": "scikit-learn"}  # the packages by their modules
WIDTHS = (64, 128, 128, 10)  # pixels, two hidden layers, digits
# A curve is told from another by its dashes and marks, in print too.
LINES = tuple(zip(("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (2, 1))), "osD^vX", strict=True))
EVERY = 100  # steps between two looks at the device, which otherwise would fall behind the progress bar

Params = Any


def optimizers(steps: int) -> dict[str, gradtx.Transformation]:
    """What is compared, each with a learning rate that suits it here."""
    rise = max(steps // 20, 1)
    rate = gradtx.warmup(4e-3, rise).then(gradtx.cosine(4e-3, max(steps - rise, 1)), at=rise)
    return {
        "sgd": gradtx.sgd(0.1),
        "momentum": gradtx.sgd(0.05, momentum=0.9),
        "nesterov": gradtx.sgd(0.05, momentum=0.9, nesterov=True),
        "rmsprop": gradtx.rmsprop(5e-4),
        "adam": gradtx.adam(2e-3),
        "adamw": gradtx.chain(gradtx.clip_by_global_norm(1.0), gradtx.adamw(rate, weight_decay=0.1)),
    }


# ---- the data and the model ----


class Digits(NamedTuple):
    train: tuple[np.ndarray, np.ndarray]  # images, one to a row, and their labels
    test: tuple[np.ndarray, np.ndarray]


def load() -> Digits:
    """Scikit-learn's 1797 digits, always the same 360 of them for the test, scaled by the others' pixels."""
    from sklearn.datasets import load_digits

    data: Any = load_digits()
    images, labels = data.data.astype(np.float32), data.target.astype(np.int32)
    test, train = np.split(np.random.default_rng(0).permutation(len(labels)), [360])
    mean = images[train].mean(axis=0)
    images = (images - mean) / (images[train] - mean).std()
    return Digits((images[train], labels[train]), (images[test], labels[test]))


def batches(seed: int, images: np.ndarray, labels: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Mini-batches for ever, out of one random order of the whole set after another."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(images))
    while True:
        while len(order) < size:
            order = np.concatenate([order, random.permutation(len(images))])
        rows, order = order[:size], order[size:]
        yield images[rows], labels[rows]


def initial(seed: int) -> Params:
    """The weights that every optimizer starts from (He et al., 2015)."""
    keys = jax.random.split(jax.random.key(seed), len(WIDTHS) - 1)
    return [
        {"w": jax.random.normal(key, (n, m), jnp.float32) * (2 / n) ** 0.5, "b": jnp.zeros((1, m), jnp.float32)}
        for key, (n, m) in zip(keys, itertools.pairwise(WIDTHS), strict=True)
    ]


def scores(params: Params, images: jax.Array) -> jax.Array:
    *hidden, last = params
    for layer in hidden:
        images = jax.nn.relu(images @ layer["w"] + layer["b"])
    return images @ last["w"] + last["b"]


def cross_entropy(params: Params, images: jax.Array, labels: jax.Array) -> jax.Array:
    found = scores(params, images)
    return jnp.mean(jax.nn.logsumexp(found, axis=1) - jnp.take_along_axis(found, labels[:, None], axis=1)[:, 0])


# ---- training ----


@partial(jax.jit, donate_argnames=("params", "state"))
def step(tx: gradtx.Transformation, params: Params, state: Any, images: jax.Array, labels: jax.Array) -> Any:
    """One training step, compiled once for all optimizers of one structure: their numbers are traced arguments."""
    loss, grads = jax.value_and_grad(cross_entropy)(params, images, labels)
    updates, state = tx.update(grads, state, params)
    return gradtx.apply_updates(params, updates), state, loss


@jax.jit
def evaluate(params: Params, images: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The loss and the share of right answers over a whole set."""
    return cross_entropy(params, images, labels), jnp.mean(scores(params, images).argmax(axis=1) == labels)


class Run(NamedTuple):
    tx: gradtx.Transformation
    losses: np.ndarray  # of each batch, before its update
    loss: float  # over the training set, at the end
    accuracy: float  # over the test set, at the end
    rate: float  # steps per second
    memory: float  # bytes of state per parameter


def train(
    tx: gradtx.Transformation, digits: Digits, steps: int, size: int, seed: int, report: Callable[[int], None]
) -> Run:
    """Train the seed's weights on the seed's batches; `report` hears of the number of steps done."""

    def start() -> tuple[Params, Any]:
        params = initial(seed)
        return params, tx.init(params)

    jax.block_until_ready(step(tx, *start(), *next(batches(seed, *digits.train, size))))  # compiles before the clock
    params, state = start()
    losses: list[jax.Array] = []  # they stay on the device, so that no step waits for the one before
    began = time.perf_counter()
    for done, batch in enumerate(itertools.islice(batches(seed, *digits.train, size), steps), 1):
        params, state, loss = step(tx, params, state, *batch)
        losses.append(loss)
        if done % EVERY == 0 or done == steps:
            loss.block_until_ready()
            report(done)
    rate = steps / (time.perf_counter() - began)
    memory = sum(x.nbytes for x in jax.tree.leaves(state)) / sum(x.size for x in jax.tree.leaves(params))
    final, _ = evaluate(params, *digits.train)
    _, accuracy = evaluate(params, *digits.test)
    return Run(tx, np.array(jax.device_get(losses), np.float64), float(final), float(accuracy), rate, memory)


def train_all(
    compared: dict[str, gradtx.Transformation], digits: Digits, steps: int, size: int, seed: int
) -> dict[str, Run]:
    """Train with each optimizer, behind a progress bar."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress

    runs: dict[str, Run] = {}
    columns = "{task.description}", BarColumn(), MofNCompleteColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        for name, tx in compared.items():
            task = progress.add_task(name, total=steps)
            report = partial(lambda task, done: progress.update(task, completed=done), task)
            runs[name] = train(tx, digits, steps, size, seed, report)
    return runs


# ---- what is shown ----


def table(runs: dict[str, Run], width: int) -> str:
    """A line of figures for each optimizer, and under it the optimizer as it prints itself."""
    row = "{:12}{:>15}{:>15}{:>11}{:>19}".format
    lines = [row("optimizer", "training loss", "test accuracy", "steps/s", "state bytes/param."), "-" * 72]
    for name, run in runs.items():
        lines += [row(name, f"{run.loss:.2e}", f"{run.accuracy:.1%}", f"{run.rate:,.0f}", f"{run.memory:.1f}")]
        lines += textwrap.wrap(
            repr(run.tx),
            width,
            initial_indent="    ",
            subsequent_indent="    ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    return "\n".join(lines)


def smoothed(losses: np.ndarray, window: int) -> np.ndarray:
    """At each step the mean of the last losses, `window` of them once there are as many."""
    return np.array([losses[max(end - window, 0) : end].mean() for end in range(1, len(losses) + 1)])


def draw(runs: dict[str, Run], steps: int, path: Path) -> None:
    """Write the figure of the loss curves."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    shades = colormaps["viridis"](np.linspace(0, 0.8, len(runs)))
    window, apart = max(steps // 20, 1), max(steps // 8, 1)
    for i, ((name, run), (line, marker)) in enumerate(zip(runs.items(), itertools.cycle(LINES), strict=False)):
        (curve,) = axes.plot(range(1, steps + 1), smoothed(run.losses, window), color=shades[i], label=name)
        curve.set(linestyle=line, marker=marker, markersize=5, markevery=(i * apart // len(runs), apart))
    axes.set(yscale="log", xlabel="training step", ylabel=f"training loss (mean over {window} steps)")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", frameon=False, handlelength=4)
    figure.savefig(path, dpi=150)


# ---- the command line ----


def whole(text: str, least: int) -> int:
    if not (text.isdecimal() and len(text) <= 10 and least <= int(text) < 2**31):
        raise argparse.ArgumentTypeError(f"must be a whole number, at least {least} and below 2**31, got {text!r:.40}")
    return int(text)


def expression(text: str) -> gradtx.Transformation:
    try:
        return parse(text)
    except ExpressionError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m gradtx.demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = list(optimizers(1))
    count, seed = partial(whole, least=1), partial(whole, least=0)
    several = "may be given several times"
    only = f"one of {', '.join(names)} (default: all); {several}"
    own = f"an optimizer of your own, written as the table prints it; {several}"
    parser.add_argument("--steps", type=count, default=600, help="training steps of each (default: 600)")
    parser.add_argument("--batch-size", type=count, default=64, help="images in a step (default: 64)")
    parser.add_argument("--seed", type=seed, default=0, help="of the weights and the batches (default: 0)")
    parser.add_argument("--only", metavar="NAME", action="append", default=[], choices=names, help=only)
    parser.add_argument("--optimizer", metavar="EXPRESSION", action="append", default=[], type=expression, help=own)
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("out"), help="for the figure (default: out)")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, print the table, write the figure."""
    parser = command_line()
    given = parser.parse_args(arguments)
    missing = [name for module, name in EXTRAS.items() if importlib.util.find_spec(module) is None]
    if missing:
        parser.error(f"{' and '.join(missing)} not installed; pip install 'gradtx[demo]'")
    digits = load()
    images, tests = len(digits.train[0]), len(digits.test[0])
    if given.batch_size > images:
        parser.error(f"argument --batch-size: there are {images} training images, got {given.batch_size}")
    try:
        given.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"argument --out: can't make the directory {str(given.out)!r}: {error.strerror}")

    named = optimizers(given.steps)
    names = given.only or ([] if given.optimizer else list(named))
    compared = {name: named[name] for name in names}
    compared |= {f"custom {i}": tx for i, tx in enumerate(given.optimizer, 1)}
    runs = train_all(compared, digits, given.steps, given.batch_size, given.seed)
    width = shutil.get_terminal_size().columns
    print(table(runs, width))
    note = (
        f"Steps: {given.steps}, each of {given.batch_size} images; seed: {given.seed}; device: {jax.default_backend()}."
        f" Loss and accuracy after the last step: mean cross-entropy over the {images} training images, share of the"
        f" {tests} test images named rightly. Compilation is not timed."
    )
    print("", textwrap.fill(note, width), sep="\n")
    path = given.out / "optimizers.png"
    try:
        draw(runs, given.steps, path)
    except OSError as error:
        parser.error(f"argument --out: can't write {str(path)!r}: {error.strerror}")
    print(f"Loss curves: {path}")


if __name__ == "__main__":
    main()
