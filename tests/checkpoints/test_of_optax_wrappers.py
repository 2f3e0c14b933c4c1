"""States of Optax whose transformation needs more than gradients in an update: slow weights, a function, a loss."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx
from tests.checkpoints.optax_rows import FALLING, PARAMS, restored, without_value
from tests.refusals import refused

BOUND = 1e-11


def loss(w: Any) -> Any:
    return sum(jnp.sum((x - 3.0) ** 2 + 0.1 * x**4) for x in jax.tree.leaves(w))


def same(found: Any, expected: Any) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=BOUND, atol=BOUND), found, expected)


def descend(tx: Any, w: Any, state: Any, steps: int, at: Any = lambda w: w, **extra: Any) -> tuple[Any, Any]:
    """The parameters and the state after some steps; `at` finds in the parameters where the gradient is taken."""
    for _ in range(steps):
        updates, state = tx.update(jax.grad(loss)(at(w)), state, w, **extra)
        w = optax.apply_updates(w, updates)
    return w, state


# ---- lookahead ----

LOOKAHEAD = gx.lookahead(gx.adam(FALLING), 3, 0.4)
PEER = optax.lookahead(optax.adam(FALLING), 3, 0.4)


def fast_of(w: Any) -> Any:
    return w.fast


@pytest.mark.parametrize("steps", [2, 3, 4])
def test_the_slow_weights_of_lookahead_are_those_beside_the_parameters(steps):
    both, state = descend(PEER, *started(), steps, fast_of)
    ahead = descend(PEER, both, state, 4, fast_of)[0]
    for form in (state, restored(state)):
        taken = gx.from_optax(LOOKAHEAD, both, form)
        w, after = descend(LOOKAHEAD, both.fast, taken, 4)
        same(w, ahead.fast)
        same(gx.evaluation_parameters(LOOKAHEAD, after, w), ahead.slow)
    same(gx.to_optax(LOOKAHEAD, taken), state)


def test_optax_goes_on_with_the_slow_weights_of_gradtx():
    w, state = descend(LOOKAHEAD, PARAMS, LOOKAHEAD.init(PARAMS), 4)
    both = optax.LookaheadParams(fast=w, slow=gx.evaluation_parameters(LOOKAHEAD, state, w))
    ahead = descend(PEER, both, gx.to_optax(LOOKAHEAD, state), 4, fast_of)[0]
    w, state = descend(LOOKAHEAD, w, state, 4)
    same(ahead, optax.LookaheadParams(fast=w, slow=gx.evaluation_parameters(LOOKAHEAD, state, w)))


def test_the_fast_weights_alone_are_enough_where_both_are_the_same():
    both, state = descend(PEER, *started(), 3, fast_of)
    same(gx.from_optax(LOOKAHEAD, both.fast, state), gx.from_optax(LOOKAHEAD, both, state))
    both, state = descend(PEER, *started(), 4, fast_of)
    message = (
        "from_optax: Optax has lookahead's slow weights beside the parameters, not in the state; give both for params, "
        "optax.LookaheadParams(fast, slow)"
    )
    with refused(ValueError, message):
        gx.from_optax(LOOKAHEAD, both.fast, state)


def started() -> tuple[Any, Any]:
    both = optax.LookaheadParams.init_synced(PARAMS)
    return both, PEER.init(both)


# ---- functions of the parameters ----


def test_sam_goes_on_in_its_opaque_mode():
    inside: Any = (gx.adam(FALLING), optax.adam(FALLING))
    ours, up = gx.sam(inside[0], 0.05, 2), optax.chain(optax.contrib.normalize(), optax.sgd(0.05))
    theirs = optax.contrib.sam(inside[1], up, sync_period=3, opaque_mode=True)
    grad = jax.grad(loss)
    by_ours, by_theirs = dict(grad_fn=grad), dict(grad_fn=lambda w, i: grad(w))
    w, state = descend(theirs, PARAMS, theirs.init(PARAMS), 3, **by_theirs)
    ahead = descend(theirs, w, state, 4, **by_theirs)[0]
    for form in (state, restored(state)):
        same(descend(ours, w, gx.from_optax(ours, w, form), 4, **by_ours)[0], ahead)
    w, state = descend(ours, PARAMS, ours.init(PARAMS), 3, **by_ours)
    back = gx.to_optax(ours, state)
    assert jax.tree.structure(back) == jax.tree.structure(theirs.init(PARAMS))
    same(descend(theirs, w, back, 4, **by_theirs)[0], descend(ours, w, state, 4, **by_ours)[0])


@pytest.mark.parametrize("opaque", [False, True])
def test_a_step_up_with_a_memory_is_refused(opaque):
    up = optax.chain(optax.contrib.normalize(), optax.sgd(0.05, 0.9))
    state = without_value(optax.contrib.sam(optax.sgd(0.1), up, opaque_mode=opaque)).init(PARAMS)
    message = "from_optax: Optax's adv_state has arrays, and the step up of sam keeps nothing; put optax.contrib.sam in"
    with refused(ValueError, message):
        gx.from_optax(gx.sam(gx.sgd(0.1), transparent=not opaque), PARAMS, state)


@pytest.mark.parametrize("form", [lambda state: state, restored], ids=["Optax's", "without a template"])
def test_an_opaque_sam_is_no_other_optimizer(form):
    """Its own state is all that it keeps of what it steps with: that of `adam` alone has the same fields."""
    up, adam = optax.chain(optax.contrib.normalize(), optax.sgd(0.05)), optax.adam(0.1)
    clipped = optax.chain(optax.clip(1.0), adam)
    with refused(ValueError, "in an opaque sam, expected scale_by_adam (ScaleByAdamState), scale_by_learning_rate;"):
        gx.from_optax(gx.adam(0.1), PARAMS, form(optax.contrib.sam(adam, up, opaque_mode=True).init(PARAMS)))
    with refused(
        ValueError, "expected scale_by_adam (ScaleByAdamState) in an opaque sam, scale_by_learning_rate in an"
    ):
        gx.from_optax(gx.sam(gx.adam(0.1)), PARAMS, form(adam.init(PARAMS)))
    with refused(ValueError, "expected clip_by_value, scale_by_adam (ScaleByAdamState) in an opaque sam"):
        ours = gx.chain(gx.clip_by_value(1.0), gx.sam(gx.adam(0.1)))
        gx.from_optax(ours, PARAMS, form(optax.contrib.sam(clipped, up, opaque_mode=True).init(PARAMS)))


@pytest.mark.parametrize("store_grad", [False, True])
def test_backtracking_goes_on_from_its_last_step(store_grad):
    def search(tx: Any, w: Any, state: Any, steps: int) -> tuple[Any, Any]:
        for _ in range(steps):
            value, grad = jax.value_and_grad(loss)(w)
            updates, state = tx.update(grad, state, w, value=value, grad=grad, value_fn=loss)
            w = optax.apply_updates(w, updates)
        return w, state

    theirs = optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(9, store_grad=store_grad))
    ours = gx.chain(gx.sgd(1.0), gx.scale_by_backtracking_linesearch(9, store_grad=store_grad))
    w, state = search(theirs, PARAMS, theirs.init(PARAMS), 2)
    ahead = search(theirs, w, state, 3)[0]
    for form in (state, restored(state)):
        same(search(ours, w, gx.from_optax(ours, w, form), 3)[0], ahead)
    w, state = search(ours, PARAMS, ours.init(PARAMS), 2)
    back = gx.to_optax(ours, state, theirs.init(PARAMS))
    same(search(theirs, w, back, 3)[0], search(ours, w, state, 3)[0])
