"""One optimizer step, side by side with Optax and torch: `python -m benchmarks.step --help`."""

import argparse
import dataclasses
import gc
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

from benchmarks import report
from benchmarks.cases import OPTIMIZERS, TREES, Optimizer, Shapes, alone, import_torch, size
from benchmarks.measure import FULL, QUICK, compilations, measure, unsuitable
from gradtx.config.read import from_file


def parser() -> argparse.ArgumentParser:
    epilog = ["trees of float32 parameters:"]
    for name, tree in TREES.items():
        epilog += [f"  {name:12}{tree.title}: {described(tree.full)} (quick: {described(tree.quick)})"]
    epilog += ["", "optimizers:", *(f"  {name:12}{optimizer.title}" for name, optimizer in OPTIMIZERS.items())]
    epilog += ["", f"A run takes {FULL.costs}; with --quick, {QUICK.costs}."]
    out = argparse.ArgumentParser(
        prog="python -m benchmarks.step",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Compares one optimizer step of gradtx with Optax and, where it is installed, torch: the time to\n"
        "trace, lower, compile and run it, and the memory that it moves.",
        epilog="\n".join(epilog),
    )
    out.add_argument("--quick", action="store_true", help="small trees and few rounds: for a look, not for a claim")
    out.add_argument("--tree", metavar="NAME", choices=TREES, help=f"only this tree: {', '.join(TREES)}")
    out.add_argument("--only", metavar="NAME", choices=OPTIMIZERS, help=f"only this one: {', '.join(OPTIMIZERS)}")
    own = "only the optimizer in this file of JSON, as gradtx.to_config writes it; may be given several times"
    out.add_argument("--config", metavar="FILE", action="append", default=[], type=config, help=own)
    out.add_argument("--json", metavar="PATH", type=Path, help="also write every number of every round to this file")
    return out


def config(path: str) -> tuple[str, Optimizer]:
    try:
        return path, alone(from_file(path))
    except (TypeError, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def described(shapes: Shapes) -> str:
    arrays = f"{len(shapes):,} arrays, " if len(shapes) > 1 else ""
    return f"{arrays}{size(shapes.values()):,} parameters"


def check_writable(path: Path, arguments: argparse.ArgumentParser) -> None:
    """Before minutes are spent on numbers that can't be saved."""
    if path.is_dir():
        arguments.error(f"argument --json: {path} is a folder; give the path of a file")
    if not path.parent.is_dir():
        arguments.error(f"argument --json: there is no folder {path.parent}; create it first")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        arguments.error(f"argument --json: no permission to write {path}")


def main(given: Sequence[str] | None = None) -> None:
    arguments = parser()
    chosen = arguments.parse_args(given)
    if chosen.json:
        check_writable(chosen.json, arguments)
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
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 100  # piped text has no width of its own

    idle = os.getloadavg()[0] < 1
    facts = report.machine(torch)
    # It comes first: what Python and JAX import or set up on demand is then done.
    counts = compilations(next(iter(named.values()))) if named else {}
    console.print(report.opening(facts, counts))
    results: list[dict[str, Any]] = []
    for tree, shapes in trees.items():
        for name, optimizer in (named | own).items():
            console.print(f"{optimizer.title} on {TREES[tree].title}: {described(shapes)}", style="bold")
            result = measure(optimizer, shapes, rounds, torch)
            console.print(report.table(result), report.traffic(result), sep="")
            results.append({"tree": tree, "optimizer": name} | dataclasses.asdict(result))
            gc.collect()

    facts["load average after"] = report.loads()
    console.print(f"load average after: {facts['load average after']}")
    if not idle or os.getloadavg()[0] > (os.cpu_count() or 1) + 1:
        console.print(
            "The load shows other work on this machine: times too long, torch's most of all, ratios uncertain."
        )
    if chosen.json:
        saved = {"quick": chosen.quick, "machine": facts, "compilations": counts, "results": results}
        chosen.json.write_text(json.dumps(saved, indent=1))
        console.print(f"Every number is in {chosen.json}.")


if __name__ == "__main__":
    main()
