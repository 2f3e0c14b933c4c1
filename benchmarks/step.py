"""One optimizer step, side by side with Optax and torch: `python -m benchmarks.step --help`."""

import argparse
import gc
from collections.abc import Sequence
from typing import Any

import jax

from benchmarks import run
from benchmarks.cases import OPTIMIZERS, TREES, Optimizer, Shapes, alone, import_torch, size
from benchmarks.measure import FULL, QUICK, Result, compilations, measure, unsuitable
from benchmarks.one_loop import NAME as ONE_LOOP
from benchmarks.record import figure, pair
from gradtx.config.read import from_file


def parser() -> argparse.ArgumentParser:
    epilog = ["trees of float32 parameters:"]
    for name, tree in TREES.items():
        epilog += [f"  {name:12}{tree.title}: {described(tree.full)} (quick: {described(tree.quick)})"]
    epilog += ["", "optimizers:", *(f"  {name:12}{optimizer.title}" for name, optimizer in OPTIMIZERS.items())]
    epilog += ["", f"A run takes {FULL.costs}; with --quick, {QUICK.costs}."]
    text = (
        "Compares one optimizer step of gradtx, also in one loop per array, with Optax and, where it is installed,\n"
        "torch: the time to trace, lower, compile and run it, and the memory that it moves."
    )
    raw = argparse.RawDescriptionHelpFormatter
    out = run.parser("step", text, formatter_class=raw, epilog="\n".join(epilog))
    out.add_argument("--tree", metavar="NAME", choices=TREES, help=f"only this tree: {', '.join(TREES)}")
    out.add_argument("--only", metavar="NAME", choices=OPTIMIZERS, help=f"only this one: {', '.join(OPTIMIZERS)}")
    own = "only the optimizer in this file of JSON, as gradtx.to_config writes it; may be given several times"
    out.add_argument("--config", metavar="FILE", action="append", default=[], type=config, help=own)
    return out


def config(path: str) -> tuple[str, Optimizer]:
    try:
        return path, alone(from_file(path))
    except (TypeError, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def described(shapes: Shapes) -> str:
    arrays = f"{len(shapes):,} arrays, " if len(shapes) > 1 else ""
    return f"{arrays}{size(shapes.values()):,} parameters"


def row(tree: str, name: str, optimizer: Optimizer, result: Result) -> dict[str, Any]:
    """Seconds by library, and how many times gradtx's they are, round by round."""
    spent = {kind: getattr(result, kind) for kind in ("trace", "lower", "compile", "eager", "step")}
    both = {ONE_LOOP, "Optax"}
    by_gradtx = {
        kind: {
            library: figure(b / a for a, b in zip(own["gradtx"], seconds, strict=True))
            for library, seconds in own.items()
            if library != "gradtx"
        }
        for kind, own in spent.items()
    }
    return {
        "tree": tree,
        "optimizer": name,
        "title": optimizer.title,
        "arrays": result.arrays,
        "parameters": result.parameters,
        "least": result.traffic,
        "accessed": result.accessed,
        "temporary": result.temporary,
        **{kind: {library: figure(seconds) for library, seconds in own.items()} for kind, own in spent.items()},
        "by gradtx": by_gradtx,
        "one loop": pair(result.step[ONE_LOOP], result.step["Optax"]) if both <= {*result.step} else None,
        "share": {library: figure(result.shares(library)) for library in result.step},
        "bytes per second": figure(result.bandwidth),
    }


def main(given: Sequence[str] | None = None) -> None:
    arguments = parser()
    chosen = arguments.parse_args(given)
    trees = {name: TREES[name].quick if chosen.quick else TREES[name].full for name in TREES}
    trees = {chosen.tree: trees[chosen.tree]} if chosen.tree else trees
    own = dict(chosen.config)
    for path, optimizer in own.items():
        for tree, shapes in trees.items():
            if problem := unsuitable(optimizer, shapes):
                arguments.error(f"argument --config: {path} does not suit the tree {tree}: {problem}")
    named = {chosen.only: OPTIMIZERS[chosen.only]} if chosen.only else {} if own else OPTIMIZERS
    jax.config.update("jax_enable_compilation_cache", False)  # what is read from disk is not compiled
    torch = import_torch() if jax.default_backend() == "cpu" else None
    rounds = QUICK if chosen.quick else FULL

    def rows() -> run.Rows:
        # It comes first: what Python and JAX import or set up on demand is then done.
        found: run.Rows = [{"compilations": compilations(next(iter(named.values())))}] if named else []
        for tree, shapes in trees.items():
            for name, optimizer in (named | own).items():
                print(f"{optimizer.title} on {TREES[tree].title}: {described(shapes)}", flush=True)
                found.append(row(tree, name, optimizer, measure(optimizer, shapes, rounds, torch)))
                gc.collect()
        return found

    run.measured("step", arguments, chosen, rows, given)


if __name__ == "__main__":
    main()
