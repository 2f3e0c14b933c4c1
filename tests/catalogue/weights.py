"""Blocks that relate updates to the parameters, and optimizers whose rates are by layer."""

import optax

import gradtx as gx
from tests.catalogue.member import Member


def half_as_wide(path, x):
    return (*x.shape[:-2], *[max(n // 2, min(n, 1)) for n in x.shape[-2:]])


def to_ball(tree):
    return optax.projections.projection_l2_ball(tree, 0.3)


WEIGHTS = [
    Member(gx.trust_ratio(0.5, 5.0, 0.1), needs_params=True, elementwise=False, once=True),
    Member(
        gx.trust_ratio(0.5, 5.0, 0.1, mask=gx.by_ndim(at_least=1)),
        needs_params=True,
        elementwise=False,
        once=True,
    ),
    Member(gx.renormalize(0.5), needs_params=True, once=True),
    Member(gx.adaptive_grad_clip(0.1, 5.0), needs_params=True, elementwise=False, pairs=False),
    Member(gx.squash(0.5, 0.5, 0.5), once=True),
    Member(gx.normalize(0.1), elementwise=False, once=True),
    Member(gx.add_decayed_weights(0.1, cautious=True), needs_params=True, once=True),
    Member(gx.add_decayed_weights(0.1, toward_start=True), needs_params=True, unused=("weight_decay",), once=True),
    Member(
        gx.add_decayed_weights(0.1, mask=gx.by_ndim(at_least=1), toward_start=True, cautious=True),
        needs_params=True,
        unused=("weight_decay",),
        once=True,
    ),
    Member(
        gx.add_decayed_weights(0.1, toward_average=0.9),
        needs_params=True,
        unused=("weight_decay", "toward_average"),  # which count once the parameters have moved
        once=True,
    ),
    Member(gx.keep_nonnegative(), needs_params=True, once=True),
    Member(
        gx.project(to_ball), needs_params=True, elementwise=False, pairs=False, writes=True, printed=False, once=True
    ),
    Member(gx.scale_by_width(half_as_wide), elementwise=False, pairs=False, printed=False, once=True),
    Member(gx.lamb(0.1, weight_decay=0.1, eps=0.1), needs_params=True, elementwise=False, once=True),
    Member(
        gx.lars(0.1, nesterov=True, coefficient=0.5, weight_decay=0.1, eps=0.1),
        needs_params=True,
        elementwise=False,
        once=True,
    ),
    Member(gx.fromage(0.1, 3.0), needs_params=True, elementwise=False, once=True),
]
