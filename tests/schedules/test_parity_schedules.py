"""Schedules beside those of the peers, in float64: Optax's called here, torch's and Keras' as they computed them."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx

COUNTS = np.arange(60)


def assert_same(ours, theirs, rtol=1e-12):
    np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=1e-17)


# By the peer's call, which is evaluated as it is written.
OPTAX = {
    "polynomial_schedule(1.0, 0.1, 2.5, 20)": gx.polynomial(1.0, 0.1, 20, power=2.5),
    "piecewise_constant_schedule(0.1, {5: 0.5, 6: 4.0, 30: 0.0})": gx.piecewise_constant(
        (5, 6, 30), (0.1, 0.05, 0.2, 0.0)
    ),
    "exponential_decay(0.1, 7, 0.5, staircase=True)": gx.step(0.1, 0.5, every=7),
    "sgdr_schedule([dict(init_value=0.0, peak_value=0.1 * 0.5**n, warmup_steps=0, decay_steps=10 * 2**n) "
    "for n in range(4)])": gx.cosine_restarts(0.1, 10, factor=2, decay=0.5),
    "linear_onecycle_schedule(40, 0.1)": gx.one_cycle(
        0.1, 40, rise=0.3, fall=0.55, start_share=1 / 25, end_share=1 / 25e4
    ),
    "cosine_onecycle_schedule(40, 0.1)": gx.cosine(0.1 / 25, 12, floor=0.1).then(
        gx.cosine(0.1, 28, floor=0.1 / 25e4), at=12
    ),
    "join_schedules([warmup_constant_schedule(0.0, 0.1, 10), linear_schedule(0.1, 0.01, 20)], [30])": gx.linear(
        0.0, 0.1, 10
    )
    .then(0.1, at=10)
    .then(gx.linear(0.1, 0.01, 20), at=30),
}


@pytest.mark.parametrize("call", OPTAX)
def test_equals_optax(call):
    theirs = jax.vmap(eval(call, dict(vars(optax))))
    assert_same(OPTAX[call](COUNTS), theirs(1.0 * COUNTS))  # an int32 count is divided in float32 there


def recorded(peer):
    return json.loads((Path(__file__).parents[1] / "reference" / f"{peer}_schedules.json").read_text())


# Values of torch 2.13, in Python's doubles, by the expression that makes the scheduler and the entry of the group that
# it sets: recorded before each of the first steps, with optimizer = SGD(parameters, lr=0.1, momentum=0.9).
LINEAR = "OneCycleLR(optimizer, 0.1, total_steps=17, pct_start=0.45, anneal_strategy='linear', "


def shares(total_steps, pct_start) -> dict[str, Any]:
    """The arguments of one cycle that are those of torch."""
    share = (pct_start * total_steps - 1) / (total_steps - 1)
    return dict(steps=total_steps - 1, rise=share, fall=share)


TORCH = {
    "OneCycleLR(optimizer, 0.1, total_steps=17, pct_start=0.3, three_phase=True) lr": gx.one_cycle(
        0.1, **shares(17, 0.3), start_share=1 / 25, end_share=1 / 25e4, cosine=True
    ),
    "OneCycleLR(optimizer, 0.1, total_steps=17, pct_start=0.3, three_phase=True) momentum": gx.one_cycle_momentum(
        **shares(17, 0.3), cosine=True
    ),
    LINEAR + "div_factor=10.0, final_div_factor=1e3, three_phase=True) lr": gx.one_cycle(0.1, **shares(17, 0.45)),
    LINEAR + "three_phase=True) momentum": gx.one_cycle_momentum(**shares(17, 0.45)),
    "OneCycleLR(optimizer, 0.1, total_steps=16, pct_start=0.375) lr": gx.cosine(0.1 / 25, 5, floor=0.1).then(
        gx.cosine(0.1, 10, floor=0.1 / 25e4), at=5
    ),
    "CyclicLR(optimizer, 0.01, 0.1, step_size_up=3) lr": gx.cyclic(0.01, 0.1, 3),
    "CyclicLR(optimizer, 0.01, 0.1, step_size_up=3, mode='triangular2') lr": gx.cyclic(0.01, 0.1, 3, decay=0.5),
    "CyclicLR(optimizer, 0.01, 0.1, step_size_up=3, mode='exp_range', gamma=0.9) lr": gx.cyclic(0.0, 0.1 - 0.01, 3)
    * gx.exponential(1.0, 0.9, every=1)
    + 0.01,
    "CyclicLR(optimizer, 0.01, 0.1, step_size_up=3, base_momentum=0.85, max_momentum=0.95) momentum": gx.cyclic(
        0.95, 0.85, 3
    ),
    "CosineAnnealingWarmRestarts(optimizer, 2, T_mult=2, eta_min=0.01) lr": gx.cosine_restarts(
        0.1, 2, factor=2, floor=0.01
    ),
    "CosineAnnealingWarmRestarts(optimizer, 5) lr": gx.cosine_restarts(0.1, 5),
    "PolynomialLR(optimizer, 10, power=2.0) lr": gx.polynomial(0.1, 0.0, 10, power=2.0),
    "StepLR(optimizer, 5, gamma=0.5) lr": gx.step(0.1, 0.5, every=5),
    "MultiStepLR(optimizer, [3, 9], gamma=0.1) lr": gx.piecewise_constant((3, 9), (0.1, 0.01, 0.001)),
}


@pytest.mark.parametrize("call", recorded("torch"))
def test_equals_torch(call):
    values = recorded("torch")[call]
    assert_same(TORCH[call](np.arange(len(values))), values)


# Values of Keras 3.15.1 in its float64, by the call; its cosines are those of a float32.
KERAS = {
    "PiecewiseConstantDecay([4, 9], [0.1, 0.03, 0.01])": gx.piecewise_constant((5, 10), (0.1, 0.03, 0.01)),
    "CosineDecay(0.1, 10, alpha=0.1)": gx.cosine(0.1, 10, floor=0.01),
    "CosineDecayRestarts(0.1, 3, t_mul=2.0, m_mul=0.5, alpha=0.1)": gx.cosine_restarts(
        0.1, 3, factor=2, decay=0.5, floor=0.01
    ),
    "InverseTimeDecay(0.1, 5, 0.5)": gx.inverse_time(0.1, 0.1),
    "PolynomialDecay(0.1, 10, end_learning_rate=0.01, power=2.0)": gx.polynomial(0.1, 0.01, 10, power=2.0),
    "ExponentialDecay(0.1, 5, 0.5)": gx.exponential(0.1, 0.5, every=5),
    "ExponentialDecay(0.1, 5, 0.5, staircase=True)": gx.step(0.1, 0.5, every=5),
}


@pytest.mark.parametrize("call", recorded("keras"))
def test_equals_keras(call):
    values = recorded("keras")[call]
    assert_same(KERAS[call](np.arange(len(values))), values, bound(call))


def bound(call):
    """Up to what relative error a schedule is held to its peer's: that of a float32 where Keras computes in one."""
    return 1e-6 if call in KERAS and "Cosine" in call else 1e-12


def test_equals_the_rate_of_the_transformer():
    """Vaswani et al. (2017), equation 3, whose steps count from 1."""
    width, rise, t = 512, 20, COUNTS[1:]
    peak = width**-0.5 * rise**-0.5
    ours = gx.linear(0.0, peak, rise).then(gx.power(peak, rise, -0.5), at=rise)
    assert_same(ours(t), width**-0.5 * np.minimum(t**-0.5, t * rise**-1.5))


def test_equals_the_rules_of_the_courses():
    epoch = COUNTS // 10
    assert_same(gx.per_epoch(gx.exponential(0.1, 0.95, every=1), 10)(COUNTS), 0.1 * 0.95**epoch)
    assert_same(gx.per_epoch(gx.inverse_time(0.2, 1.0), 10)(COUNTS), 0.2 / (1 + epoch))
    assert_same(gx.per_epoch(gx.inverse_sqrt(0.2, k=0.5), 10)(COUNTS[10:]), 0.5 / np.sqrt(epoch[10:]) * 0.2)
    assert_same(gx.power(0.1, 20.0, -1.0)(COUNTS), 0.1 / (1 + COUNTS / 20))
    assert_same(gx.step(0.1, 0.1, every=30)(jnp.array([0, 29, 30, 59, 60])), [0.1, 0.1, 0.01, 0.01, 0.001])
