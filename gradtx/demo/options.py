"""The demo's command line, and what of it does not go together."""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax

import gradtx
from gradtx.config.expression import ExpressionError, parse, parse_schedule
from gradtx.config.read import from_file
from gradtx.demo.compared import COMPARED, ON_TEXT, on_text, optimizers, with_schedule
from gradtx.demo.surfaces import SURFACES
from gradtx.demo.text import DEFAULT, QUICK

STEPS = {"digits": 600, "text": DEFAULT.steps} | {name: surface.steps for name, surface in SURFACES.items()}
TEXT_ALONE = ("devices", "processes", "resume", "quick")


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


def command_line(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m gradtx.demo", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    count, seed = partial(whole, least=1), partial(whole, least=0)
    optimizer, schedule = partial(expression, read=parse), partial(expression, read=parse_schedule)
    several = "may be given several times"
    surface = f"draw the paths over a surface in place of the training: {', '.join(SURFACES)}"
    task = "train a language model of bytes in place of the classifier of digits"
    names = [*COMPARED, *(name for name in ON_TEXT if name not in COMPARED)]
    only = f"one of {', '.join(COMPARED)}; with text one of {', '.join(ON_TEXT)} (default: all); {several}"
    own = f"an optimizer of your own, written as the table prints it; {several}"
    file = f"an optimizer of your own, as gradtx.to_config writes it, in a file of JSON; {several}"
    factor = (
        "a schedule, written as the table prints it, that multiplies every learning rate; let it peak at 1.0, since the"
        " rates suit as they are (adamw's own schedule gives way to it)"
    )
    batch = f"images in a step (default: 64), or passages of text (default: {DEFAULT.rows})"
    add = parser.add_argument
    add("task", metavar="text", nargs="?", choices=["text"], help=task)
    add("--surface", metavar="NAME", choices=list(SURFACES), help=surface)
    add("--steps", type=count, help=f"steps of each (default: {', '.join(f'{n} {k}' for n, k in STEPS.items())})")
    add("--batch-size", type=count, help=batch)
    add("--seed", type=seed, help="of the weights and the batches (default: 0)")
    add("--only", metavar="NAME", action="append", default=[], choices=names, help=only)
    add("--optimizer", metavar="EXPRESSION", action="append", default=[], type=optimizer, help=own)
    add("--config", metavar="FILE", action="append", default=[], type=config, dest="optimizer", help=file)
    add("--schedule", metavar="EXPRESSION", type=schedule, help=factor)
    add("--out", metavar="DIR", type=Path, default=Path("out"), help="for figures and checkpoints (default: out)")
    text = parser.add_argument_group("with text")
    text.add_argument("--quick", action="store_true", help=f"a smaller model, and {QUICK.steps} steps")
    text.add_argument("--resume", action="store_true", help="go on from the checkpoints of the same command")
    devices = "spread weights, states and batches over so many devices made of the processor (FSDP)"
    text.add_argument("--devices", metavar="N", type=count, help=f"{devices}; with --processes, each has so many")
    text.add_argument("--processes", metavar="N", type=count, help="train with so many processes, as on several hosts")
    return parser


def chosen(given: argparse.Namespace, task: str, steps: int, params: Any) -> dict[str, gradtx.Transformation]:
    """The optimizers to compare on these parameters."""
    named = on_text(steps, given.schedule) if task == "text" else optimizers(task, steps, given.schedule)
    for name in given.only:
        if name not in named:
            where = "on text" if task == "text" else "without text"
            raise UnsuitableError(f"argument --only: {name} is not compared {where}; choose from {', '.join(named)}")
    names = given.only or ([] if given.optimizer else list(named))
    try:
        own = {f"custom {i}": with_schedule(tx, given.schedule) for i, tx in enumerate(given.optimizer, 1)}
    except ValueError as error:
        raise UnsuitableError(f"argument --schedule: {error}") from None
    for name, tx in own.items():
        try:
            jax.eval_shape(tx.init, params)
        except (TypeError, ValueError) as error:
            raise UnsuitableError(f"the optimizer {name} does not suit the parameters: {error}") from None
    return {name: named[name] for name in names} | own


def refuse_options_of_others(given: argparse.Namespace) -> None:
    """What `text` alone has, and what it has not."""
    for option in TEXT_ALONE:
        if not given.task and (value := getattr(given, option)):
            own = f"--{option}" if value is True else f"--{option} {value}"
            raise UnsuitableError(f"argument --{option}: goes with text alone: python -m gradtx.demo text {own}")
    if given.task and given.surface:
        raise UnsuitableError("argument --surface: text has no surface; leave out one of the two")
