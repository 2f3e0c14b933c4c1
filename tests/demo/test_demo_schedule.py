"""A schedule given to the demo multiplies every optimizer's learning rate."""

import numpy as np
import pytest

import gradtx as gx
from gradtx.demo.compared import COMPARED, optimizers, with_schedule
from gradtx.demo.digits import load, train_network
from gradtx.demo.surfaces import SURFACES

SCHEDULE = gx.warmup(1.0, 3).then(gx.cosine(1.0, 7), at=3)
DIGITS = load()


@pytest.mark.parametrize("task", ["digits", *SURFACES])
def test_the_rate_of_every_optimizer_is_its_own_times_the_schedule(task):
    for name, tx in optimizers(task, 10, SCHEDULE).items():
        (rate,) = (x for path, x in gx.hyperparameters(tx).items() if path.endswith("learning_rate"))
        expected = getattr(COMPARED[name], task) * SCHEDULE(np.arange(12))
        np.testing.assert_allclose(rate(np.arange(12)), expected, rtol=1e-6)


def test_without_a_schedule_the_rates_are_constant_but_for_the_usual_recipe():
    for name, tx in optimizers("digits", 600).items():
        (rate,) = (x for path, x in gx.hyperparameters(tx).items() if path.endswith("learning_rate"))
        assert isinstance(rate, gx.Schedule) == (name == "adamw")


def test_training_follows_the_schedule():
    def losses(tx):
        return train_network(tx, DIGITS, 6, 32, 0, lambda done: None).losses

    halved = losses(with_schedule(gx.sgd(0.1), gx.constant(0.5)))
    np.testing.assert_allclose(halved, losses(gx.sgd(0.05)), rtol=1e-6)
    stopped = losses(with_schedule(gx.sgd(0.1), gx.constant(1.0).then(0.0, at=3)))
    np.testing.assert_allclose(stopped[:4], losses(gx.sgd(0.1))[:4], rtol=1e-6)
    assert not np.isclose(stopped[5], losses(gx.sgd(0.1))[5], rtol=1e-3)


def test_a_rate_that_is_a_schedule_is_multiplied_too_and_wherever_it_stands():
    tx = gx.chain(gx.clip_by_norm(1.0), gx.chain(gx.adam(gx.linear(1.0, 0.0, 4))), gx.sgd(0.5))
    rates = gx.hyperparameters(with_schedule(tx, gx.constant(0.1)))
    assert float(rates["parts[1].learning_rate"](1)) == pytest.approx(0.075)
    assert float(rates["parts[2].learning_rate"](1)) == pytest.approx(0.05)
    assert with_schedule(tx, None) is tx


def test_the_command_trains_with_it_and_prints_it(shown, tmp_path):
    out = shown("--steps", "4", "--schedule", "constant(0.5)", "--only", "sgd", "--optimizer", "adam(0.01)")
    assert "    sgd(learning_rate=(constant(value=0.5) * 0.1))" in out
    assert "    adam(learning_rate=(constant(value=0.5) * 0.01))" in out
    assert (tmp_path / "new" / "out" / "optimizers.png").exists()
    plain = shown("--steps", "4", "--optimizer", "sgd(0.05)", "--optimizer", "adam(0.005)")
    cells = [[row.split()[-4:-2] for row in text.splitlines()[2:6:2]] for text in (out, plain)]
    assert cells[0] == cells[1]  # loss and accuracy
