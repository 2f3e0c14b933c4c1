"""Kin of Adam, element by element or with one number for each array."""

import gradtx as gx
from tests.catalogue.member import Member

# Three steps of RAdam are momentum's: what it divides by from the sixth on, no law sees.
UNSEEN = ("b2", "eps", "threshold", "eps_root")

KIN = [
    Member(gx.scale_by_belief(0.8, 0.9, eps=0.1, eps_root=0.1), once=True),
    Member(gx.scale_by_belief(0.8, 0.9, eps=0.1, eps_root=0.1, nesterov=True), once=True),
    Member(gx.scale_by_acprop(0.8, 0.9, eps=0.1, eps_root=0.1), once=True),
    Member(gx.scale_by_yogi(0.8, 0.9, eps=0.1, eps_root=0.1, initial=0.1), once=True),
    Member(gx.scale_by_adan(0.8, 0.9, 0.7, eps=0.1), once=True),
    Member(gx.scale_by_radam(0.8, 0.9, eps=0.1, threshold=8, eps_root=0.1), unused=UNSEEN, once=True),
    Member(gx.scale_by_radam(0.8, 0.9, eps=0.1, threshold=8, eps_root=0.1, eps_hat=True), unused=UNSEEN, once=True),
    Member(gx.scale_by_laprop(0.8, 0.9, eps=0.1), once=True),
    Member(
        gx.scale_by_stable_adamw(0.8, 0.9, eps=0.1, weight_decay=0.1), needs_params=True, elementwise=False, once=True
    ),
    Member(
        gx.scale_by_novograd(0.8, 0.9, eps=0.1, eps_root=0.1, weight_decay=0.1, mask=gx.by_ndim(at_least=1)),
        needs_params=True,
        elementwise=False,
        factored=True,
    ),
    Member(gx.shrink_parameters(0.1, 0.5), needs_params=True, once=True),
    Member(gx.shrink_parameters(0.1, 0.5, mask=gx.by_ndim(at_least=1)), needs_params=True, once=True),
    Member(gx.adabelief(0.1, eps=0.1), once=True),
    Member(gx.acprop(0.1, eps=0.1), once=True),
    Member(gx.yogi(0.1), once=True),
    Member(gx.adan(0.1, weight_decay=0.1), needs_params=True, once=True),
    Member(gx.adan(0.1, weight_decay=0.1, proximal=False, mask=gx.by_ndim(at_least=1)), needs_params=True, once=True),
    Member(gx.radam(0.1, threshold=8), unused=UNSEEN, once=True),
    Member(gx.laprop(0.1, eps=0.1), once=True),
    Member(gx.stable_adamw(0.1, weight_decay=0.1), needs_params=True, elementwise=False, once=True),
    Member(gx.novograd(0.1, weight_decay=0.1), needs_params=True, elementwise=False, factored=True, once=True),
    Member(gx.adamaxw(0.1, eps=0.1, eps_max=0.1, weight_decay=0.1), needs_params=True, once=True),
    Member(gx.signum(0.1), once=True),
    Member(gx.tiger(0.1, weight_decay=0.1), needs_params=True, once=True),
]
