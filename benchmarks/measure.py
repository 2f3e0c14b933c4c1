"""How it is measured: in turn, in one process, so that what else the machine does meets every library alike."""

import gc
import math
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from benchmarks.cases import (
    LIBRARIES,
    JaxRun,
    Optimizer,
    Shapes,
    TorchRun,
    bytes_accessed,
    gradients,
    jax_step,
    size,
)
from benchmarks.one_loop import OneLoop

Seconds = dict[str, list[float]]  # by library, one number per round


@dataclass(frozen=True)
class Rounds:
    trace: int  # the last one goes on to compile
    step: int
    eager: int
    seconds: float  # after which steps or eager updates stop, though not before a third of their rounds
    copied: int  # elements of the array that is copied: more than the caches hold
    costs: str  # for the help


FULL = Rounds(trace=5, step=15, eager=9, seconds=12, copied=2**26, costs="six minutes and 14 GiB of memory")
QUICK = Rounds(trace=3, step=7, eager=7, seconds=2, copied=2**24, costs="under a minute and 2 GiB")


@dataclass
class Result:
    """Seconds per round, and per library the compiler's own figures in bytes per parameter."""

    arrays: int
    parameters: int
    traffic: int
    trace: Seconds = field(default_factory=dict)
    lower: Seconds = field(default_factory=dict)
    compile: Seconds = field(default_factory=dict)
    eager: Seconds = field(default_factory=dict)
    step: Seconds = field(default_factory=dict)
    bandwidth: list[float] = field(default_factory=list)  # of each round's fastest copy, in bytes per second
    temporary: dict[str, float] = field(default_factory=dict)
    accessed: dict[str, float] = field(default_factory=dict)

    def shares(self, library: str) -> list[float]:
        """The least memory traffic of each step over the time it took, as a share of the copy's bandwidth."""
        pairs = zip(self.step[library], self.bandwidth, strict=True)
        return [self.traffic * self.parameters / seconds / bandwidth for seconds, bandwidth in pairs]


def measure(optimizer: Optimizer, shapes: Shapes, rounds: Rounds, torch: Any) -> Result:
    result = Result(len(shapes), size(shapes.values()), optimizer.traffic or least_traffic(optimizer, shapes))
    compiled = stages(optimizer, shapes, rounds, result)
    for library in optimizer.libraries:
        result.temporary[library] = compiled[library].memory_analysis().temp_size_in_bytes / result.parameters
        result.accessed[library] = bytes_accessed(compiled[library]) / result.parameters
    values = gradients(shapes)
    grads = jax.tree.map(jax.numpy.array, values)
    runs = {name: JaxRun(compiled[name], optimizer.build(name), grads) for name in optimizer.libraries}
    ways = ("foreach", "fused") if torch and optimizer.torch else ()
    torch_runs = {f"torch {how}": TorchRun(torch, optimizer, how, values) for how in ways}
    del values
    with OneLoop.of(optimizer.build("gradtx"), shapes) as one_loop:
        steps(runs | one_loop | torch_runs, rounds, result)
        for name, run in one_loop.items():
            result.temporary[name], result.accessed[name] = run.costs
    torch_runs.clear()  # eager updates need the memory
    calls = {name: run.eager for name, run in runs.items()}
    in_turn(calls, 1)  # compiles what each operation needs
    result.eager = in_turn(calls, rounds.eager, rounds.seconds)
    return result


def least_traffic(optimizer: Optimizer, shapes: Shapes) -> int:
    """Bytes per parameter: the gradient is read, the parameter and the state are read and written."""
    state = jax.tree.leaves(jax.eval_shape(optimizer.build("gradtx").init, structs(shapes)))
    return 12 + round(2 * sum(x.size * x.dtype.itemsize for x in state) / size(shapes.values()))


def structs(shapes: Shapes) -> dict[str, Any]:
    return {name: jax.ShapeDtypeStruct(shape, np.float32) for name, shape in shapes.items()}


@contextmanager
def uncollected() -> Generator[None]:
    """Without garbage collection, as timeit does: it would fall on whoever runs then."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def timed(call: Callable[..., Any], *args: Any) -> tuple[Any, float]:
    start = time.perf_counter()
    value = call(*args)
    return value, time.perf_counter() - start


def in_turn(
    runs: dict[str, Callable[[], Any]], rounds: int, seconds: float = math.inf, before: Callable[[], Any] | None = None
) -> Seconds:
    """The seconds of each call, its own where it says them, with fewer rounds where they take too long."""
    spent: Seconds = {name: [] for name in runs}
    names = list(runs)
    swapped = names[1::-1] + names[:1:-1]  # A B, B A, A B …: each is as often the one that comes first or after torch
    start = time.perf_counter()
    with uncollected():
        for i in range(rounds):
            if i >= rounds / 3 and time.perf_counter() - start > seconds:
                break
            for name in swapped if i % 2 else names:
                if before:
                    before()
                own, took = timed(runs[name])
                spent[name].append(took if own is None else own)
    return spent


def stages(optimizer: Optimizer, shapes: Shapes, rounds: Rounds, result: Result) -> dict[str, Any]:
    """The compiled steps: traced, lowered and compiled from nothing, on shapes alone."""
    arrays = structs(shapes)
    compiled: dict[str, Any] = {}
    for i in range(rounds.trace):
        for library in optimizer.libraries:
            jax.clear_caches()  # else later rounds find what the functions inside the libraries traced before
            tx = optimizer.build(library)
            state = jax.eval_shape(tx.init, arrays)
            function = jax.jit(jax_step(library, tx), donate_argnums=(0, 1))
            seconds: dict[str, float] = {}
            with uncollected():
                traced, seconds["trace"] = timed(function.trace, arrays, state, arrays)
                lowered, seconds["lower"] = timed(traced.lower)
                if i == rounds.trace - 1:
                    compiled[library], seconds["compile"] = timed(lowered.compile)
            for name, spent in seconds.items():
                getattr(result, name).setdefault(library, []).append(spent)
    return compiled


class Copy:
    """Adds one to an array in place: as fast as JAX can read and write memory it already has."""

    def __init__(self, elements: int):
        self.add_one = jax.jit(lambda x: x + 1, donate_argnums=0)
        self.array = jax.block_until_ready(self.add_one(jax.numpy.zeros(elements, np.float32)))
        self.bandwidths: list[float] = []

    def __call__(self) -> None:
        time.sleep(0.01)  # torch's threads wait for more work by spinning, for some milliseconds
        self.array, seconds = timed(lambda: jax.block_until_ready(self.add_one(self.array)))
        self.bandwidths.append(2 * self.array.nbytes / seconds)


def steps(runs: dict[str, Any], rounds: Rounds, result: Result) -> None:
    for run in runs.values():
        run()
    agree(runs)
    # Before each step, the copy also leaves the caches without the parameters, as a backward pass does.
    in_turn(runs, 1, before=Copy(rounds.copied))
    copy = Copy(rounds.copied)
    result.step = in_turn(runs, rounds.step, rounds.seconds, before=copy)
    result.bandwidth = np.reshape(copy.bandwidths, (-1, len(runs))).max(axis=1).tolist()


def agree(runs: dict[str, Any]) -> None:
    """Libraries that compute different things are not compared."""
    first, *others = runs
    for name in runs[first].params:
        expected = runs[first].parameter(name)
        for other in others:
            difference = np.abs(runs[other].parameter(name) - expected).max()
            if not difference < 1e-5:  # a hundredth of what the step changes
                raise RuntimeError(f"after one step {name} differs between {first} and {other} by {difference:.2g}")


def unsuitable(optimizer: Optimizer, shapes: Shapes) -> str | None:
    """Why a step with this optimizer can't be made on such parameters, if it can't."""
    tx, arrays = optimizer.build("gradtx"), structs(shapes)
    try:
        jax.eval_shape(lambda p, g: jax_step("gradtx", tx)(p, tx.init(p), g), arrays, arrays)
    except (TypeError, ValueError) as error:
        return str(error)
    return None


def compilations(optimizer: Optimizer) -> dict[str, dict[str, int]]:
    """How many programs a second learning rate compiles, by library and by the way the update is called."""
    events: Counter[str] = Counter()
    jax.monitoring.register_event_duration_secs_listener(lambda event, *_, **__: events.update([event]))
    tree = {"w": jax.numpy.ones((8, 8)), "b": jax.numpy.ones(8)}
    as_argument = jax.jit(lambda tx, *args: tx.update(*args))

    def closed_over(tx: Any, *args: Any) -> Any:
        return jax.jit(lambda *args: tx.update(*args))(*args)

    def count(library: str, call: Callable[..., Any]) -> int:
        state = optimizer.build(library).init(tree)
        for learning_rate in (1e-3, 2e-3):
            events.clear()
            jax.block_until_ready(call(optimizer.build(library, learning_rate), tree, state, tree))
        return events["/jax/core/compile/backend_compile_duration"]

    def outside(tx: Any, *args: Any) -> Any:
        return tx.update(*args)

    found = {name: {"eager": count(name, outside), "jitted": count(name, closed_over)} for name in LIBRARIES}
    found["gradtx"]["jitted with the optimizer as an argument"] = count("gradtx", as_argument)
    return found
