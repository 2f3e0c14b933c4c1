"""The main job: trains a classifier of handwritten digits with several optimizers and compares them.

python -m gradtx.demo
python -m gradtx.demo --only adam --optimizer 'chain(clip_by_norm(1.0), adam(cosine(3e-3, 500)))'
python -m gradtx.demo --only sgd --schedule 'warmup(1.0, 30).then(cosine(1.0, 570), at=30)'
python -m gradtx.demo --config adamw.json
python -m gradtx.demo --surface ravine
"""

import argparse
import importlib.util
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import gradtx
from gradtx.config.expression import ExpressionError, parse, parse_schedule
from gradtx.config.read import from_file
from gradtx.demo import reports
from gradtx.demo.compared import COMPARED, optimizers, with_schedule
from gradtx.demo.digits import initial, load
from gradtx.demo.surfaces import SURFACES

EXTRAS = {"matplotlib": "matplotlib", "rich": "rich", "sklearn": "scikit-learn"}  # the packages by their modules
STEPS = {"digits": 600} | {name: surface.steps for name, surface in SURFACES.items()}
MOST = 1_000_000  # steps over a surface, all of which are kept and drawn


class UnsuitableError(ValueError):
    """Options that do not go together or with the data."""


def whole(text: str, least: int) -> int:
    if not (text.isdecimal() and len(text) <= 10 and least <= int(text) < 2**31):
        raise argparse.ArgumentTypeError(f"must be a whole number, at least {least} and below 2**31, got {text!r:.40}")
    return int(text)


def expression(text: str, read: Callable[[str], Any]) -> Any:
    try:
        return read(text)
    except ExpressionError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def config(path: str) -> gradtx.Transformation:
    try:
        return from_file(path)
    except (TypeError, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m gradtx.demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    count, seed = partial(whole, least=1), partial(whole, least=0)
    optimizer, schedule = partial(expression, read=parse), partial(expression, read=parse_schedule)
    several = "may be given several times"
    surface = f"draw the paths over a surface in place of the training: {', '.join(SURFACES)}"
    only = f"one of {', '.join(COMPARED)} (default: all); {several}"
    own = f"an optimizer of your own, written as the table prints it; {several}"
    file = f"an optimizer of your own, as gradtx.to_config writes it, in a file of JSON; {several}"
    factor = (
        "a schedule, written as the table prints it, that multiplies every learning rate; let it peak at 1.0, since the"
        " rates suit as they are (adamw's own schedule gives way to it)"
    )
    add = parser.add_argument
    add("--surface", metavar="NAME", choices=list(SURFACES), help=surface)
    add("--steps", type=count, help=f"steps of each (default: {', '.join(f'{n} {k}' for n, k in STEPS.items())})")
    add("--batch-size", type=count, help="images in a step (default: 64)")
    add("--seed", type=seed, help="of the weights and the batches (default: 0)")
    add("--only", metavar="NAME", action="append", default=[], choices=list(COMPARED), help=only)
    add("--optimizer", metavar="EXPRESSION", action="append", default=[], type=optimizer, help=own)
    add("--config", metavar="FILE", action="append", default=[], type=config, dest="optimizer", help=file)
    add("--schedule", metavar="EXPRESSION", type=schedule, help=factor)
    add("--out", metavar="DIR", type=Path, default=Path("out"), help="for the figure (default: out)")
    return parser


def chosen(given: argparse.Namespace, task: str, steps: int) -> dict[str, gradtx.Transformation]:
    """The optimizers to compare."""
    named = optimizers(task, steps, given.schedule)
    names = given.only or ([] if given.optimizer else list(named))
    try:
        own = {f"custom {i}": with_schedule(tx, given.schedule) for i, tx in enumerate(given.optimizer, 1)}
    except ValueError as error:
        raise UnsuitableError(f"argument --schedule: {error}") from None
    params = initial(0) if task == "digits" else jnp.array(SURFACES[task].start)
    for name, tx in own.items():
        try:
            jax.eval_shape(tx.init, params)
        except (TypeError, ValueError) as error:
            raise UnsuitableError(f"the optimizer {name} does not suit the parameters: {error}") from None
    return {name: named[name] for name in names} | own


def run_training(given: argparse.Namespace) -> Callable[[], reports.ProgressReport]:
    steps, size, seed = given.steps or STEPS["digits"], given.batch_size or 64, given.seed or 0
    digits = load()
    if size > (images := len(digits.train[0])):
        raise UnsuitableError(f"argument --batch-size: there are {images} training images, got {size}")
    compared = chosen(given, "digits", steps)
    return lambda: reports.of_training(compared, digits, steps, size, seed, given.schedule)


def run_walk(given: argparse.Namespace) -> Callable[[], reports.ProgressReport]:
    steps = given.steps or STEPS[given.surface]
    for option, value in {"--batch-size": given.batch_size, "--seed": given.seed}.items():
        if value is not None:
            raise UnsuitableError(f"argument {option}: a surface has no images and no random start; leave it out")
    if steps > MOST:
        raise UnsuitableError(f"argument --steps: must be at most {MOST} over a surface, got {steps}")
    compared = chosen(given, given.surface, steps)
    return lambda: reports.of_surface(compared, given.surface, steps, given.schedule)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train or walk, print the table, write the figure."""
    parser = command_line()
    given = parser.parse_args(arguments)
    missing = [name for module, name in EXTRAS.items() if importlib.util.find_spec(module) is None]
    if missing:
        parser.error(f"{' and '.join(missing)} not installed; pip install {' '.join(missing)}")
    try:
        job = run_walk(given) if given.surface else run_training(given)
    except UnsuitableError as error:
        parser.error(str(error))
    try:
        given.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"argument --out: can't make the directory {str(given.out)!r}: {error.strerror}")

    report = job()
    print(*reports.optimizer_table(report), "", reports.wrap_text(report.note), sep="\n")
    path = given.out / f"{given.surface or 'optimizers'}.png"
    try:
        report.draw(path)
    except OSError as error:
        parser.error(f"argument --out: can't write {str(path)!r}: {error.strerror}")
    print(f"{report.figure}: {path}")


if __name__ == "__main__":
    main()
