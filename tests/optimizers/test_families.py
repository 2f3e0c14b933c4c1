"""What tells one family of optimizers from another, and the table of it in the reference."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx as gx
from tests.optimizers.test_golden import outputs

pytestmark = pytest.mark.slow

FAMILIES = {
    "sgd": gx.sgd(1.0),
    "sgd, momentum": gx.sgd(1.0, momentum=0.9),
    "adagrad": gx.adagrad(1.0),
    "rmsprop": gx.rmsprop(1.0),
    "adadelta": gx.adadelta(1.0),
    "adam, adamw": gx.adam(1.0),
    "nadam, nadamw": gx.nadam(1.0),
    "adamax, adamaxw": gx.adamax(1.0),
    "amsgrad": gx.amsgrad(1.0),
    "radam, yogi, adabelief, laprop, stable_adamw": gx.radam(1.0),
    "adan": gx.adan(1.0),
    "lion, signum, tiger": gx.lion(1.0, weight_decay=0.0),
    "sign_sgd": gx.sign_sgd(1.0),
    "lamb": gx.lamb(1.0),
    "lars": gx.lars(1.0),
    "fromage": gx.fromage(1.0),
    "ademamix": gx.ademamix(1.0),
    "adopt": gx.adopt(1.0, b2=0.99),
    "ano": gx.ano(1.0),
}


def after(tx, grads):
    """The updates for a sequence of gradients, and the arrays of the state behind them, without counts and rates."""

    def step(state, g):
        return tx.update(g, state, start)[::-1]

    start = jnp.zeros(1)
    state, updates = jax.lax.scan(step, tx.init(start), jnp.reshape(jnp.asarray(grads, float), (-1, 1)))
    return np.ravel(updates), np.ravel([x for x in jax.tree.leaves(state) if x.ndim])


def properties(tx):
    """Whether it keeps a velocity and magnitudes, whether these forget, and whether their start is corrected."""
    long = 20_000
    updates, memory = after(tx, np.ones(long))
    _, opposite = after(tx, -np.ones(long))
    velocity, magnitudes = bool(np.any(memory == -opposite)), bool(np.any(memory == opposite))
    shaken, remembered = after(tx, np.where(np.arange(long) == 0, 100.0, 1.0))
    forgets = bool(np.allclose(remembered, memory, rtol=0.05))  # AdaDelta's squares of steps grow back slowly
    corrects = bool(0.5 < updates[0] / updates[-1] < 2.0)
    keeps, sized = velocity or magnitudes, bool(np.ptp(shaken) > 0)  # what has one size of step has nothing to correct
    return velocity, magnitudes, keeps and forgets, keeps and sized and corrects


def page():
    text = (Path(__file__).parents[2] / "docs/reference/optimizers.md").read_text()
    rows = re.findall(r"^\| (.+?) \| (yes|) ?\| (yes|) ?\| (yes|) ?\| (yes|) ?\| (\d+) \|$", text, re.MULTILINE)
    return {name.replace("`", ""): ([mark == "yes" for mark in marks[:4]], int(marks[4])) for name, *marks in rows}


def test_the_page_of_optimizers_has_every_family():
    assert list(page()) == list(FAMILIES)


@pytest.mark.parametrize("name", FAMILIES)
def test_what_a_family_keeps_forgets_and_corrects_is_what_the_page_says(name):
    tx = FAMILIES[name]
    marks, size = page()[name]
    assert list(properties(tx)) == marks
    arrays = [x for x in jax.tree.leaves(tx.init(jnp.zeros(100, jnp.float32))) if x.ndim]
    assert sum(x.nbytes for x in arrays) == 100 * size


def test_adagrads_steps_shrink_like_one_over_the_root_of_time():
    steps = -outputs(gx.adagrad(0.1, eps=0.0), [3.0] * 100)
    np.testing.assert_allclose(steps, 0.1 / np.sqrt(np.arange(1, 101)), rtol=1e-14)


def test_adadelta_gives_the_same_path_in_other_units_of_the_gradient():
    grads = np.random.default_rng(0).normal(size=(60, 3))
    tiny = gx.adadelta(eps=1e-30)
    np.testing.assert_allclose(outputs(tiny, list(1e6 * grads)), outputs(tiny, list(grads)), rtol=1e-12)


def test_where_squares_fall_adams_steps_grow_back_and_amsgrads_do_not():
    grads = [*10.0 * np.ones(5_000), *np.ones(10_000)]
    adam, kept = (-outputs(tx, grads)[-1] for tx in (gx.adam(1.0), gx.amsgrad(1.0)))
    np.testing.assert_allclose(adam, 1.0, rtol=1e-2)
    np.testing.assert_allclose(kept, 0.1, rtol=1e-2)


def test_the_orders_of_amsgrad_differ_where_the_start_is_large():
    """Corrected at once, a first gradient of 10 holds the steps at a tenth for ever; as a raw average it fades."""
    grads = [10.0, *np.ones(10_000)]
    torch, optax, paper = (
        -outputs(tx, grads)
        for tx in (gx.amsgrad(1.0), gx.amsgrad(1.0, debias_first=True), gx.amsgrad(1.0, debias=False))
    )
    np.testing.assert_allclose(torch[-1], 1.0, rtol=1e-2)
    np.testing.assert_allclose(optax[-1], 0.1, rtol=1e-4)
    np.testing.assert_allclose(paper[0], 1.0 / np.sqrt(0.1), rtol=1e-6)  # 0.1 · 10 / √(0.001 · 100)
    np.testing.assert_allclose(torch[0], 1.0, rtol=1e-6)


def test_lion_and_sign_steps_have_one_size():
    grads = list(np.random.default_rng(0).normal(size=(60, 3)))
    for tx in (gx.sign_sgd(0.1), gx.lion(0.1, weight_decay=0.0)):
        np.testing.assert_array_equal(np.abs(outputs(tx, grads, jnp.zeros(3))), np.full((60, 3), 0.1))


def test_nadam_without_a_decay_of_the_momentum_is_adam_with_nesterov():
    grads = list(np.random.default_rng(0).normal(size=(60, 3)))
    simple = outputs(gx.scale_by_nadam(), grads)
    np.testing.assert_array_equal(simple, outputs(gx.scale_by_adam(nesterov=True), grads))
    rising = outputs(gx.scale_by_nadam(momentum_decay=4e-3), grads)
    assert np.abs(rising - simple).max() > 0.1


@pytest.mark.parametrize("build", [gx.scale_by_amsgrad, lambda **flags: gx.amsgrad(0.1, **flags)])
def test_amsgrad_refuses_a_correction_that_is_first_and_off(build):
    with pytest.raises(
        ValueError, match=r"amsgrad: debias_first needs debias, got debias=False; leave one of them out"
    ):
        build(debias=False, debias_first=True)
