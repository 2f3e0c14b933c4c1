"""One process of several: `python -m gradtx.demo.worker PORT PROCESSES RANK`, and the arguments of the demo.

It ends when its standard input is closed.
"""

import os
import sys
import threading

import jax

from gradtx.demo.__main__ import main


def end_with_parent() -> None:
    while os.read(0, 1):  # not sys.stdin, whose lock a thread must not hold when Python ends
        pass
    os._exit(1)


def run_as_worker(port: str, processes: str, rank: str, *arguments: str) -> None:
    threading.Thread(target=end_with_parent, daemon=True).start()
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"127.0.0.1:{port}", int(processes), int(rank))
    main(arguments)
    jax.distributed.shutdown()


if __name__ == "__main__":
    run_as_worker(*sys.argv[1:])
