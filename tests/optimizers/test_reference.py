"""Every block and optimizer against its formula in NumPy, 60 steps in float64."""

import jax
import numpy as np
import pytest

import gradtx as gx
from gradtx.values.value import text_of
from tests.reference import blocks, schedules

pytestmark = pytest.mark.slow  # formulas do not turn on versions

STEPS = 60
SHAPES = {"matrix": (2, 3), "vector": (5,), "number": ()}


def sequence(seed):
    """One random tree per step; a tenth of the elements, and every seventh step from the first on, are zero."""
    random = np.random.default_rng(seed)
    tree = {name: random.normal(size=(STEPS, *shape)) for name, shape in SHAPES.items()}
    tree = {name: x * (random.uniform(size=x.shape) > 0.1) for name, x in tree.items()}
    for x in tree.values():
        x[::7] = 0.0
    return tree


GRADS, WEIGHTS = sequence(1), sequence(2)


def at(tree, t):
    return {name: x[t] for name, x in tree.items()}


START = at(WEIGHTS, 1)


def assert_equal(ours, theirs):
    for name in SHAPES:
        expected = np.stack(list(theirs(name)))
        assert np.ptp(expected) > 0.01, "nothing happens here"
        rounding = 1e-15 * np.abs(expected).max()  # a sum that passes close to zero keeps the rounding of its terms
        np.testing.assert_allclose(ours[name], expected, rtol=1e-12, atol=rounding, err_msg=name)


# In jit the numbers are constants; outside, the update is one compiled call with the numbers as its arguments.
both_ways = pytest.mark.parametrize("way", [jax.jit, lambda update: update], ids=["jit", "eager"])


def stacked(trees):
    return jax.tree.map(lambda *steps: np.stack(steps), *trees)


def outputs(tx, way):
    """What a block puts out at each step."""
    update, state = way(tx.update), tx.init(START)
    out = []
    for t in range(STEPS):
        updates, state = update(at(GRADS, t), state, at(WEIGHTS, t))
        out.append(updates)
    return stacked(out)


def parameters(tx, way):
    """The parameters after each step of an optimizer."""
    update, params, state = way(tx.update), START, tx.init(START)
    out = []
    for t in range(STEPS):
        updates, state = update(at(GRADS, t), state, params)
        params = gx.apply_updates(params, updates)
        out.append(params)
    return stacked(out)


BLOCKS = [
    (gx.scale(-0.3), lambda g, w: (-0.3 * x for x in g)),
    (gx.scale_by_learning_rate(0.3), lambda g, w: (-0.3 * x for x in g)),
    (gx.scale_by_momentum(), lambda g, w: blocks.momentum(g, 0.9)),
    (gx.scale_by_momentum(0.5, nesterov=True), lambda g, w: blocks.momentum(g, 0.5, nesterov=True)),
    (gx.scale_by_momentum(0.9, dampening=0.3), lambda g, w: blocks.momentum(g, 0.9, dampening=0.3)),
    (gx.scale_by_momentum(0.9, nesterov=True, dampening=0.3), lambda g, w: blocks.momentum(g, 0.9, True, 0.3)),
    (gx.scale_by_momentum(1.0), lambda g, w: blocks.momentum(g, 1.0)),
    (gx.ema(0.98), lambda g, w: blocks.ema(g, 0.98)),
    (gx.bias_correction(0.98), lambda g, w: blocks.bias_correction(g, 0.98)),
    (gx.bias_correction(0.0), lambda g, w: blocks.bias_correction(g, 0.0)),
    (
        gx.chain(gx.ema(0.9), gx.bias_correction(0.9)),
        lambda g, w: blocks.bias_correction(blocks.ema(g, 0.9), 0.9),
    ),
    (gx.scale_by_rms(), lambda g, w: blocks.rms(g, 0.9)),
    (gx.scale_by_rms(0.99, 1e-3), lambda g, w: blocks.rms(g, 0.99, 1e-3)),
    (gx.scale_by_rms(eps=0.0, eps_root=1e-8), lambda g, w: blocks.rms(g, 0.9, 0.0, 1e-8)),
    (gx.scale_by_rms(centered=True), lambda g, w: blocks.rms(g, 0.9, centered=True)),
    (gx.scale_by_rms(debias=True), lambda g, w: blocks.rms(g, 0.9, debias=True)),
    (gx.scale_by_rms(initial=0.1), lambda g, w: blocks.rms(g, 0.9, initial=0.1)),
    # With both, the first variance is g² - g²: only a larger number under the root makes it more than rounding.
    (
        gx.scale_by_rms(centered=True, debias=True, eps_root=0.01),
        lambda g, w: blocks.rms(g, 0.9, eps_root=0.01, centered=True, debias=True),
    ),
    (gx.scale_by_adam(), lambda g, w: blocks.adam(g)),
    (gx.scale_by_adam(0.0, 0.0, 1e-3), lambda g, w: blocks.adam(g, 0.0, 0.0, 1e-3)),
    (gx.scale_by_adam(0.8, 0.9, 1e-3), lambda g, w: blocks.adam(g, 0.8, 0.9, 1e-3)),
    (gx.scale_by_adam(eps_root=1e-4), lambda g, w: blocks.adam(g, eps_root=1e-4)),
    (gx.scale_by_adam(nesterov=True), lambda g, w: blocks.adam(g, nesterov=True)),
    (gx.scale_by_rss(), lambda g, w: blocks.rss(g)),
    (gx.scale_by_rss(1e-3, eps_root=1e-2, initial=0.1), lambda g, w: blocks.rss(g, 1e-3, 1e-2, 0.1)),
    (gx.scale_by_adadelta(eps=1e-3), lambda g, w: blocks.adadelta(g, eps=1e-3)),
    (gx.scale_by_adadelta(0.5, 1e-3), lambda g, w: blocks.adadelta(g, 0.5, 1e-3)),
    (gx.scale_by_nadam(), lambda g, w: blocks.adam(g, nesterov=True)),
    (gx.scale_by_nadam(momentum_decay=4e-3), lambda g, w: blocks.nadam(g, momentum_decay=4e-3)),
    (
        gx.scale_by_nadam(0.8, 0.9, 1e-3, eps_root=1e-2, momentum_decay=1.0),
        lambda g, w: blocks.nadam(g, 0.8, 0.9, 1e-3, 1e-2, 1.0),
    ),
    (gx.scale_by_adamax(), lambda g, w: blocks.adamax(g)),
    (gx.scale_by_adamax(0.8, 0.9, 1e-2, eps_max=1e-3), lambda g, w: blocks.adamax(g, 0.8, 0.9, 1e-2, 1e-3)),
    (gx.scale_by_amsgrad(0.8, 0.9), lambda g, w: blocks.amsgrad(g, 0.8, 0.9)),
    (
        gx.scale_by_amsgrad(0.8, 0.9, 1e-3, eps_root=1e-2, debias_first=True),
        lambda g, w: blocks.amsgrad(g, 0.8, 0.9, 1e-3, 1e-2, debias_first=True),
    ),
    (gx.scale_by_amsgrad(0.8, 0.9, debias=False), lambda g, w: blocks.amsgrad(g, 0.8, 0.9, debias=False)),
    (gx.scale_by_sign(), lambda g, w: (np.sign(x) for x in g)),
    (gx.scale_by_lion(), lambda g, w: blocks.lion(g)),
    (gx.scale_by_lion(0.5, 0.8), lambda g, w: blocks.lion(g, 0.5, 0.8)),
    (gx.add_sign_decay(0.1), lambda g, w: blocks.add_sign_decay(g, w, 0.1)),
    (gx.soft_threshold(0.5), lambda g, w: blocks.soft_threshold(g, w, 0.5)),
    (gx.soft_threshold(2.0, 0.1), lambda g, w: blocks.soft_threshold(g, w, 0.2)),
    (gx.constrain_norm(1.0), lambda g, w: blocks.constrain_norm(g, w, 1.0)),
    (gx.clip_by_value(0.5), lambda g, w: blocks.clip_by_value(g, 0.5)),
    (gx.clip_by_norm(1.0), lambda g, w: blocks.clip_by_norm(g, 1.0)),
    (gx.add_decayed_weights(0.1), lambda g, w: blocks.add_decayed_weights(g, w, 0.1)),
]


@both_ways
@pytest.mark.parametrize(("tx", "formula"), BLOCKS, ids=[text_of(tx) for tx, _ in BLOCKS])
def test_a_block(tx, formula, way):
    assert_equal(outputs(tx, way), lambda name: formula(GRADS[name], WEIGHTS[name]))


@both_ways
def test_clip_by_global_norm(way):
    whole = np.concatenate([x.reshape(STEPS, -1) for x in GRADS.values()], axis=1)
    sizes = [int(np.prod(shape)) for shape in SHAPES.values()]
    limit = float(np.median(np.linalg.norm(whole, axis=1)))  # half of the steps are beyond it
    clipped = np.split(np.stack(list(blocks.clip_by_norm(whole, limit))), np.cumsum(sizes)[:-1], axis=1)
    theirs = {name: x.reshape(STEPS, *SHAPES[name]) for name, x in zip(SHAPES, clipped, strict=True)}
    assert_equal(outputs(gx.clip_by_global_norm(limit), way), lambda name: theirs[name])


FALLING = gx.warmup(0.1, 5).then(gx.cosine(0.1, 40), at=5)
RATES = [schedules.then(schedules.warmup(0.1, 5), schedules.cosine(0.1, 40), 5)(t) for t in range(STEPS)]

OPTIMIZERS = [
    (gx.sgd(0.1), lambda w, g: blocks.descent(w, g, 0.1)),
    (gx.sgd(0.1, 0.9), lambda w, g: blocks.descent(w, blocks.momentum(g, 0.9), 0.1)),
    (gx.sgd(0.1, 0.9, nesterov=True), lambda w, g: blocks.descent(w, blocks.momentum(g, 0.9, True), 0.1)),
    (
        gx.sgd(0.1, 0.9, dampening=0.5),
        lambda w, g: blocks.descent(w, blocks.momentum(g, 0.9, dampening=0.5), 0.1),
    ),
    (gx.sgd(FALLING, 0.9), lambda w, g: blocks.descent(w, blocks.momentum(g, 0.9), RATES)),
    (gx.rmsprop(0.01), lambda w, g: blocks.descent(w, blocks.rms(g, 0.9), 0.01)),
    (
        gx.rmsprop(0.01, 0.99, eps=0.0, eps_root=1e-8),
        lambda w, g: blocks.descent(w, blocks.rms(g, 0.99, 0.0, 1e-8), 0.01),
    ),
    (gx.rmsprop(0.01, centered=True), lambda w, g: blocks.descent(w, blocks.rms(g, 0.9, centered=True), 0.01)),
    (gx.rmsprop(0.01, debias=True), lambda w, g: blocks.descent(w, blocks.rms(g, 0.9, debias=True), 0.01)),
    (gx.rmsprop(0.01, initial=1.0), lambda w, g: blocks.descent(w, blocks.rms(g, 0.9, initial=1.0), 0.01)),
    (
        gx.rmsprop(0.01, momentum=0.8),
        lambda w, g: blocks.descent(w, blocks.momentum(blocks.rms(g, 0.9), 0.8), 0.01),
    ),
    (
        gx.rmsprop(FALLING, momentum=0.8),
        lambda w, g: blocks.descent(w, blocks.momentum(blocks.rms(g, 0.9), 0.8), RATES),
    ),
    (
        gx.rmsprop(0.01, momentum=0.8, nesterov=True),
        lambda w, g: blocks.descent(w, blocks.momentum(blocks.rms(g, 0.9), 0.8, True), 0.01),
    ),
    (gx.adam(0.01), lambda w, g: blocks.descent(w, blocks.adam(g), 0.01)),
    (
        gx.adam(0.01, 0.8, 0.99, 1e-6, eps_root=1e-6),
        lambda w, g: blocks.descent(w, blocks.adam(g, 0.8, 0.99, 1e-6, 1e-6), 0.01),
    ),
    (gx.nadam(0.01), lambda w, g: blocks.descent(w, blocks.adam(g, nesterov=True), 0.01)),
    (gx.nadam(0.01, momentum_decay=4e-3), lambda w, g: blocks.descent(w, blocks.nadam(g, momentum_decay=4e-3), 0.01)),
    (
        gx.nadamw(0.01, weight_decay=0.1, momentum_decay=4e-3),
        lambda w, g: blocks.descent(w, blocks.nadam(g, momentum_decay=4e-3), 0.01, 0.1),
    ),
    (gx.nadamw(0.01), lambda w, g: blocks.descent(w, blocks.adam(g, nesterov=True), 0.01, 1e-4)),
    (gx.adagrad(0.1), lambda w, g: blocks.descent(w, blocks.rss(g), 0.1)),
    (
        gx.adagrad(0.1, eps=0.0, eps_root=1e-7, initial=0.1),
        lambda w, g: blocks.descent(w, blocks.rss(g, 0.0, 1e-7, 0.1), 0.1),
    ),
    (gx.adadelta(eps=1e-3), lambda w, g: blocks.descent(w, blocks.adadelta(g, eps=1e-3), 1.0)),
    (gx.adadelta(0.5, 0.95, 1e-4), lambda w, g: blocks.descent(w, blocks.adadelta(g, 0.95, 1e-4), 0.5)),
    (gx.adamax(0.01), lambda w, g: blocks.descent(w, blocks.adamax(g), 0.01)),
    (
        gx.adamax(0.01, 0.8, 0.9, 0.0, eps_max=1e-3),
        lambda w, g: blocks.descent(w, blocks.adamax(g, 0.8, 0.9, 0.0, 1e-3), 0.01),
    ),
    (gx.amsgrad(0.01), lambda w, g: blocks.descent(w, blocks.amsgrad(g), 0.01)),
    (
        gx.amsgrad(0.01, 0.8, 0.9, 1e-3, eps_root=1e-2, debias_first=True),
        lambda w, g: blocks.descent(w, blocks.amsgrad(g, 0.8, 0.9, 1e-3, 1e-2, debias_first=True), 0.01),
    ),
    (
        gx.amsgrad(0.01, debias=False),
        lambda w, g: blocks.descent(w, blocks.amsgrad(g, debias=False), 0.01),
    ),
    (gx.sign_sgd(0.01), lambda w, g: blocks.descent(w, (np.sign(x) for x in g), 0.01)),
    (gx.lion(0.01), lambda w, g: blocks.descent(w, blocks.lion(g), 0.01, 1e-3)),
    (gx.lion(FALLING, 0.8, 0.9, 0.1), lambda w, g: blocks.descent(w, blocks.lion(g, 0.8, 0.9), RATES, 0.1)),
    (gx.adamw(0.01), lambda w, g: blocks.descent(w, blocks.adam(g), 0.01, 1e-4)),
    (
        gx.nadamw(0.01, weight_decay=0.1),
        lambda w, g: blocks.descent(w, blocks.adam(g, nesterov=True), 0.01, 0.1),
    ),
]


@both_ways
@pytest.mark.parametrize(("tx", "formula"), OPTIMIZERS, ids=[text_of(tx) for tx, _ in OPTIMIZERS])
def test_an_optimizer(tx, formula, way):
    assert_equal(parameters(tx, way), lambda name: formula(START[name], GRADS[name]))
