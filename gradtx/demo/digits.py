"""Training a small classifier of handwritten digits with one optimizer after another."""

import itertools
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import gradtx

WIDTHS = (64, 128, 128, 10)  # pixels, two hidden layers, digits
EVERY = 100  # steps between two looks at the device, which otherwise would fall behind the progress bar

Params = Any


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
def train_step(tx: gradtx.Transformation, params: Params, state: Any, images: jax.Array, labels: jax.Array) -> Any:
    """One training step, compiled once for all optimizers of one structure: their numbers are traced arguments."""

    def loss_fn(params: Params) -> jax.Array:
        return cross_entropy(params, images, labels)

    loss, grads = jax.value_and_grad(loss_fn)(params)
    updates, state = tx.update(grads, state, params, value=loss, grad=grads, value_fn=loss_fn, loss_fn=loss_fn)
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


def train_network(
    tx: gradtx.Transformation, digits: Digits, steps: int, size: int, seed: int, report: Callable[[int], None]
) -> Run:
    """Train the seed's weights on the seed's batches; `report` hears of the number of steps done."""

    def start() -> tuple[Params, Any]:
        params = initial(seed)
        return params, tx.init(params)

    # Compiled before the clock starts.
    jax.block_until_ready(train_step(tx, *start(), *next(batches(seed, *digits.train, size))))
    params, state = start()
    losses: list[jax.Array] = []  # they stay on the device, so that no step waits for the one before
    began = time.perf_counter()
    for done, batch in enumerate(itertools.islice(batches(seed, *digits.train, size), steps), 1):
        params, state, loss = train_step(tx, params, state, *batch)
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
            runs[name] = train_network(tx, digits, steps, size, seed, report)
    return runs
