"""Every schedule beside its formula, with numbers to try, and the counts at which it bends or jumps."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gradtx as gx
from tests.reference import schedules as formulas

FAR = 2**30


@dataclass(frozen=True)
class Row:
    name: str
    ours: Callable[..., Any]
    formula: Callable[..., Any]
    cases: list[Any]  # two lists of numbers for both, with joints before 50 steps
    far: list[Any]  # numbers for joints around 2³⁰
    joints: Callable[..., list[Any]] = field(default=lambda *numbers: [])


def same(name, *cases, far, joints=lambda *numbers: [], **options):
    """A factory and its formula, which have one name and the same arguments."""
    ours, formula = getattr(gx, name), getattr(formulas, name)
    label = " ".join([name, *options])
    return Row(
        label,
        lambda *numbers: ours(*numbers, **options),
        lambda *numbers: formula(*numbers, **options),
        list(cases),
        far,
        joints,
    )


def halved(count):
    """A plain function in place of a schedule."""
    return 0.5 * count


def multiples(every):
    """Some of the multiples of a period, of which the last are around 2³⁰."""
    return [every, 2 * every, 3 * every, *(FAR // every * every + i * every for i in (-1, 0, 1))]


def restarts(period, factor):
    found = multiples(period) if factor == 1 else []
    at, length = period, period
    while factor > 1 and at < 2**31 - 1:
        found.append(at)
        length *= factor
        at += length
    return found


def phases(steps, rise, fall):
    return [round(rise * steps), round((rise + fall) * steps), steps]


ROWS = [
    same("constant", (0.3,), (0.7,), far=[(0.3,)]),
    same(
        "linear",
        (1.0, 0.1, 10),
        (0.0, 0.5, 7),
        far=[(1.0, 0.1, FAR), (1.0, 0.0, FAR), (0.0, 1.0, FAR - 1)],
        joints=lambda start, end, steps: [steps],
    ),
    same(
        "polynomial",
        (1.0, 0.1, 10, 2.0),
        (0.0, 0.5, 7, 0.5),
        far=[(1.0, 0.1, FAR, 2.0), (1.0, 0.0, FAR, 0.5), (1.0, 0.0, FAR - 1, 3.0)],
        joints=lambda start, end, steps, power: [steps],
    ),
    same(
        "cosine",
        (1.0, 10, 0.0),
        (0.3, 17, 0.1),
        far=[(1.0, FAR, 0.1), (1.0, FAR - 1, 0.0)],
        joints=lambda start, steps, floor: [steps],
    ),
    same("exponential", (0.1, 0.95, 3), (2.0, 1.1, 7), far=[(1.0, 0.5, FAR // 4)]),
    same(
        "exponential",
        (0.1, 0.95, 3),
        (2.0, 1.1, 7),
        far=[(1.0, 0.5, FAR // 4 - 1), (1.0, 0.75, 99_999_989)],
        joints=lambda start, factor, every: multiples(every),
        staircase=True,
    ),
    same("power", (0.1, 10.0, -1.0), (2.0, 3.0, 0.5), far=[(1.0, 1000.0, -0.5), (1.0, float(FAR), -2.0)]),
    same("inverse_time", (0.1, 0.5), (2.0, 0.01), far=[(1.0, 0.001), (1.0, 1.0 / FAR)]),
    same("inverse_sqrt", (0.1, 1.0), (2.0, 0.5), far=[(1.0, 2.0)], joints=lambda start, k: [1]),
    same(
        "step",
        (0.1, 0.95, 3),
        (2.0, 1.1, 7),
        far=[(1.0, 0.5, FAR // 4 - 1), (1.0, 0.75, 99_999_989)],
        joints=lambda start, factor, every: multiples(every),
    ),
    same(
        "piecewise_constant",
        ((10, 20, 21), (0.1, 0.03, 0.0, -1.0)),
        ((1, 2, 40), (1.0, 0.5, 0.7, 2.0)),
        far=[((3, 2**24 + 1, FAR, FAR + 1), (1.0, 0.5, 0.7, 2.0, 0.1))],
        joints=lambda boundaries, values: list(boundaries),
    ),
    same("warmup", (0.3, 10), (0.7, 1), far=[(1.0, FAR)], joints=lambda value, steps: [steps - 1, steps]),
    same(
        "warmup_stable_decay",
        (0.3, 30, 10, 15, 0.1),
        (0.7, 12, 5, 7, 0.0),
        far=[(1.0, FAR, 2**24 + 1, 7, 0.1), (1.0, FAR, FAR // 2, FAR // 2, 0.0)],
        joints=lambda peak, steps, up, down, floor: [up - 1, up, steps - down, steps],
    ),
    same(
        "one_cycle",
        (0.3, 40, 0.3, 0.5, 0.1, 0.001),
        (0.7, 17, 0.45, 0.45, 0.04, 0.0),
        far=[(1.0, FAR, 0.45, 0.45, 0.1, 1e-4), (1.0, FAR - 1, 0.3, 0.69, 0.04, 0.0)],
        joints=lambda peak, steps, rise, fall, *shares: phases(steps, rise, fall),
    ),
    same(
        "one_cycle",
        (0.3, 40, 0.3, 0.5, 0.1, 0.001),
        (0.7, 17, 0.45, 0.45, 0.04, 0.0),
        far=[(1.0, FAR, 0.45, 0.45, 0.1, 1e-4), (1.0, FAR - 1, 0.3, 0.69, 0.04, 0.0)],
        joints=lambda peak, steps, rise, fall, *shares: phases(steps, rise, fall),
        cosine=True,
    ),
    same(
        "one_cycle_momentum",
        (40, 0.95, 0.85, 0.3, 0.5),
        (17, 0.9, 0.0, 0.45, 0.45),
        far=[(FAR, 0.95, 0.85, 0.45, 0.45)],
        joints=lambda steps, high, low, rise, fall: phases(steps, rise, fall),
    ),
    same(
        "one_cycle_momentum",
        (40, 0.95, 0.85, 0.3, 0.5),
        (17, 0.9, 0.0, 0.45, 0.45),
        far=[(FAR, 0.95, 0.85, 0.45, 0.45)],
        joints=lambda steps, high, low, rise, fall: phases(steps, rise, fall),
        cosine=True,
    ),
    same(
        "cyclic",
        (0.1, 1.0, 10, 0.5),
        (0.3, 0.0, 3, 1.0),
        far=[(0.1, 1.0, 7, 1.0), (0.0, 1.0, FAR // 4 + 1, 0.5), (0.0, 1.0, 2**31 - 1, 1.0), (0.1, 1.0, 1, 1.0)],
        joints=lambda low, high, half_period, decay: multiples(half_period),
    ),
    same(
        "cosine_restarts",
        (1.0, 3, 2, 0.5, 0.0),
        (0.3, 7, 1, 0.9, 0.1),
        far=[
            *((1.0, period, 1, 1.0, 0.1) for period in (1, 7, FAR, 2**31 - 1)),
            *((1.0, period, 2, 0.9, 0.1) for period in (1, 3, 1000, 2**24 + 1)),
            *((1.0, period, factor, 1.0, 0.1) for period in (1, 10) for factor in (3, 10, 46_341, 2**31 - 1)),
            *((1.0, 1, factor, 1.0, 0.1) for factor in (215, 216, 1290, 1291, 46_340)),  # whose powers end near 2³¹
        ],
        joints=lambda start, period, factor, decay, floor: restarts(period, factor),
    ),
    Row(
        "per_epoch",
        lambda a, k, n: gx.per_epoch(gx.linear(a, 0.1, k), n),
        lambda a, k, n: formulas.per_epoch(formulas.linear(a, 0.1, k), n),
        [(0.3, 4, 5), (0.7, 5, 1)],
        [(1.0, 1000, FAR // 1000), (1.0, FAR // 7, 7)],
        lambda a, k, n: multiples(n),
    ),
    Row(
        "per_epoch continuous",
        lambda a, k, n: gx.per_epoch(gx.linear(a, 0.1, k), n, continuous=True),
        lambda a, k, n: formulas.per_epoch(formulas.linear(a, 0.1, k), n, continuous=True),
        [(0.3, 4, 5), (0.7, 5, 1)],
        [(1.0, 1000, FAR // 1000), (1.0, FAR // 7, 7)],
        lambda a, k, n: multiples(n),
    ),
    Row(
        "then",
        lambda a, b, n: gx.warmup(a, n).then(gx.cosine(a, 9, b), at=n).then(gx.constant(b), at=2 * n),
        lambda a, b, n: formulas.then(
            formulas.then(formulas.warmup(a, n), formulas.cosine(a, 9, b), n), formulas.constant(b), 2 * n
        ),
        [(0.3, 0.1, 5), (0.7, 0.0, 12)],
        [(1.0, 0.1, FAR - 3)],
        lambda a, b, n: [n - 1, n, n + 9],
    ),
    Row(
        "then inside then",
        lambda a, n: gx.constant(a).then(gx.linear(a, 0.0, n).then(gx.warmup(a, n), at=n), at=n),
        lambda a, n: formulas.then(
            formulas.constant(a), formulas.then(formulas.linear(a, 0.0, n), formulas.warmup(a, n), n), n
        ),
        [(0.3, 5), (0.7, 12)],
        [(0.3, FAR // 3)],
        lambda a, n: [n, 2 * n, 3 * n],
    ),
    Row(
        "times",
        lambda a, n: gx.warmup(a, n) * gx.exponential(1.0, 0.9, n),
        lambda a, n: formulas.times(formulas.warmup(a, n), formulas.exponential(1.0, 0.9, n)),
        [(0.3, 5), (0.7, 12)],
        [(0.3, FAR)],
        lambda a, n: [n],
    ),
    Row(
        "plus",
        lambda a, n: gx.constant(a) + gx.cosine(1.0, n),
        lambda a, n: formulas.plus(formulas.constant(a), formulas.cosine(1.0, n)),
        [(0.3, 5), (0.7, 12)],
        [(0.3, FAR)],
        lambda a, n: [n],
    ),
    Row(
        "numbers on the left",
        lambda a, n: 2.0 * (a + gx.linear(1.0, 0.0, n)),
        lambda a, n: formulas.plus(formulas.constant(2 * a), formulas.linear(2.0, 0.0, n)),
        [(0.3, 5), (0.7, 12)],
        [(0.3, FAR)],
        lambda a, n: [n],
    ),
    Row(
        "numbers on the right",
        lambda a, n: (gx.linear(1.0, 0.0, n) + a) * 2.0,
        lambda a, n: formulas.plus(formulas.linear(2.0, 0.0, n), formulas.constant(2 * a)),
        [(0.3, 5), (0.7, 12)],
        [(0.3, FAR)],
        lambda a, n: [n],
    ),
    Row(
        "plain functions",
        lambda a, n: halved + gx.per_epoch(halved, n) + gx.constant(a).then(halved, at=n) * halved,
        lambda a, n: formulas.plus(
            formulas.plus(halved, formulas.per_epoch(halved, n)),
            formulas.times(formulas.then(formulas.constant(a), halved, n), halved),
        ),
        [(0.3, 5), (0.7, 12)],
        [(0.3, FAR)],
        lambda a, n: [n],
    ),
]
