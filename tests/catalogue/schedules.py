"""Schedules."""

import gradtx as gx
from gradtx import Schedule

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
    gx.warmup_memory(0.99, 10, start=0.5),
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
    gx.fading(3, 2.0, 0.1),
    gx.cosine(0.1, 10) * 0.5 + gx.constant(0.01),
]
