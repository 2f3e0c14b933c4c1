"""What XLA's option for loops with several outputs does on a CPU: `python -m benchmarks.multi_output`.

To steps, and to the rest of a program.

XLA reads the option when it starts, so processes with it and without it take turns. Each measures all rows in turn.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import gradtx as gx
from benchmarks import run
from benchmarks.cases import TREES
from benchmarks.measure import structs, uncollected
from benchmarks.one_loop import with_option
from benchmarks.record import figure

CLIPPED = gx.chain(gx.clip_by_global_norm(1.0), gx.adamw(1e-3, weight_decay=0.1))
OPTIMIZERS = {
    "`sgd` with momentum": gx.sgd(1e-3, momentum=0.9),
    "`lion`": gx.lion(1e-4),
    "`adam`": gx.adam(1e-3),
    "clipped `adamw`": CLIPPED,
    "`amsgrad`": gx.amsgrad(1e-3),
    "`skip_nonfinite(adam)`": gx.skip_nonfinite(gx.adam(1e-3)),
}
LAYERS, WIDTH, HEADS, LENGTH, TOKENS = 4, 256, 4, 128, 1000
CHANNELS = (3, 32, 64, 128)


# ---- two models ----


def normals(seed: int, **shapes: tuple[int, ...]) -> dict[str, jax.Array]:
    random = np.random.default_rng(seed)
    return {
        name: jnp.asarray(random.standard_normal(shape, np.float32) / np.sqrt(np.prod(shape[:-1])))
        for name, shape in shapes.items()
    }


def transformer() -> Callable[[], Any]:
    """The gradient of a transformer that guesses the next token, on 4 excerpts."""
    one = dict(qkv=(WIDTH, 3 * WIDTH), out=(WIDTH, WIDTH), up=(WIDTH, 4 * WIDTH), down=(4 * WIDTH, WIDTH))
    layers = [normals(i, **one) for i in range(LAYERS)]
    params = {"layers": layers, **normals(9, embed=(TOKENS, WIDTH), position=(LENGTH, WIDTH), head=(WIDTH, TOKENS))}
    tokens = jnp.asarray(np.random.default_rng(0).integers(0, TOKENS, (4, LENGTH + 1)))

    def normalized(x: jax.Array) -> jax.Array:
        return (x - x.mean(-1, keepdims=True)) * jax.lax.rsqrt(x.var(-1, keepdims=True) + 1e-5)

    def loss(params: Any) -> jax.Array:
        x = params["embed"][tokens[:, :-1]] + params["position"]
        for own in params["layers"]:
            q, k, v = jnp.split((normalized(x) @ own["qkv"]).reshape(4, LENGTH, HEADS, -1), 3, axis=-1)
            x = x + jax.nn.dot_product_attention(q, k, v, is_causal=True).reshape(x.shape) @ own["out"]
            x = x + jax.nn.gelu(normalized(x) @ own["up"]) @ own["down"]
        logits = jax.nn.log_softmax(normalized(x) @ params["head"])
        return -jnp.take_along_axis(logits, tokens[:, 1:, None], axis=-1).mean()

    gradient = jax.jit(jax.value_and_grad(loss))
    return lambda: gradient(params)


def convolutions() -> Callable[[], Any]:
    """The gradient of a network of convolutions and batch norms, on 32 images of 32 x 32."""
    shapes = {f"w{i}": (3, 3, *CHANNELS[i : i + 2]) for i in range(len(CHANNELS) - 1)}
    params = normals(0, **shapes, head=(CHANNELS[-1], 10))
    images = normals(1, images=(32, 32, 32, 3))["images"]
    labels = jnp.arange(32) % 10

    def loss(params: Any) -> jax.Array:
        x = images
        for name in shapes:
            x = jax.lax.conv_general_dilated(
                x, params[name], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
            x = jax.nn.relu((x - x.mean((0, 1, 2))) * jax.lax.rsqrt(x.var((0, 1, 2)) + 1e-5))
            x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        logits = jax.nn.log_softmax(x.mean((1, 2)) @ params["head"])
        return -jnp.take_along_axis(logits, labels[:, None], axis=-1).mean()

    gradient = jax.jit(jax.value_and_grad(loss))
    return lambda: gradient(params)


# ---- steps ----


def stepping(tx: Any, g: jax.Array) -> Callable[[], Any]:
    """One step after the other on one array, in place."""
    kept: list[Any] = [jnp.copy(g), tx.init(g)]

    def step(params: Any, state: Any, g: Any) -> Any:
        updates, state = tx.update(g, state, params)
        return gx.apply_updates(params, updates), state

    compiled = jax.jit(step, donate_argnums=(0, 1))

    def run() -> Any:
        kept[:] = compiled(*kept, g)
        return kept

    return run


def copying(elements: int) -> Callable[[], Any]:
    kept = [jnp.ones(elements)]
    compiled = jax.jit(lambda x: x + 1, donate_argnums=0)

    def run() -> Any:
        kept[0] = compiled(kept[0])
        return kept

    return run


def compiling() -> None:
    """Clipped AdamW on the 148 arrays of GPT-2, from nothing."""
    jax.clear_caches()
    arrays = structs(TREES["gpt2"].full)
    state = jax.eval_shape(CLIPPED.init, arrays)

    def step(params: Any, state: Any, g: Any) -> Any:
        updates, state = CLIPPED.update(g, state, params)
        return gx.apply_updates(params, updates), state

    jax.jit(step, donate_argnums=(0, 1)).lower(arrays, state, arrays).compile()


def measure_rows(rounds: int, elements: int) -> dict[str, float]:
    """The median of the seconds of each row in this process."""
    jax.config.update("jax_enable_compilation_cache", False)
    runs = {
        "gradient of a transformer": transformer(),
        "gradient of a convolutional network": convolutions(),
        "`x + 1`": copying(elements),
    }
    g = normals(0, g=(elements, 1))["g"][:, 0]
    runs |= {name: stepping(tx, g) for name, tx in OPTIMIZERS.items()}
    spent: dict[str, list[float]] = {name: [] for name in runs}
    for call in runs.values():
        jax.block_until_ready(call())
    with uncollected():
        for _ in range(rounds):
            for name, call in runs.items():
                start = time.perf_counter()
                jax.block_until_ready(call())
                spent[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(seconds) for name, seconds in spent.items()}
    start = time.process_time()  # which is the same beside other work
    compiling()
    return medians | {"to trace, lower and compile clipped AdamW on 148 arrays": time.process_time() - start}


# ---- both kinds of processes ----


def in_process(option: bool, rounds: int, elements: int) -> dict[str, float]:
    call = f"measure_rows({rounds}, {elements})"
    code = f"import json; from benchmarks import multi_output; print(json.dumps(multi_output.{call}))"
    with with_option() if option else nullcontext():
        environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    out = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    if out.returncode:
        raise RuntimeError(f"a process {'with' if option else 'without'} XLA's option ended: {out.stderr[-2000:]}")
    return json.loads(out.stdout.splitlines()[-1])


def rows(quick: bool) -> run.Rows:
    turns, rounds, elements = (2, 5, 2**20) if quick else (3, 11, 2**25)
    found: dict[bool, list[dict[str, float]]] = {False: [], True: []}
    for i in range(turns):
        for option in (False, True) if i % 2 == 0 else (True, False):
            found[option].append(in_process(option, rounds, elements))
    out: run.Rows = []
    for name in found[False][0]:
        without, given = ([row[name] for row in found[option]] for option in (False, True))
        row: dict[str, Any] = {
            "title": name,
            "without": figure(without),
            "with": figure(given),
            "ratio": figure(b / a for a, b in zip(without, given, strict=True)),
        }
        if name in OPTIMIZERS:
            row["least"] = traffic(OPTIMIZERS[name])
            row["share"] = figure(row["least"] / 8 * turn["`x + 1`"] / turn[name] for turn in found[True])
        out.append(row)
    return out


def traffic(tx: Any) -> float:
    """The bytes per parameter that a step must move: the gradient is read once more for a norm, or a guard."""
    state = jax.eval_shape(tx.init, jax.ShapeDtypeStruct((1024,), jnp.float32))
    again = 4 if tx == CLIPPED or tx.recipe is gx.skip_nonfinite else 0
    return 12 + again + 2 * sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state)) // 1024


if __name__ == "__main__":
    run.main("multi_output", __doc__, rows)
