"""On an accelerator: a step of each optimizer on GPT-2's parameters, beside Optax's: `python -m benchmarks.gpu`.

Both libraries take turns in one process, compiled, with donated parameters and states. Several steps follow each other
before the clock is read, since a step is sent to the device before the one before it has ended there. The whole takes
under ten minutes on one GPU; `--quick` is small enough for a CPU.
"""

import dataclasses
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

import gradtx as gx
from benchmarks import run
from benchmarks.cases import OPTIMIZERS, Optimizer, Shapes, alone, bytes_accessed, gpt2, gradients, jax_step, size
from benchmarks.matrices import time_of_products
from benchmarks.measure import least_traffic, structs, timed
from benchmarks.record import figure, pair
from gradtx.testing import QUICK as QUICK_LAWS
from gradtx.testing import check_transformation, every_hyperparameter_matters

HIDDEN = gx.by_path(r"^h\..*weight$") & gx.by_ndim(at_least=2)


def optax_muon(learning_rate: float) -> Any:
    def numbers(params: Any) -> Any:
        matrix = optax.contrib.MuonDimensionNumbers(0, 1)
        return {name: matrix if chosen else None for name, chosen in HIDDEN.mask(params).items()}

    return optax.contrib.muon(learning_rate, muon_weight_dimension_numbers=numbers)


def muon(learning_rate: float) -> Any:
    # Optax corrects the bias of both terms that Nesterov's momentum mixes, which does not change the cost.
    return gx.muon(learning_rate, where=HIDDEN, others=gx.adamw(learning_rate, weight_decay=0.0))


def held(title: str, codec: Any) -> Optimizer:
    return dataclasses.replace(alone(gx.hold(gx.adamw(1e-3), mu=codec, nu=codec)), title=title)


CASES = OPTIMIZERS | {
    "lion": Optimizer("Lion", gx.lion, lambda lr: optax.lion(lr), "", {}, max_norm=None, traffic=20),
    "muon": Optimizer("Muon on the hidden matrices", muon, optax_muon, "", {}, max_norm=None, traffic=None),
    "adamw-16": held("AdamW, states in bfloat16", gx.bfloat16()),
    "adamw-8": held("AdamW, states in blocks(8)", gx.blocks(8)),
}


class Sizes(NamedTuple):
    width: int
    layers: int
    rounds: int
    steps: int  # that follow each other
    copied: int  # elements


FULL, QUICK = Sizes(768, 12, 15, 20, 2**28), Sizes(32, 1, 3, 2, 2**20)


@dataclasses.dataclass
class Row:
    """What was measured of an optimizer, by library: seconds of a step in every round, and what the compiler counts."""

    title: str
    least: int  # bytes per parameter that a step must move
    seconds: dict[str, list[float]]
    accessed: dict[str, float]  # bytes per parameter
    temporary: dict[str, float]  # bytes per parameter
    kernels: dict[str, int]
    products: float | None  # seconds that `jnp.dot` takes for as many products


def count_kernels(text: str) -> int:
    """What a compiled program starts on the device: fusions, copies and calls of libraries, wherever they stand."""
    return len(re.findall(r"= .*? (?:fusion|custom-call|copy|dot|convolution|reduce|sort)\(", without_bodies(text)))


def without_bodies(text: str) -> str:
    """The program without what is inside of its fusions."""
    return re.sub(r"(?ms)^%?(?:fused|wrapped|parallel)_[\w.\-]* .*?^}\n", "", text)


class Run:
    """A compiled step that is given to itself."""

    def __init__(self, library: str, optimizer: Optimizer, shapes: Shapes, grads: Any):
        tx, arrays = optimizer.build(library), structs(shapes)
        step = jax.jit(jax_step(library, tx), donate_argnums=(0, 1))
        self.compiled = step.lower(arrays, jax.eval_shape(tx.init, arrays), arrays).compile()
        self.grads = grads
        self.carry = jax.tree.map(jax.numpy.copy, grads), tx.init(grads)

    def __call__(self, steps: int) -> None:
        carry = self.carry
        for _ in range(steps):
            carry = self.compiled(*carry, self.grads)
        self.carry = jax.block_until_ready(carry)


def time_of_copy(elements: int, steps: int) -> float:
    """Seconds per byte, read or written, of adding one to a large array in place."""
    add = jax.jit(lambda x: x + 1, donate_argnums=0)
    x = jax.block_until_ready(add(jax.numpy.zeros(elements, np.float32)))

    def run() -> None:
        nonlocal x
        for _ in range(steps):
            x = add(x)
        jax.block_until_ready(x)

    return min(timed(run)[1] for _ in range(5)) / (steps * 2 * x.nbytes)


def measure(optimizer: Optimizer, sizes: Sizes) -> Row:
    shapes = gpt2(sizes.width, sizes.layers)
    n = size(shapes.values())
    grads = jax.tree.map(jax.numpy.array, gradients(shapes))
    runs = {library: Run(library, optimizer, shapes, grads) for library in optimizer.libraries}
    for one in runs.values():
        one(1)
    seconds: dict[str, list[float]] = {library: [] for library in runs}
    for i in range(sizes.rounds):
        for library in list(runs)[:: -1 if i % 2 else 1]:
            seconds[library].append(timed(runs[library], sizes.steps)[1] / sizes.steps)
    analyses: dict[str, Any] = {library: one.compiled.memory_analysis() for library, one in runs.items()}
    hidden = [grads[name] for name, chosen in HIDDEN.mask(grads).items() if chosen]
    return Row(
        optimizer.title,
        optimizer.traffic or least_traffic(optimizer, shapes),
        seconds,
        {library: bytes_accessed(one.compiled) / n for library, one in runs.items()},
        {library: analysis.temp_size_in_bytes / n for library, analysis in analyses.items()},
        {library: count_kernels(one.compiled.as_text() or "") for library, one in runs.items()},
        time_of_products(hidden) if optimizer is CASES["muon"] else None,
    )


def check_laws() -> int:
    """How many findings of the quick laws hold on this device; an error where one does not."""
    adamw = gx.adamw(1e-3)
    in_codes = gx.hold(adamw, mu=gx.blocks(8), nu=gx.blocks(8))
    laws = [law for law in QUICK_LAWS if law is not every_hyperparameter_matters]  # muon's do on matrices alone
    reports = [
        check_transformation(tx, laws=laws, needs_params=True)
        for tx in (gx.chain(gx.clip_by_global_norm(1.0), adamw), gx.sgd(0.1, momentum=0.9), gx.muon(1e-2), in_codes)
    ]
    for report in reports:
        report.raise_if_broken()
    return sum(finding.verdict == "held" for report in reports for finding in report.findings)


def rows(quick: bool) -> run.Rows:
    sizes = QUICK if quick else FULL
    n = size(gpt2(sizes.width, sizes.layers).values())
    copy = time_of_copy(sizes.copied, sizes.steps)
    print(f"a copy in place runs at {1e-9 / copy:.0f} GB/s")
    found = [as_row(measure(optimizer, sizes), copy * n) for optimizer in CASES.values()]
    print(f"{check_laws()} findings of the quick laws, of four optimizers, hold on this device")
    return found


def as_row(row: Row, copy: float) -> dict[str, Any]:
    """With `copy`, the seconds that a byte of each parameter takes."""
    own, peer = row.seconds["gradtx"], row.seconds.get("Optax")
    return {
        "title": row.title,
        "least": row.least,
        "step": pair(own, peer) if peer else {"gradtx": figure(own)},
        "share": figure(copy * row.least / seconds for seconds in own),
        "of jnp.dot": figure(row.products / seconds for seconds in own) if row.products else None,
        "accessed": row.accessed,
        "temporary": row.temporary,
        "kernels": row.kernels,
    }


def main(given: Sequence[str] | None = None) -> None:
    run.main("gpu", __doc__, rows, given)


if __name__ == "__main__":
    main()
