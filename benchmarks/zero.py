"""ZeRO-1 on eight devices that are all this processor, beside states that lie whole: `python -m benchmarks.zero`.

Optax has no part for it. Beside it stand Optax's optimizer on whole states, and the same with layouts that are given to
its state by hand, in which XLA then finds the step that it makes of them. All take turns in one process.
"""

from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import gradtx
from benchmarks import run
from benchmarks.cases import JaxRun, Shapes, gpt2, gradients, jax_step, size
from benchmarks.measure import in_turn
from benchmarks.record import figure

DEVICES = 8
ROUNDS, QUICK = 9, 3
P = PartitionSpec


def by_hand(mesh: Any, state: Any) -> Any:
    """Each array of a state along its first dimension that divides by the devices."""

    def layout(x: Any) -> NamedSharding:
        at = next((i for i, n in enumerate(x.shape) if n % DEVICES == 0), None)
        return NamedSharding(mesh, P() if at is None else P(*[None] * at, "data"))

    return jax.tree.map(layout, state)


class Way(JaxRun):
    """A compiled step on arrays that lie whole on every device, with its state laid as it is told."""

    def __init__(self, library: str, tx: Any, layouts: Any, grads: Any):
        whole = jax.tree.map(lambda g: g.sharding, grads)
        self.tx, self.grads, self.params = tx, grads, jax.tree.map(jax.numpy.copy, grads)
        self.state = jax.jit(tx.init, out_shardings=layouts)(grads)
        step = jax.jit(jax_step(library, tx), donate_argnums=(0, 1), out_shardings=(whole, layouts))
        self.compiled = step.lower(self.params, self.state, grads).compile()
        parts = [x.addressable_shards[0].data.nbytes for x in jax.tree.leaves(self.state)]
        self.held = sum(parts)  # bytes of the state on one device


def ways(mesh: Any, shapes: Shapes) -> dict[str, Way]:
    everywhere = NamedSharding(mesh, P())
    grads = {name: jax.device_put(g, everywhere) for name, g in gradients(shapes).items()}
    ours = gradtx.chain(gradtx.clip_by_global_norm(1.0), gradtx.adamw(1e-3, weight_decay=0.1))
    theirs = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3, weight_decay=0.1))
    zero = gradtx.zero_redundancy(ours, "data")
    peer = jax.eval_shape(theirs.init, grads)
    return {
        "`zero_redundancy`": Way("gradtx", zero, gradtx.state_shardings(zero, grads), grads),
        "gradtx, states whole": Way("gradtx", ours, gradtx.state_shardings(ours, grads), grads),
        "Optax, layouts by hand": Way("Optax", theirs, by_hand(mesh, peer), grads),
        "Optax, states whole": Way("Optax", theirs, jax.tree.map(lambda x: everywhere, peer), grads),
    }


def rows(quick: bool) -> run.Rows:
    if len(jax.devices()) < DEVICES:
        raise RuntimeError(f"benchmarks.zero: JAX has {len(jax.devices())} devices, expected {DEVICES}")
    mesh = jax.make_mesh((DEVICES,), ("data",), axis_types=(AxisType.Auto,))
    shapes = gpt2(64, 2) if quick else gpt2(192)
    runs = ways(mesh, shapes)
    in_turn(runs, 1)
    first, *others = runs.values()
    for name in shapes:
        for other in others:
            difference = np.abs(other.parameter(name) - first.parameter(name)).max()
            if not difference < 1e-5:
                raise RuntimeError(f"benchmarks.zero: after one step {name} differs by {difference:.2g}")
    spent = in_turn(runs, QUICK if quick else ROUNDS)
    base = spent["`zero_redundancy`"]
    n = size(shapes.values())
    return [
        {
            "title": name,
            "arrays": len(shapes),
            "parameters": n,
            "devices": DEVICES,
            "held": runs[name].held / n,
            "step": figure(seconds),
            "ratio": figure(b / a for a, b in zip(base, seconds, strict=True)),
        }
        for name, seconds in spent.items()
    ]


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", DEVICES)
    run.main("zero", __doc__, rows)
