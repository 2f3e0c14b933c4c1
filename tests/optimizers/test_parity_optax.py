"""The same formula in gradtx and in Optax walks the same path: three problems at once, 60 steps in float64."""

from typing import Any

import numpy as np
import optax
import pytest

import gradtx as gx
from tests.problems import OF_MATRICES, START, apart, moves, on_a_matrix, trajectory
from tests.row import BOUND, Row


def in_float64(factory):
    """Optax divides an int32 count by an int in float32, also with x64 on: its schedules get the count as a float."""

    def made(*args, **kwargs):
        schedule = factory(*args, **kwargs)
        return lambda count: schedule(1.0 * count)

    return made


SCHEDULES = ("cosine_decay_schedule", "exponential_decay", "linear_schedule", "warmup_cosine_decay_schedule")


def exactly(step, rate):
    """The share that Optax's Adafactor keeps, not in float32."""
    return 1.0 - (step + 1.0) ** -rate


NAMES = vars(optax) | dict(exactly=exactly) | {name: in_float64(getattr(optax, name)) for name in SCHEDULES}

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
            gx.adamaxw(1e-2, eps=0.0, eps_max=1e-8, weight_decay=0.1),
        ),
    ],
    "RAdam": [
        Row("radam(1e-2)", gx.radam(1e-2)),
        Row("radam(1e-2, 0.8, 0.99, 1e-3, threshold=8.0)", gx.radam(1e-2, 0.8, 0.99, 1e-3, 8)),
    ],
    "Yogi": [
        Row("yogi(1e-2)", gx.yogi(1e-2)),
        Row(
            "chain(scale_by_yogi(0.8, 0.99, 1e-2, 1e-3, 0.1), scale(-1e-2))",
            gx.yogi(1e-2, 0.8, 0.99, 1e-2, eps_root=1e-3, initial=0.1),
        ),
    ],
    "AdaBelief and ACProp": [
        Row("adabelief(1e-2)", gx.adabelief(1e-2)),
        Row("adabelief(1e-2, eps=1e-3, nesterov=True)", gx.adabelief(1e-2, eps=1e-3, nesterov=True)),
        Row("contrib.acprop(1e-4)", gx.acprop(1e-4)),
    ],
    "Adan": [
        Row(
            "adan(1e-2, eps_root=0.0)",
            gx.adan(1e-2),
            "weighs what the gradients differ by with 1 - β₂ where the authors have β₂",
            apart=0.037,
        ),
    ],
    "NovoGrad": [
        Row("novograd(1e-2)", gx.novograd(1e-2)),
        Row("novograd(1e-2, eps=1e-3, weight_decay=0.1)", gx.novograd(1e-2, eps=1e-3, weight_decay=0.1)),
    ],
    "Adafactor": [
        Row(
            "chain(scale_by_factored_rms(decay_rate_fn=exactly), clip_by_block_rms(1.0), scale(1e-2), "
            "scale_by_param_block_rms(), scale(-1))",
            gx.adafactor(1e-2),
            "`adafactor(1e-2)`, whose share of the average is in float32, made exact",
        ),
        Row(
            "chain(scale_by_factored_rms(True, 0.5, 0, 2, 1e-3, exactly), scale(-1e-3))",
            gx.adafactor(1e-3, 2, 0.5, eps=1e-3, relative=False, max_rms=float("inf")),
            "without the parameter's size and without a bound",
        ),
        Row(
            "chain(scale_by_factored_rms(min_dim_size_to_factor=2, decay_rate_fn=exactly), clip_by_block_rms(1.0), "
            "scale(1e-2), scale_by_param_block_rms(), ema(0.9, False), add_decayed_weights(1e-3), scale(-1))",
            gx.adafactor(1e-2, 2, momentum=0.9, weight_decay=1e-3),
            "as `adafactor(1e-2, 2, momentum=0.9, weight_decay_rate=1e-3)`: the decay is not times the rate",
        ),
    ],
    "Muon": [
        Row("contrib.muon(1e-3, nesterov=False, eps=0.0)", gx.muon(1e-3, nesterov=False, eps=0.0)),
        Row(
            "contrib.muon(1e-3, nesterov=False, eps=0.0, consistent_rms=0.2, weight_decay=0.1)",
            gx.muon(1e-3, nesterov=False, eps=0.0, scale=gx.rms_factor(0.2), weight_decay=0.1),
            "decoupled, times the rate alone",
        ),
        Row(
            "contrib.muon(1e-3)",
            gx.muon(1e-3, eps=1e-8),
            "corrects both terms of the momentum's look-ahead; `gradtx.optax.contrib.muon` does, too",
            apart=6e-7,
        ),
    ],
    "Signs": [
        Row("sign_sgd(1e-3)", gx.sign_sgd(1e-3)),
        Row("signum(1e-3)", gx.signum(1e-3)),
        Row("lion(1e-3)", gx.lion(1e-3)),
        Row("lion(1e-3, 0.8, 0.95, weight_decay=0.1)", gx.lion(1e-3, 0.8, 0.95, 0.1)),
    ],
    "Rates by layer": [
        Row("lamb(1e-2)", gx.lamb(1e-2)),
        Row("lamb(1e-2, eps_root=1e-6, weight_decay=0.1)", gx.lamb(1e-2, eps_root=1e-6, weight_decay=0.1)),
        Row("fromage(1e-2)", gx.fromage(1e-2)),
    ],
    "Further rules": [
        Row("contrib.ademamix(1e-2)", gx.ademamix(1e-2)),
        Row("contrib.ademamix(1e-2, alpha=8.0, weight_decay=0.1)", gx.ademamix(1e-2, alpha=8.0, weight_decay=0.1)),
        Row("contrib.simplified_ademamix(1e-4, alpha=10.0)", gx.simplified_ademamix(1e-4, alpha=10.0)),
        Row("contrib.adopt(1e-2)", gx.adopt(1e-2)),
        Row("contrib.adopt(1e-2, nesterov=True, use_clipping=False)", gx.adopt(1e-2, clip=False, nesterov=True)),
        Row("sm3(0.05)", gx.sm3(0.05)),
        Row("contrib.madgrad(1e-2)", gx.madgrad(1e-2), "Optax takes the root of the count in float32", apart=5e-9),
        Row("rprop(1e-2)", gx.rprop(1e-2), "Optax's update is that of the step before, at first zero", apart=0.5),
    ],
    "Clipping": [
        Row("chain(clip(0.5), sgd(1e-2))", gx.chain(gx.clip_by_value(0.5), gx.sgd(1e-2))),
        Row(
            "chain(clip_by_global_norm(10.0), adamw(1e-2))",
            gx.chain(gx.clip_by_global_norm(10.0), gx.adamw(1e-2)),
            "all arrays as one vector",
        ),
    ],
    "Wrappers over any transformation": [
        Row(
            "contrib.schedule_free_sgd(5e-4, b1=0.8, weight_decay=0.1, weight_lr_power=1.0)",
            gx.schedule_free_sgd(5e-4, 0.8, 0.1, 1.0),
        ),
        Row("contrib.schedule_free_adamw(1e-2, weight_decay=0.1)", gx.schedule_free_adamw(1e-2, weight_decay=0.1)),
        Row(
            "contrib.schedule_free_adamw(1e-2, warmup_steps=10)",
            gx.schedule_free_adamw(gx.linear(1e-3, 1e-2, 9)),
            "there the rate of the steps is one step behind that of their weights, the first 0; this is the author's",
            apart=0.0158,
        ),
        Row(
            "contrib.sam(adam(1e-2), chain(contrib.normalize(), sgd(0.05)), 4)",
            gx.sam(gx.adam(1e-2), 0.05, 3, transparent=True),
            "where all gradients are zeros, Optax's are NaN",
        ),
        Row(
            "contrib.mechanize(lion(1e-2), s_init=0.1, num_betas=3)",
            gx.mechanize(gx.lion(1e-2), s_init=0.1, num_betas=3),
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


def same_path(ours, theirs, far=0.0):
    path, expected = (trajectory(tx, start=np.concatenate(START)) for tx in (ours, theirs))
    assert min(moves(expected).values()) > 1e-2
    distances = apart(path, expected)
    if far:  # no option equals it
        assert max(distances.values()) == pytest.approx(far, rel=0.2), distances
    else:
        assert max(distances.values()) < BOUND, distances


CASES = [(rule, row) for rule, rows in ROWS.items() for row in rows]


@pytest.mark.parametrize(("rule", "row"), CASES, ids=[row.call for _, row in CASES])
def test_same_path_as_optax(rule, row):
    see = on_a_matrix if rule in OF_MATRICES else lambda tx: tx
    same_path(see(row.ours), see(eval(row.call, NAMES)), row.apart)


def test_a_schedule_of_optax_is_taken_as_it_is():
    falling = optax.cosine_decay_schedule(1e-2, 40, alpha=0.1)
    same_path(gx.adam(falling), optax.adam(falling))
