"""One process of several: `python -m tests.processes.worker SCENARIO FOLDER PORT PROCESSES RANK`.

What it finds it writes to FOLDER/SCENARIO.RANK.json. It ends when its standard input is
closed.
"""

import itertools
import json
import os
import sys
import threading
from pathlib import Path

import jax
import orbax.checkpoint as ocp
from jax.sharding import AxisType

from tests.processes.problem import SAVED, STEPS
from tests.processes.saved import digest, gather, restore, save
from tests.processes.ways import WAYS, fsdp, go_on, zero


def on_four(folder, report):
    mesh = mesh_of_all(8)
    ways = {name: train(make(mesh)) for name, make in WAYS.items()}
    report(ways=ways, saved=train_and_save(fsdp(mesh), folder / "saved"))


def on_two(folder, report):
    mesh = mesh_of_all(2, 2)
    ways = {name: train(make(mesh)) for name, make in WAYS.items()}
    report(ways=ways, resumed={make.__name__: resume(make(mesh), folder / "saved") for make in (fsdp, zero)})


def until_killed(folder, report):
    way = zero(mesh_of_all(8))
    with ocp.CheckpointManager(folder / "interrupted") as manager:
        after = way.params, way.state
        for n in itertools.count():
            if n in SAVED:
                save(manager, n, way, *after)
            report(steps=n)
            (after,) = go_on(way._replace(params=after[0], state=after[1]), n, n + 1)
            jax.block_until_ready(after)


def resumed(folder, report):
    mesh = mesh_of_all(8)
    report(interrupted=resume(zero(mesh), folder / "interrupted"), saved=resume(fsdp(mesh), folder / "saved"))


SCENARIOS = {run.__name__: run for run in (on_four, on_two, until_killed, resumed)}


# ---- what scenarios are made of ----


def mesh_of_all(*sizes):
    names = ("data", "model")[: len(sizes)]
    return jax.make_mesh(sizes, names, axis_types=(AxisType.Auto,) * len(sizes))


def describe(way, after):
    whole = gather(after, way.mesh)
    programs = way.step._cache_size() if hasattr(way.step, "_cache_size") else None
    leaves = [x.tolist() for x in jax.tree.leaves(whole)]
    return dict(leaves=leaves, digest=digest(whole), programs=programs, layout=describe_layout(after[1]))


def describe_layout(state):
    """Which share of the matrices of a state a device has, and in which memory."""
    matrices = [x for x in jax.tree.leaves(state) if x.ndim == 2]
    share = sum(x.addressable_shards[0].data.size for x in matrices) / sum(x.size for x in matrices)
    return dict(share=share, memory=sorted({x.sharding.memory_kind for x in matrices}))


def train(way, start=0):
    fresh = describe_layout(way.state)
    *_, after = go_on(way, start, STEPS)
    return describe(way, after) | dict(fresh=fresh)


def train_and_save(way, folder):
    digests = {}
    with ocp.CheckpointManager(folder) as manager:
        path = itertools.chain([(way.params, way.state)], go_on(way, 0, STEPS))
        for n, after in enumerate(path):
            if n in SAVED:
                save(manager, n, way, *after)
                digests[n] = digest(gather(after, way.mesh))
    return dict(digests=digests, end=describe(way, after))


def resume(way, folder):
    """From each of the checkpoints, and from the flat state in it."""
    found = {}
    with ocp.CheckpointManager(folder) as manager:
        for n in manager.all_steps():
            for name, own in restore(manager, n, way).items():
                start = digest(gather((own.params, own.state), way.mesh))
                found[f"{name} {n}"] = dict(start=start, end=train(own, n))
        return dict(latest=manager.latest_step(), runs=found)


# ---- the process ----


def end_with_the_test():
    """However that ends, no process of it stays."""
    while os.read(0, 1):  # not sys.stdin, whose lock a thread must not hold when Python ends
        pass
    os._exit(1)


def write(path, found):
    """At once: the test may be reading."""
    whole = path.with_name(f"{path.name}.part")
    whole.write_text(json.dumps(found))
    whole.replace(path)


def main(scenario, folder, port, processes, rank):
    threading.Thread(target=end_with_the_test, daemon=True).start()
    jax.config.update("jax_enable_x64", False)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"127.0.0.1:{port}", int(processes), int(rank), initialization_timeout=120)
    path = Path(folder) / f"{scenario}.{rank}.json"
    SCENARIOS[scenario](Path(folder), lambda **found: write(path, found))
    jax.distributed.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
