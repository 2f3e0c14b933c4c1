"""A state of torch's whose next step would be another one here is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx as gx
import gradtx.optax as mirrored
from tests.refusals import refused

W = {"kernel": jnp.zeros(2), "bias": jnp.zeros(1)}
NAMES = {"kernel": 0, "bias": 1}
SAME = "take over with the number of the state, and change it behind that"
ELSEWHERE = "torch's weight_decay of kernel stands elsewhere; put add_decayed_weights"


def sgd(**more):
    group = dict(lr=0.1, momentum=0.9, dampening=0, weight_decay=0, nesterov=False, maximize=False)
    state = {i: dict(momentum_buffer=np.ones(x.shape, np.float32)) for i, x in enumerate(W.values())}
    return dict(state=state, param_groups=[group | dict(params=[0, 1]) | more])


def adam(**more):
    group = dict(lr=0.1, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, amsgrad=False, maximize=False)
    group |= dict(decoupled_weight_decay=False, params=[0, 1])
    one = [np.ones(x.shape, np.float32) for x in W.values()]
    state = {i: dict(step=3.0, exp_avg=x, exp_avg_sq=x) for i, x in enumerate(one)}
    return dict(state=state, param_groups=[group | more])


def in_two(found, **more):
    """The second array in a group of its own."""
    (group,) = found["param_groups"]
    return found | dict(param_groups=[group | dict(params=[0]), group | dict(params=[1]) | more])


L2 = gx.add_decayed_weights(0.01)
BEHIND = gx.chain(gx.scale_by_adam(), gx.masked(L2, gx.by_path("kernel")), gx.scale_by_learning_rate(0.1))


@pytest.mark.parametrize(
    ("tx", "state", "message"),
    [
        (
            gx.sgd(0.1, 0.9),
            sgd(nesterov=True),
            f"torch's nesterov is 1 in the state, and nesterov is 0 in scale_by_momentum; {SAME}",
        ),
        (
            gx.sgd(0.1, 0.9),
            sgd(dampening=0.5),
            f"torch's dampening is 0.5 in the state, and dampening is 0 in scale_by_momentum; {SAME}",
        ),
        (
            gx.sgd(0.1, 0.9),
            sgd(weight_decay=0.01),
            (
                "torch's weight_decay of kernel is 0.01 in the state, and 0 in the transformation; put "
                "add_decayed_weights there, ahead of scale_by_momentum"
            ),
        ),
        (
            gx.adam(0.1),
            adam(weight_decay=0.01),
            "0.01 in the state, and 0 in the transformation; put add_decayed_weigh",
        ),
        (
            gx.adam(0.1),
            adam(weight_decay=0.01, decoupled_weight_decay=True),
            "put add_decayed_weights there, behind scale_by_adam",
        ),
        (
            gx.adamw(0.1, weight_decay=0.1),
            adam(weight_decay=0.01, decoupled_weight_decay=True),
            f"torch's weight_decay of kernel is 0.01 in the state, and 0.1 in the transformation; {SAME}",
        ),
        (gx.chain(L2, gx.sgd(0.1, 0.9)), sgd(), f"is 0 in the state, and 0.01 in the transformation; {SAME}"),
        (gx.adamw(0.1, weight_decay=0.01), adam(weight_decay=0.01), f"{ELSEWHERE} ahead of scale_by_adam"),
        (
            gx.chain(L2, gx.adam(0.1)),
            adam(weight_decay=0.01, decoupled_weight_decay=True),
            f"{ELSEWHERE} behind scale_by_adam",
        ),
        (
            BEHIND,
            adam(weight_decay=0.01, decoupled_weight_decay=True),
            "torch's weight_decay of bias is 0.01 in the sta",
        ),
        (
            gx.adam(0.1),
            adam(maximize=True),
            (
                "torch has maximize=True for kernel; its moments are those of the gradients of -f: minimize that, and "
                "hand them in with maximize=False"
            ),
        ),
        (
            gx.adam(0.1),
            in_two(adam(), lr=0.2),
            (
                "torch's groups have the rates 0.1 for kernel, 0.2 for bias, and scale_by_learning_rate has one for "
                "all; give each its own by partition"
            ),
        ),
        (
            gx.partition((gx.by_path("kernel"), gx.adam(0.1)), default=gx.adam(0.1)),
            in_two(adam(), lr=0.2),
            f"lr is 0.2 in the state, and learning_rate is 0.1 in scale_by_learning_rate; {SAME}",
        ),
        (
            gx.sgd(0.1, 0.9),
            sgd(lr_decay=0.5),
            "torch has lr_decay=0.5 for kernel, bias, and learning_rate is a constant; give a schedule that falls like",
        ),
    ],
)
def test_another_next_step_is_refused(tx, state, message):
    with refused(ValueError, message):
        gx.from_torch(tx, W, state, NAMES)


@pytest.mark.parametrize(
    ("tx", "state"),
    [
        (gx.sgd(0.1, 0.9, nesterov=True), sgd(nesterov=True)),
        (gx.sgd(0.1, 0.9, dampening=0.5), sgd(dampening=0.5)),
        (gx.chain(L2, gx.sgd(0.1, 0.9)), sgd(weight_decay=0.01)),
        (gx.chain(L2, gx.adam(0.1)), adam(weight_decay=0.01)),
        (gx.adamw(0.1, weight_decay=0.01), adam(weight_decay=0.01, decoupled_weight_decay=True)),
        (BEHIND, in_two(adam(weight_decay=0.01, decoupled_weight_decay=True), weight_decay=0)),
        (gx.only(gx.adam(0.1), gx.by_path("kernel")), {**adam(), "state": {0: adam()["state"][0]}}),
        (  # what does not move has no decay
            gx.only(gx.chain(L2, gx.sgd(0.1, 0.9)), gx.by_path("kernel")),
            {**sgd(weight_decay=0.01), "state": {0: sgd()["state"][0]}},
        ),
        (gx.partition((gx.by_path("kernel"), gx.adam(0.1)), default=gx.adam(0.2)), in_two(adam(), lr=0.2)),
        (gx.adamw(gx.linear(0.1, 0.0, 9), weight_decay=gx.constant(0.01)), adam(decoupled_weight_decay=True)),
    ],
)
def test_the_same_next_step_is_taken(tx, state):
    leaves = jax.tree.leaves(gx.from_torch(tx, W, state, NAMES, steps=3))
    assert any(x.shape == (2,) and np.all(x == 1.0) for x in leaves)


def test_a_decay_written_by_others_is_not_judged():
    @gx.transformation
    def shrink():
        return gx.stateless(lambda g, p: g + 0.01 * p)

    for decay in (shrink(), mirrored.add_decayed_weights(0.01)):
        gx.from_torch(gx.chain(decay, gx.sgd(0.1, 0.9)), W, sgd(weight_decay=0.01), NAMES)


def test_controlled_numbers_become_those_of_torch():
    some = gx.controlled(0.5)
    group = adam(weight_decay=0.25, decoupled_weight_decay=True)
    state = gx.from_torch(gx.adamw(0.1, b1=some, b2=some, weight_decay=some), W, group, NAMES)
    found = [float(gx.find(state, name)) for name in ("b1", "b2", "weight_decay")]
    assert found == pytest.approx([0.9, 0.999, 0.25])


def test_groups_without_names_count_where_all_are_alike():
    stateless = dict(state={}, param_groups=in_two(sgd(momentum=0))["param_groups"])
    assert float(gx.from_torch(gx.sgd(gx.controlled(0.5)), W, stateless, {}).learning_rate) == pytest.approx(0.1)
    with refused(ValueError, "lr is 0.1 in the state, and learning_rate is 0.5 in scale_by_learning_rate"):
        gx.from_torch(gx.sgd(0.5), W, stateless, {})
