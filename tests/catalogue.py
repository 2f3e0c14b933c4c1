"""Every public transformation and schedule, once or once per form, with what the laws have to know of it."""

import functools
import operator
from dataclasses import dataclass
from typing import Any

import pytest

import gradtx as gx
from gradtx import Schedule
from gradtx.testing import Subject, measured, problem


@dataclass(frozen=True, eq=False)
class Member(Subject):
    elementwise: bool = True
    slow: bool = False  # its laws compile for long: the checks run them in one of their environments
    printed: bool = True  # its repr evaluates back: it holds no function


SECOND_ORDER: dict[str, Any] = dict(needs_params=True, elementwise=False, slow=True)


TRANSFORMATIONS = [
    Member(gx.identity()),
    Member(gx.chain(), selects=True),
    Member(gx.square()),
    Member(gx.scale(0.5)),
    Member(gx.scale_by_tree(0.5)),
    Member(gx.scale_by_tree((("", 0.5),))),
    Member(gx.layerwise(0.8, {"": 2})),
    Member(gx.conjugate(), pairs=False),
    Member(gx.scale_by_learning_rate(0.1)),
    Member(gx.scale_by_momentum(0.9)),
    Member(gx.scale_by_momentum(0.9, nesterov=True, dampening=0.1)),
    Member(gx.ema(0.9)),
    Member(gx.bias_correction(0.9)),
    Member(gx.scale_by_rms(0.9)),
    Member(gx.scale_by_rms(0.9, eps_root=1e-8, centered=True, initial=0.1)),
    Member(gx.scale_by_rms(0.9, debias=True, initial=0.1)),  # not centered too: one gradient has no variance
    Member(gx.scale_by_adam()),
    Member(gx.scale_by_adam(0.8, 0.99, eps_root=1e-8, nesterov=True)),
    Member(gx.scale_by_rss()),
    Member(gx.scale_by_rss(0.1, eps_root=0.1, initial=0.1)),
    Member(gx.scale_by_adadelta(eps=1e-3)),
    Member(gx.scale_by_nadam()),
    Member(gx.scale_by_nadam(0.8, 0.99, eps_root=1e-8, momentum_decay=0.1)),
    Member(gx.scale_by_adamax(0.8, 0.9, eps=0.1, eps_max=0.1)),
    Member(gx.scale_by_amsgrad(0.8, 0.9)),
    Member(gx.scale_by_amsgrad(0.8, 0.9, debias_first=True)),
    Member(gx.scale_by_amsgrad(0.8, 0.9, debias=False)),
    Member(gx.scale_by_sign()),
    Member(gx.scale_by_lion(b2=0.8)),
    Member(gx.clip_by_value(0.3)),
    Member(gx.clip_by_norm(0.3), elementwise=False),
    Member(gx.clip_by_global_norm(0.3), elementwise=False),
    Member(gx.clip_by_group_norm(0.3), elementwise=False),
    Member(gx.across(gx.clip_by_norm(0.3), "data"), elementwise=False),
    Member(gx.record("size", gx.global_norm), elementwise=False, printed=False),
    Member(gx.add_decayed_weights(0.1), needs_params=True),
    Member(gx.add_decayed_weights(0.1, mask=gx.by_ndim(at_least=1)), needs_params=True),
    Member(gx.add_sign_decay(0.1), needs_params=True),
    Member(gx.soft_threshold(0.1, 0.5), needs_params=True),
    Member(gx.constrain_norm(0.3), needs_params=True, elementwise=False, pairs=False),
    # With these numbers three measurements show each of them: the first is the best, the third only just is not.
    Member(gx.reduce_on_plateau(0.3, 1, rtol=0.7, atol=1.6, maximize=True), extra=measured, elementwise=False),
    Member(
        gx.early_stopping(2, 3.1, maximize=True),
        extra=measured,
        needs_params=True,
        elementwise=False,
        copies_params=True,
    ),
    Member(gx.average_parameters(), needs_params=True),
    Member(gx.average_parameters(0.9), needs_params=True, unused=("decay",)),
    Member(gx.sgd(0.1), unused=("dampening",)),
    Member(gx.sgd(0.1, momentum=0.9, nesterov=True)),
    Member(gx.rmsprop(0.1)),
    Member(gx.rmsprop(0.1, centered=True, momentum=0.9)),
    Member(gx.adam(0.1)),
    Member(gx.adamw(0.1, weight_decay=0.1), needs_params=True),
    Member(gx.adagrad(0.1)),
    Member(gx.adadelta(eps=1e-3)),
    Member(gx.adamax(0.1)),
    Member(gx.amsgrad(0.1)),
    Member(gx.nadam(0.1, momentum_decay=0.1)),
    Member(gx.nadamw(0.1, weight_decay=0.1), needs_params=True),
    Member(gx.sign_sgd(0.1)),
    Member(gx.lion(0.1, b2=0.8, weight_decay=0.1), needs_params=True),
    Member(gx.scale_by_lbfgs(), **SECOND_ORDER),
    Member(gx.lbfgs(3, curv_rtol=0.1, max_learning_rate=2.0), problem, unused=("slope_rtol",), **SECOND_ORDER),
    Member(gx.scale_by_newton(0.1), problem, **SECOND_ORDER),
    Member(gx.newton(max_steps=5, curv_rtol=0.1), problem, **SECOND_ORDER),
    # One of a line search's two conditions decides its step: the stricter one.
    Member(
        gx.scale_by_zoom_linesearch(5, slope_rtol=0.9, curv_rtol=0.1),
        functools.partial(problem, sign=-1.0),
        unused=("curv_rtol",),
        **SECOND_ORDER,
    ),
    Member(gx.chain(gx.clip_by_global_norm(0.3), gx.adamw(0.1)), needs_params=True, elementwise=False),
    Member(gx.chain(clip=gx.clip_by_value(0.3), descent=gx.adam(gx.controlled(0.1)))),
    Member(
        gx.parallel(gx.sgd(0.1), gx.chain(gx.square(), gx.ema(0.9)), join=operator.sub),
        unused=("branches[0].dampening",),
        printed=False,
    ),
    Member(gx.masked(gx.scale_by_adam(), gx.by_ndim(at_least=1)), selects=True),
    Member(gx.only(gx.adamw(0.1), gx.by_ndim(at_least=1) & ~gx.by_path("nothing")), needs_params=True, selects=True),
    Member(
        gx.chain(gx.sgd(0.1), gx.freeze(gx.by_ndim(at_least=1))),
        unused=("parts[0].learning_rate", "parts[0].dampening"),
    ),
    Member(
        gx.partition((gx.by_ndim(at_least=1), gx.adam(0.1)), default=gx.sgd(0.2, momentum=0.5)),
        unused=("default.learning_rate", "default.momentum", "default.dampening"),
    ),
    Member(gx.accumulate(gx.rmsprop(0.1, eps=0.1), 2), own_count=True),
    Member(gx.every(gx.clip_by_norm(0.3), 2), elementwise=False, own_count=True),
    Member(gx.switch(gx.ema(0.9), gx.scale(0.5), choice=0), unused=("parts[1].factor",)),
    Member(gx.skip_nonfinite(gx.adam(0.1)), elementwise=False, unused=("limit",)),
    # With these numbers the third norm only just is no spike; the third loss is one.
    Member(
        gx.skip_spikes(gx.adam(0.1), 1.95, decay=0.25, warmup_steps=2),
        elementwise=False,
        unused=("warmup_steps", "limit"),
    ),
    Member(
        gx.skip_spikes(gx.sgd(0.1), 2.0, warmup_steps=1, loss=True),
        extra=measured,
        elementwise=False,
        unused=("threshold", "decay", "warmup_steps", "limit", "tx.dampening"),
    ),
    Member(gx.zero_redundancy(gx.adamw(0.1, weight_decay=0.1), "data"), needs_params=True),
    Member(gx.offload(gx.adam(0.1))),
]

SCHEDULES: list[Schedule] = [
    gx.constant(0.1),
    gx.linear(0.1, 0.01, 10),
    gx.polynomial(0.1, 0.01, 10, power=2.0),
    gx.cosine(0.1, 10, floor=0.01),
    gx.exponential(0.1, 0.5, 10),
    gx.exponential(0.1, 0.5, 10, staircase=True),
    gx.power(0.1, 10.0, -0.5),
    gx.inverse_time(0.1, 0.5),
    gx.inverse_sqrt(0.1, k=2.0),
    gx.step(0.1, 0.5, 10),
    gx.piecewise_constant((5,), (0.1, 0.01)),
    gx.piecewise_constant((), (0.1,)),
    gx.warmup(0.1, 10),
    gx.warmup_stable_decay(0.1, 20, warmup_steps=5, decay_steps=10, floor=0.01),
    gx.one_cycle(0.1, 20),
    gx.one_cycle(0.1, 20, rise=0.3, fall=0.5, start_share=0.04, end_share=0.001, cosine=True),
    gx.one_cycle_momentum(20),
    gx.one_cycle_momentum(20, high=0.9, low=0.8, rise=0.3, fall=0.5, cosine=True),
    gx.cyclic(0.01, 0.1, 5, decay=0.5),
    gx.cosine_restarts(0.1, 10),
    gx.cosine_restarts(0.1, 10, factor=2, decay=0.5, floor=0.01),
    gx.per_epoch(gx.cosine(0.1, 10), 5),
    gx.per_epoch(gx.cosine(0.1, 10), 5, continuous=True),
    gx.warmup(0.1, 5).then(gx.cosine(0.1, 10), at=5),
    gx.cosine(0.1, 10) * 0.5 + gx.constant(0.01),
]

FIRST = {member.value.recipe: member for member in reversed(TRANSFORMATIONS)}.values()  # of each factory


def marks(member: Member) -> list[Any]:
    """What compiles for long, and further members of one factory, need not run on every version of JAX."""
    return [pytest.mark.slow] * (member.slow or member not in FIRST)


MEMBERS = [pytest.param(member, id=repr(member.tx), marks=marks(member)) for member in TRANSFORMATIONS]
