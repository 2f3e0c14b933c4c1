"""What the demo compares: optimizers, each with learning rates that suit what it is tried on."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import gradtx
from gradtx.demo.transformer import INNER
from gradtx.values.printing import excerpt


class Row(NamedTuple):
    """An optimizer as a function of its learning rate, and its rates."""

    of: Callable[[float], gradtx.Transformation]
    digits: float
    ravine: float
    rosenbrock: float
    saddle: float


COMPARED = {  # in the order of gradtx's list
    "sgd": Row(gradtx.sgd, 0.1, 0.95, 2e-3, 0.1),
    "momentum": Row(partial(gradtx.sgd, momentum=0.9), 0.05, 0.2, 1e-3, 0.1),
    "nesterov": Row(partial(gradtx.sgd, momentum=0.9, nesterov=True), 0.05, 0.2, 1e-3, 0.1),
    "adagrad": Row(gradtx.adagrad, 0.03, 1.0, 1.0, 0.1),
    "rmsprop": Row(gradtx.rmsprop, 5e-4, 0.1, 4e-3, 0.03),
    "adadelta": Row(gradtx.adadelta, 1.0, 10.0, 0.1, 1.0),
    "adam": Row(gradtx.adam, 2e-3, 0.3, 0.1, 0.05),
    "adamw": Row(gradtx.adamw, 4e-3, 0.3, 0.1, 0.05),
    "nadam": Row(gradtx.nadam, 2e-3, 0.3, 0.1, 0.05),
    "nadamw": Row(gradtx.nadamw, 2e-3, 0.3, 0.1, 0.05),
    "adamax": Row(gradtx.adamax, 8e-3, 0.3, 0.3, 0.05),
    "amsgrad": Row(gradtx.amsgrad, 2e-3, 0.3, 0.1, 0.05),
    "radam": Row(gradtx.radam, 4e-3, 0.3, 6e-3, 0.2),
    "adabelief": Row(gradtx.adabelief, 2e-3, 0.3, 0.1, 0.05),
    "adan": Row(gradtx.adan, 4e-3, 0.3, 0.1, 0.05),
    "sign_sgd": Row(gradtx.sign_sgd, 1e-3, 0.075, 7e-4, 0.05),
    "lion": Row(gradtx.lion, 2e-4, 0.075, 4e-3, 0.05),
    "adopt": Row(gradtx.adopt, 2e-3, 0.3, 0.1, 0.05),
    "prodigy": Row(gradtx.prodigy, 1.0, 1.0, 1.0, 0.1),
    "schedule_free": Row(gradtx.schedule_free_adamw, 1e-2, 0.3, 0.1, 0.05),
}

inner_matrices = gradtx.by_ndim(at_least=2) & gradtx.by_path(INNER)
few_bytes = partial(gradtx.hold, mu=gradtx.blocks(8), nu=gradtx.blocks(8))

ON_TEXT: dict[str, tuple[Callable[[float], gradtx.Transformation], float]] = {  # with its rate
    "momentum": (partial(gradtx.sgd, momentum=0.9), 0.1),
    "adafactor": (gradtx.adafactor, 0.03),
    "adamw": (partial(gradtx.adamw, b2=0.95, weight_decay=0.1), 3e-3),
    "adamw_8bit": (lambda rate: few_bytes(gradtx.adamw(rate, b2=0.95, weight_decay=0.1)), 3e-3),
    "lion": (partial(gradtx.lion, weight_decay=1.0), 1e-3),
    "schedule_free": (partial(gradtx.schedule_free_adamw, b2=0.95), 3e-3),
    "muon": (lambda rate: gradtx.muon(rate, where=inner_matrices, others=gradtx.adamw(0.15 * rate, b2=0.95)), 0.02),
    "soap": (lambda rate: gradtx.soap(rate, where=inner_matrices, others=gradtx.adamw(rate, b2=0.95)), 3e-3),
}


def rise_and_fall(steps: int, rise: int) -> gradtx.Schedule:
    """To 1 in so many steps, and to 0 in the others."""
    return gradtx.warmup(1.0, rise).then(gradtx.cosine(1.0, max(steps - rise, 1)), at=rise)


def for_text(name: str, rate: float, steps: int, schedule: gradtx.Schedule | None = None) -> gradtx.Transformation:
    """One of them at a rate. Without a schedule it rises and falls; that of `schedule_free` only rises."""
    rise = max(steps // 10, 1)
    own = gradtx.warmup(1.0, rise) if name == "schedule_free" else rise_and_fall(steps, rise)
    return with_schedule(ON_TEXT[name][0](rate), schedule or own)


def on_text(steps: int, schedule: gradtx.Schedule | None = None) -> dict[str, gradtx.Transformation]:
    return {name: for_text(name, rate, steps, schedule) for name, (_, rate) in ON_TEXT.items()}


def optimizers(task: str, steps: int, schedule: gradtx.Schedule | None = None) -> dict[str, gradtx.Transformation]:
    """All of them for the digits or for a surface, their learning rates multiplied by the schedule."""
    found = {name: row.of(getattr(row, task)) for name, row in COMPARED.items()}
    own: dict[str, gradtx.Schedule] = {}
    if task == "digits":  # what large networks are usually trained with
        adamw = gradtx.adamw(COMPARED["adamw"].digits, weight_decay=0.1)
        found["adamw"] = gradtx.chain(gradtx.clip_by_global_norm(1.0), adamw)
        own["adamw"] = rise_and_fall(steps, max(steps // 20, 1))
    return {name: with_schedule(tx, schedule or own.get(name)) for name, tx in found.items()}


def with_schedule(tx: gradtx.Transformation, schedule: gradtx.Schedule | None) -> gradtx.Transformation:
    """The transformation with all its learning rates multiplied by the schedule.

    **Raises:** `ValueError` if it has none.
    """
    if schedule is None:
        return tx
    found = gradtx.hyperparameters(tx)
    rates = {path: rate * schedule for path, rate in found.items() if path.split(".")[-1] == "learning_rate"}
    if not rates:
        raise ValueError(f"{excerpt(tx)} has no learning_rate that the schedule could multiply")
    return tx.replace(**rates)
