"""gradtx's step in a process with XLA's option for loops of several outputs, which XLA reads when it starts.

The process waits until it is asked for a step, so that it takes its turn among the runs of this one.
"""

import multiprocessing
import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import jax
import numpy as np

from benchmarks.cases import JaxRun, Shapes, bytes_accessed, gradients, jax_step, size

OPTION = "--xla_backend_extra_options=xla_cpu_use_multi_output_fusion"
NAME = "gradtx, one loop"


@contextmanager
def with_option() -> Generator[None]:
    """What is started inside has the option; this process has read its own already."""
    before = os.environ.get("XLA_FLAGS")
    os.environ["XLA_FLAGS"] = f"{before or ''} {OPTION}".strip()
    try:
        yield
    finally:
        if before is None:
            del os.environ["XLA_FLAGS"]
        else:
            os.environ["XLA_FLAGS"] = before


def serve(connection: Connection, tx: Any, shapes: Shapes) -> None:
    """Makes a step, or gives a parameter, whenever it is asked to."""
    jax.config.update("jax_enable_compilation_cache", False)
    grads = jax.tree.map(jax.numpy.array, gradients(shapes))
    step = jax.jit(jax_step("gradtx", tx), donate_argnums=(0, 1))
    compiled = step.lower(grads, jax.eval_shape(tx.init, grads), grads).compile()
    run, n = JaxRun(compiled, tx, grads), size(shapes.values())
    analysis: Any = compiled.memory_analysis()
    connection.send((analysis.temp_size_in_bytes / n, bytes_accessed(compiled) / n))
    while asked := connection.recv():
        if asked == "step":
            start = time.perf_counter()
            run()
            connection.send(time.perf_counter() - start)
        else:
            connection.send(run.parameter(asked.removeprefix("parameter ")))


class OneLoop:
    """Called, it makes a step there and gives its seconds."""

    def __init__(self, connection: Connection, names: Shapes):
        self.connection, self.params = connection, names
        self.costs: tuple[float, float] = self.answer()  # temporaries and what is accessed, in bytes per parameter

    @classmethod
    @contextmanager
    def of(cls, tx: Any, shapes: Shapes) -> Generator[dict[str, Any]]:
        """The run by its name; none where the option changes nothing, since JAX does not run on a CPU."""
        if jax.default_backend() != "cpu":
            yield {}
            return
        processes = multiprocessing.get_context("spawn")
        here, there = processes.Pipe()
        process = processes.Process(target=serve, args=(there, tx, shapes), daemon=True)
        with with_option():
            process.start()
        there.close()
        try:
            yield {NAME: cls(here, shapes)}
        finally:
            process.terminate()
            process.join()
            here.close()

    def answer(self) -> Any:
        try:
            return self.connection.recv()
        except EOFError:
            raise RuntimeError("the process with XLA's option has ended; its error stands above") from None

    def __call__(self) -> float:
        self.connection.send("step")
        return self.answer()

    def parameter(self, name: str) -> np.ndarray:
        self.connection.send(f"parameter {name}")
        return self.answer()
