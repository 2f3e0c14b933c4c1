"""Rules for matrices."""

from typing import Any

import gradtx as gx
from tests.catalogue.member import Member

OF_OTHERS = ("others.learning_rate", "others.dampening")  # which are not for matrices
OF_MATRICES: dict[str, Any] = dict(needs_params=True, elementwise=False, pairs=False, factored=True, unused=OF_OTHERS)
ONCE: dict[str, Any] = dict(once=True, **OF_MATRICES)
IS_MATRIX = gx.maybe(gx.by_ndim(at_least=2))

MATRICES = [
    Member(gx.scale_by_adam_mini(eps=0.1), elementwise=False, factored=True, pairs=False),
    Member(gx.scale_by_adam_mini(0.8, 0.9, eps=0.1, share=None), elementwise=False, factored=True),
    Member(
        gx.adam_mini(0.1, eps=0.1, share=((gx.by_ndim(at_least=3), (-3, -1)),), weight_decay=0.1),
        needs_params=True,
        elementwise=False,
        pairs=False,
        selects=True,
        factored=True,
    ),
    *[
        Member(gx.masked(tx, IS_MATRIX), elementwise=False, selects=True, pairs=False, factored=True)
        for tx in (
            gx.orthogonalize(gx.newton_schulz_coefficients(3)),
            gx.in_subspace(gx.scale_by_adam(eps=0.1), 3, every=2),
            gx.scale_by_shampoo(eps=0.1),
        )
    ],
    *[
        Member(gx.masked(tx, IS_MATRIX), elementwise=False, selects=True, pairs=False, factored=True, once=True)
        for tx in (
            gx.over(
                gx.matrices(reduce=-1, output=-2),
                gx.orthogonalize(gx.newton_schulz_coefficients(2), scale=gx.dual_factor()),
            ),
            gx.scale_by_muon(),
            gx.scale_by_rows(),
            gx.scale_by_dion(3),
            gx.in_subspace(gx.ema(0.9), 3, every=2, longer=True),
            gx.scale_by_apollo(3, eps=0.1, every=2),
            gx.scale_by_apollo(3, eps=0.1, scale=16.0, every=2, channel=False),
            gx.scale_by_shampoo(b2=0.9, eps=0.1, every=2, exponent=0.3, one_sided=True, max_dim=2),
            gx.scale_by_kron(),
            gx.scale_by_kron(0.8, 0.2, probability=0.5, clip=0.3, max_dim=2),
        )
    ],
    # The third update is the first whose basis `every` decides. Adam's schedules count one update less than all.
    Member(
        gx.masked(gx.in_eigenbasis(gx.scale_by_adam(0.9, 0.9), 0.9, 1), IS_MATRIX),
        elementwise=False,
        selects=True,
        pairs=False,
        factored=True,
        once=True,  # on larger matrices, where few gradients leave a basis open, layouts decide it
        own_count=True,
    ),
    Member(
        gx.masked(gx.scale_by_soap(0.9, 0.8, every=1), IS_MATRIX),
        elementwise=False,
        selects=True,
        pairs=False,
        factored=True,
        once=True,
        own_count=True,
    ),
    Member(gx.muon(0.1, weight_decay=0.1, others=gx.sgd(0.1)), **OF_MATRICES),
    Member(gx.dion(0.1, 3, weight_decay=0.1, others=gx.sgd(0.1)), **ONCE),
    Member(gx.galore(0.1, 3, every=2, eps=0.1, weight_decay=0.1, others=gx.sgd(0.1)), **ONCE),
    Member(gx.apollo(0.1, 3, eps=0.1, every=2, weight_decay=0.1, others=gx.sgd(0.1)), **ONCE),
    Member(gx.soap(0.1, every=1, weight_decay=0.1, others=gx.sgd(0.1)), own_count=True, **OF_MATRICES),
    Member(gx.shampoo(0.1, eps=0.1, weight_decay=0.1, others=gx.sgd(0.1)), **ONCE),
    Member(gx.kron(0.1, weight_decay=0.1, others=gx.sgd(0.1)), **ONCE),
    Member(gx.graft(gx.scale_by_sign(), gx.scale_by_adam()), elementwise=False, pairs=False),
    Member(gx.normuon(0.1, weight_decay=0.1, others=gx.sgd(0.1)), **ONCE),
]
