"""The demo's paths over surfaces, and the numbers that it prints of them."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx as gx
from gradtx.demo.compared import COMPARED, optimizers
from gradtx.demo.surfaces import SURFACES, follow_path
from gradtx.plot.surface import points_and_losses
from gradtx.values.value import text_of

pytestmark = pytest.mark.slow

RAVINE, SADDLE = SURFACES["ravine"], SURFACES["saddle"]


@pytest.mark.parametrize("name", SURFACES)
def test_a_surface_is_what_it_says(name):
    surface = SURFACES[name]
    point = jnp.array(surface.point)
    np.testing.assert_array_equal(jax.grad(surface.loss)(point), 0.0)
    curvatures = np.linalg.eigvalsh(jax.hessian(surface.loss)(point))
    assert curvatures[1] > 0
    assert (curvatures[0] > 0) == surface.is_minimum
    python = surface.formula.translate({ord("²"): "**2", ord("₁"): "1", ord("₂"): "2"}).replace("100 ", "100 * ")
    for w1, w2 in (surface.start, (0.3, -0.7)):
        assert eval(python, {"w1": w1, "w2": w2}) == pytest.approx(surface.loss((w1, w2)))
    assert surface.loss(surface.start) > surface.target > (surface.loss(surface.point) if surface.is_minimum else -2)
    for place in (surface.start, surface.point):
        assert all(low < x < high for x, (low, high) in zip(place, surface.view, strict=True))


@pytest.mark.parametrize("name", SURFACES)
def test_draws_every_optimizer_and_tells_the_terms(shown, tmp_path, name):
    surface = SURFACES[name]
    out = shown("--surface", name)
    plain = " ".join(out.split())
    for optimizer, tx in optimizers(name, surface.steps).items():
        assert re.search(rf"^{optimizer} +([\d,]+|none) +\S+e[-+]\d\d$", out, re.MULTILINE), optimizer
        assert text_of(tx) in plain
    w1, w2 = surface.start
    assert f"Loss: {surface.formula}; start: ({w1:g}, {w2:g}); at most {surface.steps:,} steps." in plain
    assert f"losses in a row of at most {surface.target:g};" in plain
    assert ("steps to the minimum" if surface.is_minimum else "steps to leave the saddle") in out.splitlines()[0]
    figure = tmp_path / "new" / "out" / f"{name}.png"
    assert f"Paths: {figure}" in out
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_the_steps_of_momentum_on_the_ravine_are_those_of_the_formula(shown):
    w, v, rate, losses = np.array(RAVINE.start), np.zeros(2), COMPARED["momentum"].ravine, []
    for _ in range(RAVINE.steps + 1):
        losses.append(w[0] ** 2 / 64 + w[1] ** 2)
        v = 0.9 * v + np.array([w[0] / 32, 2 * w[1]])
        w = w - rate * v
    there = np.array(losses) <= RAVINE.target
    passing = there.argmax()
    arrived = next(k for k in range(len(there)) if there[k : k + 10].all())
    assert passing < arrived  # it overshoots: flying through is not counted
    out = shown("--surface", "ravine", "--only", "momentum")
    assert re.search(rf"^momentum +{arrived} ", out, re.MULTILINE)
    np.testing.assert_allclose(
        follow_path(gx.sgd(rate, momentum=0.9), RAVINE, 60).losses, losses[:61], rtol=1e-3, atol=1e-6
    )


def test_the_steps_of_gradient_descent_off_the_saddle_are_those_of_the_closed_form(shown):
    rate, (w1, w2) = COMPARED["sgd"].saddle, SADDLE.start
    losses = [(w1 * (1 - 2 * rate) ** k) ** 2 - (w2 * (1 + 2 * rate) ** k) ** 2 for k in range(101)]
    left = next(k for k, loss in enumerate(losses) if loss <= SADDLE.target)
    out = shown("--surface", "saddle", "--only", "sgd")
    _, steps, last = out.splitlines()[2].split()
    assert int(steps) == left
    assert float(last) == pytest.approx(losses[100], rel=5e-3)


def test_the_ravine_shows_what_each_optimizer_is_known_for():
    walks = {name: follow_path(tx, RAVINE, 300) for name, tx in optimizers("ravine", 300).items()}
    across = np.sign(walks["sgd"].points[:20, 1])
    np.testing.assert_array_equal(across[1:], -across[:-1])  # the zigzag
    assert walks["momentum"].points[:, 0].max() > 0.3  # past the minimum
    assert np.abs(walks["nesterov"].points[5:, 1]).max() < 0.5 * np.abs(walks["momentum"].points[5:, 1]).max()
    lengths = np.linalg.norm(np.diff(walks["adagrad"].points, axis=0), axis=1)
    assert (np.diff(lengths[:40]) < 0).all()  # its steps shrink
    arrivals = [walks[name].arrival or 0 for name in ("nesterov", "momentum", "sgd")]
    assert arrivals == sorted(arrivals)
    assert len(set(arrivals)) == 3


def test_every_optimizer_leaves_the_saddle_and_all_but_one_reach_the_minima():
    missed = {
        (name, optimizer)
        for name, surface in SURFACES.items()
        for optimizer, tx in optimizers(name, surface.steps).items()
        if follow_path(tx, surface, surface.steps).arrival is None
    }
    assert missed == {("rosenbrock", "sign_sgd")}  # whose step never gets shorter than the valley is wide


def test_a_path_compiles_once_for_all_learning_rates():
    compiled: Any = points_and_losses
    compiled.clear_cache()
    paths = [follow_path(gx.adam(rate), RAVINE, 5) for rate in (0.01, 0.1)]
    assert compiled._cache_size() == 1
    assert not np.array_equal(paths[0].points, paths[1].points)


def test_a_path_starts_at_the_start_and_is_always_the_same():
    first, again = (follow_path(gx.adam(0.1), RAVINE, 7) for _ in range(2))
    np.testing.assert_array_equal(first.points[0], RAVINE.start)
    assert first.points.shape == (8, 2)
    np.testing.assert_array_equal(first.points, again.points)


def test_arriving_takes_ten_steps_that_may_lie_behind_the_last():
    full = follow_path(gx.sgd(0.9), RAVINE, 300)
    assert full.arrival is not None
    assert follow_path(gx.sgd(0.9), RAVINE, full.arrival).arrival == full.arrival
    assert follow_path(gx.sgd(0.9), RAVINE, full.arrival - 1).arrival is None


@pytest.mark.parametrize("name", SURFACES)
@pytest.mark.parametrize("tx", ["sgd(1e30)", "sgd(0.0)", "sgd(3.0)", "chain()"])
def test_an_optimizer_that_does_not_arrive_is_shown_too(shown, name, tx):
    out = shown("--surface", name, "--steps", "30", "--optimizer", tx)
    assert re.search(r"^custom 1 +(none|\d+) +\S+$", out, re.MULTILINE)
    if tx in ("sgd(0.0)", "sgd(1e30)"):
        assert re.search(r"^custom 1 +none ", out, re.MULTILINE)


def test_a_schedule_slows_the_path_down(shown, tmp_path):
    out = shown("--surface", "ravine", "--schedule", "constant(0.5)", "--only", "sgd")
    halved = follow_path(gx.sgd(COMPARED["sgd"].ravine / 2), RAVINE, 300)
    assert re.search(rf"^sgd +{halved.arrival} +{halved.losses[-1]:.2e}$", out, re.MULTILINE)
    assert (tmp_path / "new" / "out" / "ravine.png").exists()
