"""English text that comes with Python, and a transformer that learns to predict its bytes."""

import re
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import gradtx
from gradtx.demo.resume import Checkpoints, Progress
from gradtx.demo.transformer import ModelSize, Weights, bits_per_byte, initial_weights

HELD_OUT = 2**15  # bytes to predict, each once


# ---- the text ----


class Text(NamedTuple):
    train: np.ndarray  # bytes
    held_out: np.ndarray  # what stands behind them, with the last byte of theirs in front


def load_text() -> Text:
    """The topics of Python's help in the order of their names. The last bytes are held out.

    Topics repeat each other's paragraphs. Here each stands once, so that none that is held out was trained on.
    """
    from pydoc_data.topics import topics

    paragraphs: dict[str, str] = {}
    for name in sorted(topics):
        for paragraph in re.split(r"\n\s*\n", topics[name].strip("\n")):
            paragraphs.setdefault(" ".join(paragraph.split()), paragraph)
    text = np.frombuffer("\n\n".join(paragraphs.values()).encode(), np.uint8)
    return Text(text[:-HELD_OUT], text[-HELD_OUT - 1 :])


def passages_at(text: np.ndarray, starts: np.ndarray, length: int) -> np.ndarray:
    return text[starts[:, None] + np.arange(length + 1)]


def batch_at(step: int, seed: int, text: np.ndarray, rows: int, length: int) -> np.ndarray:
    """The passages of a step, a function of the seed and the step alone."""
    starts = np.random.default_rng((seed, step)).integers(0, len(text) - length, rows)
    return passages_at(text, starts, length)


def held_out_batches(text: np.ndarray, rows: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """All passages, (batches, rows, length + 1), and their weights: 0 for those that only fill the last batch."""
    count = (len(text) - 1) // length
    numbers = np.arange(-(-count // rows) * rows).reshape(-1, rows)
    passages = passages_at(text, (numbers % count * length).ravel(), length)
    return passages.reshape(*numbers.shape, length + 1), (numbers < count).astype(np.float32)


# ---- the devices ----


def mesh_over(devices: list[Any]) -> Mesh:
    return jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices)


def lay_out(x: np.ndarray, mesh: Mesh, spec: P) -> jax.Array:
    """An array of which each process gives what its devices hold."""
    return jax.make_array_from_callback(x.shape, NamedSharding(mesh, spec), lambda index: x[index])


def lay_out_weights(params: Weights, mesh: Mesh) -> Weights:
    """Each array spread over all devices along the first axis that they divide (FSDP); what has none is everywhere."""

    def spread(x: np.ndarray) -> jax.Array:
        axis = next((i for i, n in enumerate(x.shape) if mesh.size > 1 and n % mesh.size == 0), None)
        return lay_out(x, mesh, P() if axis is None else P(*[None] * axis, "data"))

    return jax.tree.map(spread, params)


def gather_whole(params: Weights, mesh: Mesh) -> Weights:
    """On every process, as NumPy's arrays."""
    whole = jax.jit(lambda x: x, out_shardings=NamedSharding(mesh, P()))(params)
    return jax.tree.map(lambda x: np.asarray(x.addressable_data(0)), whole)


# ---- training ----


class Setup(NamedTuple):
    """All that a run depends on beside its optimizer."""

    size: ModelSize
    steps: int
    rows: int  # passages in a step
    seed: int


LARGE, SMALL = ModelSize(4, 144, 128), ModelSize(1, 64, 64)
DEFAULT, QUICK = Setup(LARGE, 300, 16, 0), Setup(SMALL, 20, 8, 0)


class TextRun(NamedTuple):
    tx: gradtx.Transformation
    losses: np.ndarray  # bits per byte of each batch, before its update
    curve: np.ndarray  # a row for each look at the held-out text: steps done, seconds, bits per byte
    bits: float  # per held-out byte, at the end
    seconds: float  # in training steps alone
    rate: float  # bytes per second
    memory: float  # bytes of state per parameter
    params: Weights  # those to evaluate with, at the end


@partial(jax.jit, donate_argnames=("params", "state"))
def text_step(tx: gradtx.Transformation, params: Weights, state: Any, batch: jax.Array) -> Any:
    """One training step, compiled once for all optimizers of one structure: their numbers are traced arguments."""

    def loss_fn(params: Weights) -> jax.Array:
        return jnp.mean(bits_per_byte(params, batch))

    loss, grads = jax.value_and_grad(loss_fn)(params)
    updates, state = tx.update(grads, state, params, value=loss, grad=grads, value_fn=loss_fn, loss_fn=loss_fn)
    return gradtx.apply_updates(params, updates), state, loss


@jax.jit
def evaluate_text(
    tx: gradtx.Transformation, params: Weights, state: Any, batches: jax.Array, weights: jax.Array
) -> jax.Array:
    """The mean over all passages, with the parameters to evaluate with."""
    own = gradtx.evaluation_parameters(tx, state, params)
    return jnp.sum(jax.lax.map(partial(bits_per_byte, own), batches) * weights) / jnp.sum(weights)


def compile_init(tx: gradtx.Transformation, params: Weights) -> Callable[[Weights], Any]:
    """An `init` whose states lie as the parameters do, as one program: op by op, codes take three times as long."""
    return jax.jit(tx.init, out_shardings=gradtx.state_shardings(tx, params))


def train_on_text(
    tx: gradtx.Transformation,
    setup: Setup = DEFAULT,
    mesh: Mesh | None = None,
    checkpoints: Checkpoints | None = None,
    report: Callable[[int, float], None] = lambda done, loss: None,
) -> TextRun:
    """Train the seed's weights on the seed's batches, from the last of the checkpoints if there is one.

    `report` hears of the number of steps done and of the loss. Compiling, evaluating and saving are not timed.
    """
    size, steps, rows, seed = setup
    text, mesh = load_text(), mesh or mesh_over(jax.devices()[:1])
    every = min(max(steps // 10, 1), 50)

    def start() -> Weights:
        return lay_out_weights(initial_weights(seed, size), mesh)

    def batch(step: int) -> jax.Array:
        return lay_out(batch_at(step, seed, text.train, rows, size.context), mesh, P("data"))

    with jax.set_mesh(mesh):
        at_once = -(-16 // mesh.size) * mesh.size
        held_out = [lay_out(x, mesh, P(None, "data")) for x in held_out_batches(text.held_out, at_once, size.context)]
        params = start()
        init = compile_init(tx, params)
        state = init(params)
        progress = Progress([], [], 0.0)
        if checkpoints and checkpoints.latest() is not None:
            params, state, progress = checkpoints.restore(tx, params)
        if not progress.curve:
            progress = progress.look(float(evaluate_text(tx, params, state, *held_out)))
        if len(progress.losses) < steps:
            first = start()
            jax.block_until_ready(text_step(tx, first, init(first), batch(0)))  # compiled before the clock starts
        for done in range(len(progress.losses) + 1, steps + 1):
            now, began = batch(done - 1), time.perf_counter()
            params, state, loss = text_step(tx, params, state, now)
            progress = progress.step(float(loss), time.perf_counter() - began)
            report(done, progress.losses[-1])
            if done % every == 0 or done == steps:
                progress = progress.look(float(evaluate_text(tx, params, state, *held_out)))
                if checkpoints:
                    checkpoints.save(tx, params, state, progress)
        memory = sum(x.nbytes for x in jax.tree.leaves(state)) / sum(x.size for x in jax.tree.leaves(params))
        own = gather_whole(gradtx.evaluation_parameters(tx, state, params), mesh)
    curve, seconds = np.array(progress.curve), progress.seconds
    rate = steps * rows * size.context / seconds
    return TextRun(tx, np.array(progress.losses), curve, float(curve[-1, 2]), seconds, rate, memory, own)
