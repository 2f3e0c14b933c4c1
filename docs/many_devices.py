"""Draws docs/many_devices.png and writes the tables of docs/many_devices.md, `python -m docs.many_devices`: what one of
eight devices holds and sends, from the arrays and from the compiled programs of a step.
"""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

import gradtx as gx
from gradtx.plot.drawing import COLORS

PAGE = Path(__file__).with_suffix(".md")
N = 8
P = PartitionSpec
TX = gx.chain(gx.clip_by_global_norm(1.0), gx.adamw(1e-3))
SHAPES = {"a": (1024, 1024), "b": (1024, 1024)}
ROWS = 4096  # of the batch: with few, XLA moves activations and not parameters
WAYS = {
    "replicated": (TX, P()),
    "zero_redundancy": (gx.zero_redundancy(TX, "data"), P()),
    "offload": (gx.offload(TX), P()),
    "offload(zero_redundancy)": (gx.offload(gx.zero_redundancy(TX, "data")), P()),
    "FSDP": (TX, P("data")),
}
PARTS = {"parameters": COLORS[0], "state": COLORS[2], "state on the host": COLORS[4]}
SENDS = {"all-reduce": COLORS[0], "all-gather": COLORS[2], "reduce-scatter": COLORS[4]}


def loss(params: Any, x: Any) -> jax.Array:
    return jnp.mean((jnp.tanh(x @ params["a"]) @ params["b"] - 1.0) ** 2)


def placed(mesh: Any, spec: P, shapes: Any) -> Any:
    """Shapes that lie somewhere, which is all that a compilation needs."""
    own = NamedSharding(mesh, spec)
    return {name: jax.ShapeDtypeStruct(shape, jnp.float32, sharding=own) for name, shape in shapes.items()}


# ---- what a device holds ----


def megabytes_held(mesh: Any) -> dict[str, dict[str, float]]:
    """For each way, what the first device and its share of the host hold between steps."""
    found = {}
    for way, (tx, spec) in WAYS.items():
        params = {name: jax.device_put(jnp.zeros(n), NamedSharding(mesh, spec)) for name, n in SHAPES.items()}
        state = jax.jit(tx.init, out_shardings=gx.state_shardings(tx, params))(params)
        held = dict.fromkeys(PARTS, 0.0)
        for part, tree in (("parameters", params), ("state", state)):
            for x in jax.tree.leaves(tree):
                where = " on the host" if x.sharding.memory_kind == "pinned_host" else ""
                held[part + where] += x.addressable_shards[0].data.nbytes / 1e6
        found[way] = held
    return found


# ---- what a device sends ----


def step(tx: Any, params: Any, state: Any, x: Any) -> Any:
    updates, state = tx.update(jax.grad(loss)(params, x), state, params)
    return gx.apply_updates(params, updates), state


def step_on_parts(params: Any, state: Any, x: Any) -> Any:
    """What each device does with whole parameters, its part of the state and its part of the batch."""
    own = jax.tree.map(lambda p: jax.lax.pcast(p, "data", to="varying"), params)
    g = jax.tree.map(lambda g: jax.lax.psum_scatter(g, "data", tiled=True) / N, jax.grad(loss)(own, x))
    place = jax.lax.axis_index("data")
    own = jax.tree.map(lambda p, g: jax.lax.dynamic_slice_in_dim(p, place * len(g), len(g)), own, g)
    updates, state = gx.across(TX, "data").update(g, state, own)
    return gx.apply_updates(own, updates), state


def in_parts(mesh: Any, state: Any) -> Callable[..., Any]:
    specs = jax.tree.map(lambda x: x.spec, state)
    run = jax.shard_map(step_on_parts, mesh=mesh, in_specs=(P(), specs, P("data")), out_specs=(P("data"), specs))

    def gathered(params: Any, state: Any, x: Any) -> Any:
        params, state = run(params, state, x)
        return jax.lax.with_sharding_constraint(params, NamedSharding(mesh, P())), state

    return gathered


def collectives(text: str) -> dict[str, float]:
    """The megabytes that come out of a program's collectives on one device, by kind."""
    found = dict.fromkeys(SENDS, 0.0)
    for shapes, kind in re.findall(r"= (.+?) (all-[\w-]+?|reduce-scatter|collective-permute)(?:-start)?\(", text):
        sizes = re.findall(r"f32\[([\d,]*)\]", shapes)
        found[kind] += sum(4 * int(np.prod([int(n) for n in size.split(",") if n])) for size in sizes) / 1e6
    return found


def sent_on_a_ring(found: dict[str, float]) -> dict[str, float]:
    """What a device sends for them where each hands on to the next: every part but one, twice for a sum on all."""
    times = {"all-reduce": 2 * (N - 1) / N, "all-gather": (N - 1) / N, "reduce-scatter": N - 1}
    return {kind: times[kind] * x for kind, x in found.items()}


def megabytes_out(mesh: Any) -> dict[str, dict[str, float]]:
    """For each way, what comes out of the collectives of a training step."""
    x = placed(mesh, P("data"), {"x": (ROWS, 1024)})["x"]
    found = {}
    for way in ("replicated", "zero_redundancy", "psum_scatter, across", "FSDP"):
        tx, spec = WAYS.get(way, (TX, P()))
        params = placed(mesh, spec, SHAPES)
        held = placed(mesh, P("data"), SHAPES) if way not in WAYS else params
        shardings = gx.state_shardings(tx, held)
        state = jax.jit(tx.init, out_shardings=shardings).eval_shape(held)
        run = partial(step, tx) if way in WAYS else in_parts(mesh, shardings)
        program = jax.jit(run, donate_argnums=(0, 1)).lower(params, state, x).compile()
        found[way] = collectives(program.as_text() or "")
    return found


# ---- the page ----


def table(first: str, rows: dict[str, dict[str, float]], more: dict[str, list[float]]) -> str:
    """Megabytes as a table of Markdown."""
    heads = [first, *next(iter(rows.values())), *more]
    lines = [heads, ["---"] * len(heads)]
    for i, (way, row) in enumerate(rows.items()):
        numbers = [*row.values(), *(column[i] for column in more.values())]
        lines.append([way, *(f"{x:.2f}" if x >= 0.005 else "0" for x in numbers)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def tables(mesh: Any) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    held, out = megabytes_held(mesh), megabytes_out(mesh)
    sent = {way: sent_on_a_ring(row) for way, row in out.items()}
    total = [sum(row.values()) for row in sent.values()]
    return held, sent, [table("MB held", held, {}), table("MB out of", out, {"sent on a ring": total})]


def draw_bars(ax: Axes, rows: dict[str, dict[str, float]], colors: dict[str, str]) -> None:
    """A bar for each row, from top to bottom, of pieces that stand behind each other."""
    left = np.zeros(len(rows))
    for kind, color in colors.items():
        widths = np.array([row[kind] for row in rows.values()])
        ax.barh(list(rows), widths, left=left, color=color, label=kind, height=0.65)
        left += widths
    for i, row in enumerate(rows.values()):
        host = row.get("state on the host", 0.0)
        text = f"{left[i] - host:.1f} + {host:.1f}" if host else f"{left[i]:.1f}"
        ax.text(left[i] + 0.01 * left.max(), i, text, va="center")
    ax.set(xlim=(0, 1.2 * left.max()))
    ax.invert_yaxis()
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=len(colors))


def draw(path: Path, held: dict[str, Any], sent: dict[str, Any]) -> None:
    figure = Figure(figsize=(8, 6.4), layout=ConstrainedLayoutEngine(hspace=0.08))
    upper, lower = figure.subplots(2, 1, height_ratios=(5, 4))
    draw_bars(upper, held, PARTS)
    upper.set(xlabel="MB that one device holds between steps, and its share of the host's memory")
    draw_bars(lower, sent, SENDS)
    lower.set(xlabel="MB that one device sends in a training step, on a ring")
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", N)
    held, sent, written = tables(jax.make_mesh((N,), ("data",), axis_types=(AxisType.Auto,)))
    text = PAGE.read_text()
    for new in written:
        head = re.escape(new.partition(" |")[0])
        text = re.sub(rf"^{head} \|.*(\n\|.*)*", new, text, flags=re.MULTILINE)
    PAGE.write_text(text)
    draw(PAGE.with_suffix(".png"), held, sent)
