"""States and parameters in few bytes, what they err by and how they learn: `python -m benchmarks.few_bytes`.

It writes the tables of docs/few_bytes.md and benchmarks/few_bytes.json anew. With `--quick` it trains a little, and
writes nothing.
"""

import argparse
import json
import re
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.markdown import Markdown

import gradtx as gx
from benchmarks.learners import Learner, Make, bytes_per_parameter, letters, losses, numerals

PAGE = Path(__file__).parent.parent / "docs" / "few_bytes.md"
NUMBERS = Path(__file__).with_suffix(".json")


class Sizes(NamedTuple):
    elements: int  # on which errors are measured
    steps: dict[str, int]
    seeds: dict[str, int]
    ways: dict[str, list[str] | None]  # to train, None for all


FULL = Sizes(2**20, {"transformer": 200, "digits": 300}, {"transformer": 3, "digits": 6}, {})
FEW: dict[str, list[str] | None] = {
    "transformer": ["blocks(8)"],
    "digits": ["float32", "blocks(8)", "write_stochastically"],
}
QUICK = Sizes(2**16, {"transformer": 10, "digits": 50}, dict.fromkeys(FEW, 2), FEW)


# ---- errors of codecs ----

CODECS: dict[str, Any] = {
    "bfloat16()": gx.bfloat16(),
    "float16()": gx.float16(),
    "blocks(8, 64)": gx.blocks(8, 64),
    "blocks(8)": gx.blocks(8),
    "blocks(8, 2048)": gx.blocks(8, 2048),
    "blocks(8, map=linear_levels())": gx.blocks(8, map=gx.linear_levels()),
    "of_root(blocks(8))": gx.of_root(gx.blocks(8)),
    "float8()": gx.float8(),
    "float8(2)": gx.float8(2),
    "blocks(4, 128)": gx.blocks(4, 128),
}


def error_of(codec: Any, x: jax.Array, key: jax.Array | None = None) -> tuple[float, float]:
    """The root of the mean square of the errors over that of the numbers, and the share that becomes zero."""
    decoded = codec.decode(codec.encode(x, key))
    rms = jnp.sqrt(jnp.mean((decoded - x) ** 2) / jnp.mean(x**2))
    return float(rms), float(jnp.mean((decoded == 0) & (x != 0)))


def errors(elements: int) -> dict[str, dict[str, float]]:
    """Of each codec on normal numbers, and on their squares as `hold` holds second moments."""
    x = jax.random.normal(jax.random.key(0), (elements,), jnp.float32)
    found: dict[str, dict[str, float]] = {}
    for name, codec in CODECS.items():
        held = codec.encode(x**2)
        own = {"bytes": sum(part.nbytes for part in (held.codes, held.scale) if part is not None) / elements}
        if not name.startswith("of_root"):
            own["normal"], _ = error_of(codec, x)
        unsigned = codec.replace(signed=False) if "signed" in codec.arguments else codec
        own["squares"], own["zeros"] = error_of(unsigned, x**2)
        own["squares at random"], _ = error_of(unsigned, x**2, jax.random.key(1))
        found[name] = own
    return found


# ---- the trap ----


def decayed(codec: Any, steps: int = 1000, b2: float = 0.999) -> float:
    """What 255 elements of a block are after so many steps without a gradient, from 0.5 on, beside one that stays 1."""
    x = jnp.full(256, 0.5).at[0].set(1.0)
    g = jnp.zeros(256).at[0].set(1.0)

    def step(v: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
        new = b2 * v + (1 - b2) * g**2
        return codec.decode(codec.encode(new, key)), None

    keys = jax.random.split(jax.random.key(0), steps)
    return float(jnp.mean(jax.jit(lambda: jax.lax.scan(step, x, keys)[0])()[1:]))


def trap() -> dict[str, float]:
    def both(name: str, codec: Any, **unsigned: bool) -> dict[str, float]:
        return {
            f"{name}, {how}": decayed(codec.replace(stochastic=random, **unsigned))
            for how, random in (("to the nearest", False), ("at random", True))
        }

    return {
        "float32": 0.5 * 0.999**1000,
        **both("bfloat16()", gx.bfloat16()),
        **both("blocks(8)", gx.blocks(8, min_size=0), signed=False),
        **both("float8()", gx.float8(min_size=0)),
    }


# ---- small steps ----

WRITTEN: dict[str, Any] = {
    "to the nearest": lambda key: gx.chain(),
    "write_stochastically": lambda key: gx.write_stochastically(key),
    "write_compensated": lambda key: gx.write_compensated(),
    "write_residual": lambda key: gx.write_residual(key),
    "write_split": lambda key: gx.write_split(),
    "write_from_master": lambda key: gx.write_from_master(),
}


def walk(write: Any, steps: int = 1000, elements: int = 1024) -> dict[str, float]:
    """Where so many weights in bfloat16 are after 1000 steps of 0.001 from 1.0 on: at 2, if nothing is lost."""
    tx = gx.chain(gx.sgd(1.0), write(0))

    def step(carry: Any, _: None) -> tuple[Any, None]:
        w, state = carry
        updates, state = tx.update(jnp.full(elements, -1e-3, jnp.float32), state, w)
        return (gx.apply_updates(w, updates), state), None

    def run() -> tuple[jax.Array, Any]:
        w = jnp.ones(elements, jnp.bfloat16)
        return jax.lax.scan(step, (w, tx.init(w)), length=steps)[0]

    w, state = jax.jit(run)()
    beside = sum(x.nbytes for x in jax.tree.leaves(state) if x.ndim) / elements
    wide = w.astype(jnp.float32)
    return {"bytes": beside, "mean": float(jnp.mean(wide)), "deviation": float(jnp.std(wide))}


# ---- training ----


def ways(rate: float, steps: int) -> dict[str, tuple[Make, Any, float]]:
    """What is compared: an optimizer made with a key, the dtype of the parameters, and how they are disturbed."""

    def adamw() -> Any:
        return gx.adamw(gx.cosine(rate, steps))

    def held(mu: Any, nu: Any) -> tuple[Make, Any, float]:
        return lambda key: gx.hold(adamw(), mu=mu, nu=nu, key=key), jnp.float32, 0.0

    def written(write: Any) -> tuple[Make, Any, float]:
        return lambda key: gx.chain(adamw(), write(key)), jnp.bfloat16, 0.0

    b8 = gx.blocks(8)

    def smallest(key: Any) -> Any:
        return gx.hold(gx.chain(adamw(), gx.write_stochastically(key)), mu=b8, nu=b8, key=key)

    return {
        "float32": (lambda key: adamw(), jnp.float32, 0.0),
        "float32, begun elsewhere by 1e-6": (lambda key: adamw(), jnp.float32, 1e-6),
        "bfloat16()": held(gx.bfloat16, gx.bfloat16),
        "float8()": held(gx.float8(), gx.float8()),
        "blocks(8)": held(b8, b8),
        "blocks(8), nu to the nearest": held(b8, gx.blocks(8, stochastic=False)),
        "blocks(8), nu of_root(blocks(8))": held(b8, gx.of_root(b8)),
        "blocks(4, 128)": held(gx.blocks(4, 128), gx.blocks(4, 128)),
        **{name: written(write) for name, write in WRITTEN.items()},
        "write_stochastically, blocks(8)": (smallest, jnp.bfloat16, 0.0),
    }


def train(learner: Learner, sizes: Sizes, say: Any) -> dict[str, dict[str, Any]]:
    steps, seeds = sizes.steps[learner.name], list(range(sizes.seeds[learner.name]))
    only = sizes.ways.get(learner.name)
    found: dict[str, dict[str, Any]] = {}
    for name, (make, dtype, disturbed) in ways(learner.rate, steps).items():
        if only is None or name in only:
            began = time.perf_counter()
            own = losses(learner, make, dtype, seeds, steps, disturbed)
            state, params = bytes_per_parameter(learner, make, dtype)
            found[name] = {"state": state, "parameters": params, "losses": [round(float(x), 6) for x in own]}
            say(f"{learner.name}, {name}: {own.mean():.4f} ({time.perf_counter() - began:.1f} s)")
    return found


def moments(learner: Learner, steps: int) -> dict[str, list[float]]:
    """By how much the second moments in codes differ at the end of a training from those of a training in float32: the
    median of the ratios, for each matrix that is held so.
    """

    def trained(tx: Any) -> list[np.ndarray]:
        def step(carry: Any, batch: Any) -> tuple[Any, None]:
            params, state = carry
            updates, state = tx.update(jax.grad(learner.loss)(params, batch), state, params)
            return (gx.apply_updates(params, updates), state), None

        def run(params: Any, batches: Any) -> Any:
            return jax.lax.scan(step, (params, tx.init(params)), batches)[0][1]

        state = jax.jit(run)(learner.start(0), learner.batches(0, steps))
        nu: Any = [layer["w"] for layer in gx.find(state, "nu")[:2]]  # the third is small, and stays as it is
        return [np.asarray(x.decode() if hasattr(x, "decode") else x) for x in nu]

    adamw = gx.adamw(gx.cosine(learner.rate, steps))
    exact = trained(adamw)
    found: dict[str, list[float]] = {}
    for name, random in (("to the nearest", False), ("at random", True)):
        held = trained(gx.hold(adamw, mu=gx.blocks(8), nu=gx.blocks(8, stochastic=random)))
        found[name] = [float(np.median(a[b > 0] / b[b > 0])) for a, b in zip(held, exact, strict=True)]
    return found


# ---- what is written ----


def table(rows: list[list[str]]) -> str:
    head, *rest = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([head, "|" + " --- |" * len(rows[0]), *rest]) + "\n"


def in_code(name: str) -> str:
    """A name of a row with the calls in it as code."""
    return re.sub(r"\w+\((?:[^()]|\(\w*\))*\)|write_\w+", r"`\g<0>`", name)


def thousandths(x: float) -> str:
    shown = f"{1e3 * x:+.1f}".replace("-", "\N{MINUS SIGN}")
    return "0.0" if shown.endswith("0.0") and len(shown) == 4 else shown


def table_of_losses(trained: dict[str, Any], names: list[str]) -> str:
    rows = [["", "bytes: parameters, state", "transformer", "less float32", "digits", "less float32"]]
    for name in names:
        row = [in_code(name)]
        for learner, digits in (("transformer", 3), ("digits", 4)):
            own, base = trained[learner][name], np.array(trained[learner]["float32"]["losses"])
            values = np.array(own["losses"])
            less = values - base
            if learner == "transformer":
                row.append(f"{own['parameters']:.0f}, {own['state']:.2f}")
            row.append(f"{values.mean():.{digits}f} ± {values.std(ddof=1):.{digits}f}")
            shown = f"{thousandths(less.mean())} ({thousandths(less.min())} to {thousandths(less.max())})"
            row.append("" if name == "float32" else shown)
        rows.append(row)
    return table(rows)


def tables(numbers: dict[str, Any]) -> dict[str, str]:
    """The tables of the page by the names of their marks."""
    rows = [["", "bytes", "normal numbers", "squares", "squares, at random", "squares that become 0"]]
    for name, own in numbers["errors"].items():
        first = f"{own['normal']:.4f}" if "normal" in own else ""
        rest = [first, f"{own['squares']:.4f}", f"{own['squares at random']:.4f}", f"{own['zeros']:.1%}"]
        rows.append([f"`{name}`", f"{own['bytes']:.3f}", *rest])
    steps = [["", "bytes beside", "mean", "standard deviation"]]
    for name, own in numbers["walks"].items():
        steps.append([in_code(name), f"{own['bytes']:.0f}", f"{own['mean']:.4f}", f"{own['deviation']:.4f}"])
    found = {"errors": table(rows), "walks": table(steps)}
    found["trap"] = table([["", "after 1,000 steps"], *[[in_code(k), f"{x:.4f}"] for k, x in numbers["trap"].items()]])
    medians = [[f"`blocks(8)`, {how}", *(f"{x:.2f}" for x in own)] for how, own in numbers["moments"].items()]
    found["moments"] = table([["", "64 by 128", "128 by 128"], *medians])
    if "transformer" in numbers["trained"]:
        every = list(numbers["trained"]["transformer"])
        if every == list(ways(1.0, 1)):
            at = every.index("to the nearest")
            found["held"] = table_of_losses(numbers["trained"], every[:at])
            found["written"] = table_of_losses(numbers["trained"], ["float32", *every[at:]])
    return found


def with_tables(page: str, found: dict[str, str]) -> str:
    """The page with these tables behind their marks."""
    for name, text in found.items():
        mark = f"<!-- {name}: made by python -m benchmarks.few_bytes -->\n\n"
        page, n = re.subn(re.escape(mark) + r"(\|.*\n)*", lambda _, mark=mark, text=text: mark + text, page)
        if n != 1:
            raise ValueError(f"the page has {n} marks of the table {name!r}, expected one")
    return page


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.few_bytes", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="little training: for a look, not for a claim")
    quick = parser.parse_args().quick
    sizes, console, began = QUICK if quick else FULL, Console(), time.perf_counter()
    numbers: dict[str, Any] = {
        "jax": jax.__version__,
        "errors": errors(sizes.elements),
        "trap": trap(),
        "walks": {name: walk(write) for name, write in WRITTEN.items()},
    }
    learners = letters(), numerals()
    numbers["moments"] = moments(learners[1], sizes.steps["digits"])
    numbers["trained"] = {one.name: train(one, sizes, console.print) for one in learners}
    found = tables(numbers)
    for text in found.values():
        console.print(Markdown(text))
    if not quick:
        NUMBERS.write_text(json.dumps(numbers, indent=1) + "\n")
        PAGE.write_text(with_tables(PAGE.read_text(), found))
    console.print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
