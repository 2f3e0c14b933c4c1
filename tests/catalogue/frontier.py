"""Further optimizers and their directions, element by element, and Sophia."""

import gradtx as gx
from gradtx.testing import problem
from tests.catalogue.member import Member

FRONTIER = [
    Member(gx.scale_by_ademamix(0.8, 0.9, 0.95, eps_root=1e-8), once=True),
    Member(gx.ademamix(0.1, weight_decay=0.1), needs_params=True, once=True),
    Member(gx.scale_by_simplified_ademamix(alpha=2.0), once=True),
    Member(gx.simplified_ademamix(0.1, weight_decay=0.1), needs_params=True, once=True),
    # Two gradients are close to the bound, whose exponent matters where one is beyond.
    Member(gx.scale_by_adopt(0.8, 0.9, 0.1), once=True),
    Member(gx.scale_by_adopt(0.8, 0.9, 0.1, clip=False, nesterov=True), once=True),
    Member(gx.adopt(0.1, 0.8, 0.9, 0.1, weight_decay=0.1), needs_params=True, once=True),
    Member(gx.scale_by_ano(0.8, 0.9), once=True),
    Member(gx.ano(0.1, weight_decay=0.1), needs_params=True, once=True),
    Member(gx.scale_by_spam(0.8, 0.9, 0.1, threshold=0.5, every=2, warmup_steps=2, grace=1), once=True),
    Member(
        gx.spam(0.1, 0.8, 0.9, 0.1, threshold=0.5, every=2, warmup_steps=2, grace=1, weight_decay=0.1),
        needs_params=True,
        once=True,
    ),
    Member(gx.madgrad(0.1, eps=0.1), needs_params=True, once=True),
    # Two updates make a step longer than the longest one.
    Member(gx.scale_by_rprop(0.9, min_step=0.01, max_step=1.0), once=True),
    Member(gx.rprop(0.9, min_step=0.01, max_step=1.0), once=True),
    Member(gx.scale_by_sm3(eps=0.1), elementwise=False, pairs=False, factored=True),
    Member(gx.sm3(0.1, eps=0.1), elementwise=False, pairs=False, factored=True, once=True),
    Member(gx.ftrl(0.1, l1=0.1, l2=0.1, shrinkage=0.1, beta=0.1), needs_params=True, once=True),
    Member(gx.asgd(0.1, 0.5, start=1), needs_params=True, unused=("start",), once=True),
    Member(gx.hutchinson(), problem, needs_params=True, elementwise=False, slow=True, once=True),
    Member(gx.gauss_newton(2.0), problem, needs_params=True, elementwise=False, slow=True, once=True),
    Member(gx.scale_by_sophia(0.9, 0.8, 1.0, 0.1, every=2, hessian=gx.square())),
    Member(
        gx.sophia(0.1, b2=0.5, gamma=0.3, eps=0.1, weight_decay=0.1, every=2, debias=False),
        problem,
        needs_params=True,
        elementwise=False,
        slow=True,
        once=True,
    ),
]
