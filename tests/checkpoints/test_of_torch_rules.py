"""torch's RAdam, Rprop and ASGD: what their states have besides, and what of them is refused."""

import copy

import jax
import numpy as np
import pytest

import gradtx as gx
from tests.checkpoints.test_of_torch import MIDDLE, NAMES, PATHS, ROWS, parameters_at, states, taken_over
from tests.problems import START, gradient
from tests.refusals import refused

SAME = "take over with the number of the state, and change it behind that"
SHORT = "ASGD(w, 5e-4, lambd=0.1, alpha=0.5, t0=2)"


@pytest.mark.parametrize("call", ["ASGD(w, 5e-4)", SHORT])
def test_the_mean_of_asgd_is_the_one_along_the_same_path(call):
    tx, w = ROWS[call].ours, dict(zip(PATHS, START, strict=True))
    state = tx.init(w)
    for _ in range(MIDDLE):
        g = dict(zip(PATHS, gradient(tuple(w[name] for name in PATHS)), strict=True))
        updates, state = tx.update(g, state, w)
        w = gx.apply_updates(w, updates)
    taken = taken_over(call)
    expected = gx.evaluation_parameters(tx, state, w)
    found = gx.evaluation_parameters(tx, taken, parameters_at(call, MIDDLE))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), found, expected)
    counts = [int(x.count) for x in (taken[1], taken[2])]
    assert counts == [MIDDLE, MIDDLE]
    assert float(taken[1].learning_rate) == pytest.approx(float(state[1].learning_rate), rel=1e-12)
    if call == SHORT:  # where the mean has begun
        assert max(np.abs(found[name] - parameters_at(call, MIDDLE)[name]).max() for name in PATHS) > 1e-4


@pytest.mark.parametrize(
    ("call", "tx", "message"),
    [
        (
            "RAdam(w, 1e-2)",
            gx.radam(1e-2),
            "scale_by_radam: torch's epsilon stands beside the uncorrected root; take eps_hat=True",
        ),
        (
            "RAdam(w, 1e-2)",
            gx.radam(1e-2, threshold=6.0, eps_hat=True),
            f"torch's threshold is 5 in the state, and threshold is 6 in scale_by_radam; {SAME}",
        ),
        (
            "NAdam(w, 1e-2)",
            gx.radam(1e-2, eps_hat=True),
            "maximize, foreach and 3 more, among them momentum_decay",
        ),
        (
            "Adam(w, 1e-2)",
            gx.radam(1e-2, eps_hat=True),
            "among them amsgrad",
        ),
        (
            "RAdam(w, 1e-2)",
            gx.adam(1e-2),
            "scale_by_adam: the state is of another optimizer: its group has",
        ),
        (
            "Rprop(w, 1e-2)",
            gx.rprop(1e-2, 0.6),
            f"torch's shrink is 0.5 in the state, and shrink is 0.6 in scale_by_rprop; {SAME}",
        ),
        (
            "Rprop(w, 1e-2)",
            gx.rprop(1e-2, max_step=1.0),
            f"torch's max_step is 50 in the state, and max_step is 1 in scale_by_rprop; {SAME}",
        ),
        (
            SHORT,
            gx.asgd(1e-3, 0.1, 0.5, 2),
            f"torch's lr is 0.0005 in the state, and learning_rate is 0.001 in asgd; {SAME}",
        ),
        (
            SHORT,
            gx.asgd(5e-4, 0.2, 0.5, 2),
            f"torch's lambd is 0.1 in the state, and weight_decay is 0.2 in asgd; {SAME}",
        ),
        (SHORT, gx.asgd(5e-4, 0.1, 0.75, 2), f"torch's alpha is 0.5 in the state, and power is 0.75 in asgd; {SAME}"),
        (SHORT, gx.asgd(5e-4, 0.1, 0.5, 3), f"torch's t0 is 2 in the state, and start is 3 in asgd; {SAME}"),
        (
            "ASGD(w, 5e-4, weight_decay=0.1)",
            gx.asgd(5e-4),
            "torch's weight_decay + lambd of quadratic is 0.1001 in the state, and 0.0001 in the transformation",
        ),
        (
            "ASGD(w, 5e-4)",
            gx.chain(gx.sgd(5e-4), gx.average_parameters(0.9)),
            "average_parameters: torch's ax is the mean behind t0 updates; take asgd, whose average that is",
        ),
        (
            "ASGD(w, 5e-4)",
            gx.sgd(5e-4),
            "torch has eta of quadratic, mu of quadratic, ax of quadratic, eta of rosenbrock",
        ),
    ],
)
def test_another_rule_or_number_is_refused(call, tx, message):
    with refused(ValueError, message):
        taken_over(call, tx)


def test_rprop_that_climbs_is_refused():
    call = "Rprop(w, 1e-2)"
    found = copy.deepcopy(states()[call])
    found["param_groups"][0]["maximize"] = True
    with refused(ValueError, "from_torch: torch has maximize=True for quadratic"):
        gx.from_torch(gx.rprop(1e-2), parameters_at(call, MIDDLE), found, {str(name): i for name, i in NAMES.items()})


def test_an_average_behind_another_optimizer_starts_anew():
    tx = gx.chain(gx.adam(1e-2), gx.average_parameters(0.9))
    state = taken_over("Adam(w, 1e-2)", tx)
    w = parameters_at("Adam(w, 1e-2)", MIDDLE)
    assert int(state[-1].count) == 0
    jax.tree.map(np.testing.assert_array_equal, gx.evaluation_parameters(tx, state, w), w)
