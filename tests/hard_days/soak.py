"""Trains for very many steps through faults and restarts, beside what NumPy says of each."""

import gc
import itertools
import os
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

import gradtx as gx
from tests.hard_days.plan import CURVATURE, PHASES, START, TARGET, Phase, make_transformation, noise_of
from tests.hard_days.reference import Reference, flatten

COMPILED = "/jax/core/compile/backend_compile_duration"
LOOKS = 10  # in each phase, at which everything is compared
STILL: dict[str, Any] = {"frozen": None, "seen": None}  # the gradient of what does not move
HELD, CODES = ("mu", "nu", "trace"), " in 16 bits"
compiled = Counter[str]()  # programs, since this module was imported


class Findings(NamedTuple):
    steps: int
    restarts: int
    left_out: int  # micro-batches: spikes, and what is not finite
    windows: int
    worst: dict[str, float]  # the largest distance from NumPy relative to the largest element, by dtype
    programs: int  # of the step
    late: int  # compiled once each form had been met: steps, restarts and all
    memory: tuple[float, float]  # MiB in use once each form had been met, and at the end
    arrays: tuple[int, int]  # of JAX's that are alive, at these times


def run_step(tx: Any, params: Any, state: Any, noise: Any) -> Any:
    moving = {name: params[name] for name in noise}
    grads = jax.tree.map(lambda p, target, n: CURVATURE * (p - target) + n, moving, TARGET, noise)
    updates, state = tx.update(grads | STILL, state, params)
    return gx.apply_updates(params, updates), state


train_step: Any = jax.jit(run_step, donate_argnums=(1, 2))


def place(tree: Any, devices: int) -> Any:
    """Arrays over the first axis of a mesh of so many devices; on one device wherever it is."""
    if devices == 1:
        return jax.tree.map(jnp.array, tree)
    mesh = Mesh(np.array(jax.devices()[:devices]), ("data",), axis_types=(AxisType.Auto,))

    def lay(x: Any) -> jax.Array:
        spec = PartitionSpec("data") if np.ndim(x) else PartitionSpec()
        return jax.device_put(x, NamedSharding(mesh, spec))

    return jax.tree.map(lay, tree)


def save(path: Path, tx: Any, params: Any, state: Any) -> None:
    own = {f"params{key}": x for key, x in flatten(params_that_move(params)).items()}
    np.savez(path, **own, **gx.to_flat(tx, state, params))


def load(path: Path, phase: Phase) -> Any:
    """A run from its checkpoint, in the way of another phase."""
    with np.load(path) as stored:
        flat = dict(stored)
    own = [flat.pop(f"params{path}").astype(x.dtype) for path, x in arrays_of(START).items()]
    params = place(with_still(jax.tree.unflatten(jax.tree.structure(START), own)), phase.devices)
    tx = make_transformation(phase)
    return tx, params, gx.from_flat(tx, params, flat)


def with_still(tree: Any) -> Any:
    return tree | {"frozen": None, "seen": np.int32(7)}


def params_that_move(params: Any) -> Any:
    return {name: params[name] for name in START}


# ---- what is compared ----


def distances(params: Any, state: Any, reference: Reference) -> dict[str, float]:
    """How far the arrays are from NumPy's by dtype; all that is counted must be equal."""
    counts = dict(
        in_window=gx.find(state, "mini_step"),
        windows=state.inner_state.count,
        accepted=state.accepted,
        total=state.total,
        in_a_row=state.in_a_row,
        exceeded=state.exceeded,
    )
    assert {name: x.item() for name, x in counts.items()} == {name: getattr(reference, name) for name in counts}
    assert params["frozen"] is None
    assert params["seen"] == 7
    worst: dict[str, float] = defaultdict(float)
    trees = dict(
        params=params_that_move(params),
        mean_gradient=gx.find(state, "acc_grads"),
        **{name: gx.find(state, name) for name in HELD},
    )
    for name, tree in trees.items():
        expected = getattr(reference, name)
        for path, x in arrays_of(tree).items():
            apart = np.max(np.abs(np.asarray(x, float) - expected[path])) / max(np.max(np.abs(expected[path])), 1e-3)
            kind = f"{START_DTYPES[path]}{CODES if name in HELD else ''}"
            worst[kind] = max(worst[kind], float(apart))
    return worst


def arrays_of(tree: Any) -> dict[str, Any]:
    rows = jax.tree_util.tree_leaves_with_path(tree)
    return {"/" + jax.tree_util.keystr(path, simple=True, separator="/"): x for path, x in rows}


START_DTYPES = {path: str(x.dtype) for path, x in arrays_of(START).items()}


# ---- the run ----


def soak(steps: int, phases: int) -> Findings:
    """So many steps, with a restart behind each of so many phases."""
    jax.monitoring.register_event_duration_secs_listener(lambda event, *_, **__: compiled.update([event]))
    reference, length = Reference(), -(-steps // phases)
    before, middle = train_step._cache_size(), None
    worst: dict[str, float] = {}
    step = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint.npz"
        tx = make_transformation(PHASES[0])
        params = place(with_still(START), PHASES[0].devices)
        state = tx.init(params)
        for phase, following in itertools.pairwise(itertools.islice(itertools.cycle(PHASES), phases + 1)):
            last = min(step + length, steps)
            while step < last:
                noise = noise_of(step)
                params, state = train_step(tx, params, state, noise)
                reference.step(phase, noise)
                step += 1
                if step % max(length // LOOKS, 1) == 0 or step == last:
                    found = distances(params, state, reference)
                    worst = {kind: max(worst.get(kind, 0.0), x) for kind, x in found.items()}
            save(path, tx, params, state)
            for i in range(phase.lost):  # what is done behind the checkpoint is lost
                params, state = train_step(tx, params, state, noise_of(step + i))
            tx, params, state = load(path, following)
            if step == length * len(PHASES):
                middle = in_use()
    here = in_use()
    start = middle or here
    return Findings(
        steps=step,
        restarts=phases,
        left_out=reference.total,
        windows=reference.windows,
        worst=worst,
        programs=train_step._cache_size() - before,
        late=here[2] - start[2],
        memory=(start[0], here[0]),
        arrays=(start[1], here[1]),
    )


def in_use() -> tuple[float, int, int]:
    gc.collect()
    return resident(), len(jax.live_arrays()), compiled[COMPILED]


def resident() -> float:
    """The memory of this process in MiB, 0 where the system does not say so."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20 if statm.exists() else 0.0
