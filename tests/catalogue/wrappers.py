"""What is made of other transformations, and what decides when and where they act."""

import operator

import gradtx as gx
from gradtx.testing import measured
from tests.catalogue.member import Member

WRAPPERS = [
    Member(gx.chain(), selects=True),
    Member(gx.across(gx.clip_by_norm(0.3), "data"), elementwise=False),
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
