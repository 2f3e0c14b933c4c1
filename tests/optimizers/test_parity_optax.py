"""The same formula in gradtx and in Optax walks the same path: three problems at once, 60 steps in float64."""

from typing import Any

import numpy as np
import optax
import pytest

import gradtx as gx
from tests.problems import START, apart, moves, trajectory
from tests.row import BOUND, Row


def in_float64(factory):
    """Optax divides an int32 count by an int in float32, also with x64 on: its schedules get the count as a float."""

    def made(*args, **kwargs):
        schedule = factory(*args, **kwargs)
        return lambda count: schedule(1.0 * count)

    return made


SCHEDULES = ("cosine_decay_schedule", "exponential_decay", "linear_schedule", "warmup_cosine_decay_schedule")
NAMES = vars(optax) | {name: in_float64(getattr(optax, name)) for name in SCHEDULES}

# RMSProp's step flips its sign at once with the gradient's: a rate that crosses a valley makes a path's rounding grow.
INSIDE: dict[str, Any] = dict(eps=0.0, eps_root=1e-8)
FALLING = gx.scale_by_learning_rate(gx.cosine(1e-2, 40, floor=1e-3))

ROWS = {
    "Gradient descent": [
        Row("sgd(5e-4)", gx.sgd(5e-4)),
        Row("sgd(5e-4, 0.9)", gx.sgd(5e-4, 0.9), "rate outside the velocity"),
        Row("sgd(5e-4, 0.8, nesterov=True)", gx.sgd(5e-4, 0.8, nesterov=True)),
    ],
    "RMSProp": [
        Row("rmsprop(1e-3)", gx.rmsprop(1e-3, **INSIDE), "ε inside the root"),
        Row("rmsprop(1e-3, eps_in_sqrt=False)", gx.rmsprop(1e-3), "ε outside the root"),
        Row("rmsprop(1e-3, centered=True)", gx.rmsprop(1e-3, centered=True, **INSIDE)),
        Row(
            "rmsprop(1e-3, eps=1e-3, centered=True, eps_in_sqrt=False)",
            gx.rmsprop(1e-3, eps=1e-3, centered=True),
        ),
        Row("rmsprop(1e-3, bias_correction=True)", gx.rmsprop(1e-3, debias=True, **INSIDE)),
        Row("rmsprop(1e-3, initial_scale=1.0)", gx.rmsprop(1e-3, initial=1.0, **INSIDE)),
        Row(
            "rmsprop(cosine_decay_schedule(1e-2, 40, alpha=0.1), momentum=0.8)",
            gx.chain(gx.scale_by_rms(**INSIDE), FALLING, gx.scale_by_momentum(0.8)),
            "rate inside the velocity",
        ),
        Row(
            "rmsprop(cosine_decay_schedule(1e-2, 40, alpha=0.1), momentum=0.8, nesterov=True, eps_in_sqrt=False)",
            gx.chain(gx.scale_by_rms(), FALLING, gx.scale_by_momentum(0.8, nesterov=True)),
            "rate inside the velocity",
        ),
    ],
    "Adam": [
        Row("adam(1e-2)", gx.adam(1e-2)),
        Row("adam(1e-2, 0.8, 0.99, 1e-3)", gx.adam(1e-2, 0.8, 0.99, 1e-3)),
        Row("adam(1e-2, eps_root=1e-6)", gx.adam(1e-2, eps_root=1e-6)),
        Row(
            "inject_hyperparams(adam)(1e-2, b1=linear_schedule(0.5, 0.9, 30))",
            gx.adam(1e-2, b1=gx.linear(0.5, 0.9, 30)),
            "any number may be a schedule",
        ),
        Row(
            "chain(add_decayed_weights(0.1), adam(1e-2))",
            gx.chain(gx.add_decayed_weights(0.1), gx.adam(1e-2)),
            "L2",
        ),
    ],
    "AdamW": [
        Row("adamw(1e-2)", gx.adamw(1e-2), "decoupled, times the rate"),
        Row("adamw(1e-2, weight_decay=0.1)", gx.adamw(1e-2, weight_decay=0.1)),
        Row(
            "adamw(exponential_decay(1e-3, 1, 0.95), weight_decay=0.1)",
            gx.adamw(gx.exponential(1e-3, 0.95, every=1), weight_decay=0.1),
            "the decay falls with the rate",
        ),
    ],
    "NAdam": [
        Row("nadam(1e-2)", gx.nadam(1e-2)),
        Row("nadamw(1e-2, weight_decay=0.1)", gx.nadamw(1e-2, weight_decay=0.1)),
    ],
    "AdaGrad": [
        Row("adagrad(0.05)", gx.adagrad(0.05, eps=0.0, eps_root=1e-7, initial=0.1), "ε inside the root; starts at 0.1"),
        Row(
            "adagrad(0.05, initial_accumulator_value=0.0, eps=1e-3)",
            gx.adagrad(0.05, eps=0.0, eps_root=1e-3),
        ),
    ],
    "AdaDelta": [
        Row("adadelta(1.0)", gx.adadelta(1.0)),
        Row("adadelta(1.0, rho=0.95, eps=1e-3)", gx.adadelta(1.0, 0.95, 1e-3)),
    ],
    "AMSGrad": [
        Row("amsgrad(1e-2)", gx.amsgrad(1e-2, debias_first=True), "corrects first, then takes the maximum"),
        Row("amsgrad(1e-2, eps=1e-3, eps_root=1e-6)", gx.amsgrad(1e-2, eps=1e-3, eps_root=1e-6, debias_first=True)),
    ],
    "Adamax": [
        Row("adamax(1e-2)", gx.adamax(1e-2, eps=0.0, eps_max=1e-8), "ε inside the maximum"),
        Row("adamax(1e-2, 0.8, 0.99, 1e-3)", gx.adamax(1e-2, 0.8, 0.99, 0.0, eps_max=1e-3)),
        Row(
            "adamaxw(1e-2, weight_decay=0.1)",
            gx.chain(
                gx.scale_by_adamax(eps=0.0, eps_max=1e-8), gx.add_decayed_weights(0.1), gx.scale_by_learning_rate(1e-2)
            ),
        ),
    ],
    "Signs": [
        Row("sign_sgd(1e-3)", gx.sign_sgd(1e-3)),
        Row("lion(1e-3)", gx.lion(1e-3)),
        Row("lion(1e-3, 0.8, 0.95, weight_decay=0.1)", gx.lion(1e-3, 0.8, 0.95, 0.1)),
    ],
    "Clipping": [
        Row("chain(clip(0.5), sgd(1e-2))", gx.chain(gx.clip_by_value(0.5), gx.sgd(1e-2))),
        Row(
            "chain(clip_by_global_norm(10.0), adamw(1e-2))",
            gx.chain(gx.clip_by_global_norm(10.0), gx.adamw(1e-2)),
            "all arrays as one vector",
        ),
    ],
    "Blocks": [
        Row("chain(scale(0.5), sgd(5e-4))", gx.chain(gx.scale(0.5), gx.sgd(5e-4))),
        Row("chain(ema(0.9, debias=False), sgd(5e-4))", gx.chain(gx.ema(0.9), gx.sgd(5e-4))),
        Row("chain(ema(0.9), sgd(5e-4))", gx.chain(gx.ema(0.9), gx.bias_correction(0.9), gx.sgd(5e-4))),
    ],
    "Schedules": [
        Row("adam(cosine_decay_schedule(1e-2, 40, alpha=0.1))", gx.adam(gx.cosine(1e-2, 40, floor=1e-3))),
        Row("adam(linear_schedule(1e-2, 1e-3, 40))", gx.adam(gx.linear(1e-2, 1e-3, 40))),
        Row("adam(exponential_decay(1e-2, 20, 0.5))", gx.adam(gx.exponential(1e-2, 0.5, 20))),
        Row(
            "adam(exponential_decay(1e-2, 20, 0.5, staircase=True))",
            gx.adam(gx.exponential(1e-2, 0.5, 20, staircase=True)),
        ),
        Row(
            "adam(warmup_cosine_decay_schedule(0.0, 1e-2, 10, 40))",
            gx.adam(gx.linear(0.0, 1e-2, 10).then(gx.cosine(1e-2, 30), at=10)),
        ),
    ],
}


def same_path(ours, theirs):
    path, expected = (trajectory(tx, start=np.concatenate(START)) for tx in (ours, theirs))
    assert min(moves(expected).values()) > 1e-2
    distances = apart(path, expected)
    assert max(distances.values()) < BOUND, distances


@pytest.mark.parametrize("row", [row for rows in ROWS.values() for row in rows], ids=lambda row: row.call)
def test_same_path_as_optax(row):
    same_path(row.ours, eval(row.call, NAMES))


def test_a_schedule_of_optax_is_taken_as_it_is():
    falling = optax.cosine_decay_schedule(1e-2, 40, alpha=0.1)
    same_path(gx.adam(falling), optax.adam(falling))
