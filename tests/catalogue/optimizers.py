"""Optimizers, and what looks for its step by the loss."""

import functools
from typing import Any

import gradtx as gx
from gradtx.testing import problem
from tests.catalogue.member import Member

SECOND_ORDER: dict[str, Any] = dict(needs_params=True, elementwise=False, slow=True)

OPTIMIZERS = [
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
    Member(
        gx.adafactor(0.1, 2, momentum=0.9, max_rms=0.3, weight_decay=0.1, eps=0.1),
        needs_params=True,
        elementwise=False,
        factored=True,
    ),
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
]
