"""What changes the steps of any transformation: where its gradient is taken, and which of its steps count."""

from typing import Any

import jax

import gradtx as gx
from gradtx.testing import problem
from tests.catalogue.member import Member


def with_gradient(updates: Any, params: Any) -> dict[str, Any]:
    """JAX's gradient of a loss that has the updates for its gradient."""
    return dict(grad_fn=jax.grad(problem(updates, params)["loss_fn"], allow_int=True))


RISING = gx.linear(0.1, 0.3, 2)  # at a constant rate all steps weigh the same, whatever the power
OVER_ANY = [
    Member(gx.cautious(gx.scale_by_adam()), elementwise=False, once=True),
    Member(gx.lookahead(gx.sgd(0.1), 2, 0.5), needs_params=True, unused=("tx.dampening",), once=True),
    Member(gx.schedule_free(gx.scale_by_rms(0.9), RISING, 0.8, 2.0, 1.0), needs_params=True),
    Member(gx.schedule_free_sgd(RISING, 0.8, 0.1, 2.0, 1.0), needs_params=True, once=True),
    Member(gx.schedule_free_adamw(RISING, 0.8, 0.9, 1e-3, 0.1, 2.0, 1.0), needs_params=True, once=True),
    Member(
        gx.sam(gx.sgd(0.1), 0.3),
        extra=with_gradient,
        needs_params=True,
        elementwise=False,
        unused=("tx.dampening",),
        once=True,
    ),
    Member(
        gx.sam(gx.sgd(0.1), 0.3, transparent=True),
        needs_params=True,
        elementwise=False,
        unused=("tx.dampening",),
        own_count=True,
    ),
    Member(
        gx.mechanize(gx.sgd(0.5), 0.1, 1e-3, 0.2, 2),
        needs_params=True,
        elementwise=False,
        unused=("weight_decay", "eps", "tx.dampening"),  # which count once the parameters have moved
        once=True,
    ),
]
