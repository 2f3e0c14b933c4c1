"""Which parameters to evaluate with where one wrapper that keeps some stands inside of another: the right ones, or an
error.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx as gx
from tests.refusals import refused

pytestmark = pytest.mark.slow

CURVATURE = jnp.array([0.5, 1.0, 2.0])
START = jnp.array([1.0, -2.0, 3.0])
grad = jax.grad(lambda w: jnp.sum(CURVATURE * w**2 + 0.1 * w**4))

KEEPING = {
    "average_parameters": gx.chain(gx.sgd(0.05), gx.average_parameters(0.5)),
    "asgd": gx.asgd(0.05, start=2),
    "lookahead": gx.lookahead(gx.sgd(0.05), 2),
    "schedule_free": gx.schedule_free_sgd(0.05),
    "sam": gx.sam(gx.sgd(0.05), 0.1, transparent=True),
}
WRAPPERS = {
    "lookahead": lambda tx: gx.lookahead(tx, 3),
    "schedule_free": lambda tx: gx.schedule_free(tx, 0.05),
}


def walked(tx, steps, **extra):
    """The parameters and those for evaluation behind each step."""
    w, state = START, tx.init(START)
    for _ in range(steps):
        updates, state = tx.update(grad(w), state, w, **extra)
        w = gx.apply_updates(w, updates)
        yield w, gx.evaluation_parameters(tx, state, w)


@pytest.mark.parametrize("inner", KEEPING)
@pytest.mark.parametrize("outer", WRAPPERS)
def test_what_moves_the_parameters_elsewhere_has_no_other_answer_inside(outer, inner):
    tx = WRAPPERS[outer](KEEPING[inner])
    words = f"State inside of {outer} keeps parameters for evaluation too, of another path"
    with refused(ValueError, f"{words}; hand in the one that is meant; a transparent sam belongs around {outer}"):
        next(walked(tx, 1))
    updates, state = tx.update(grad(START), tx.init(START), START)  # the step itself is none of its business
    own = gx.evaluation_parameters(state.inner_state, gx.apply_updates(START, updates))
    assert own.shape == START.shape


@pytest.mark.parametrize("inner", KEEPING)
def test_inside_of_a_transparent_sam_it_is_that_of_the_parameters_that_sam_has_left(inner):
    """At each step, up or down, what the same wrapper gives where `sam` itself asks for the gradient."""
    tx = KEEPING[inner]
    opaque, transparent = gx.sam(tx, 0.2), gx.sam(tx, 0.2, transparent=True)
    steps = 6
    expected = [x for _, x in walked(opaque, steps, grad_fn=grad)]
    seen = list(walked(transparent, 2 * steps))
    for i, x in enumerate(expected):
        np.testing.assert_allclose(seen[2 * i + 1][1], x, rtol=1e-12)
    for (w, x), (_, before) in zip(seen[2::2], seen[1::2], strict=False):  # a step up changes no answer
        np.testing.assert_allclose(x, before, rtol=1e-12)
        assert float(jnp.abs(w - x).max()) > 1e-3


@pytest.mark.parametrize("second", KEEPING)
@pytest.mark.parametrize("first", KEEPING)
def test_side_by_side_there_is_no_one_answer(first, second):
    tx = gx.chain(KEEPING[first], KEEPING[second])
    with refused(ValueError, "must hold one that keeps an average, got 2"):
        gx.evaluation_parameters(tx, tx.init(START), START + 1.0)
