"""Rates that decay layer by layer: their forms, as values, swept, and what is refused."""

import pickle
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx
from tests.refusals import refused

untyped: Any = gx
PARAMS: dict[str, Any] = {
    "embed": jnp.ones((5, 2)),
    "blocks": [{"w": jnp.ones((2, 2)), "b": jnp.ones(2)} for _ in range(3)],
    "head": jnp.ones((2, 3)),
}


def equal(one, other):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), one, other)


def by_search(path, array):
    if layer := re.search(r"blocks/(\d+)", path):
        return 3 - int(layer[1])
    return 0 if path == "head" else 4


PATTERNS = {"head": 0, r"blocks/(\d+)/": 3, "": 4}


@pytest.mark.parametrize("depth", [by_search, PATTERNS, tuple(PATTERNS.items())], ids=["function", "dict", "pairs"])
def test_rates_decay_from_the_output(depth):
    tx = gx.chain(gx.sgd(1.0), gx.layerwise(0.8, depth))
    updates, _ = tx.update(PARAMS, tx.init(PARAMS), PARAMS)
    found = {"embed": 0.8**4, "blocks": [dict.fromkeys("wb", 0.8**n) for n in (3, 2, 1)], "head": 1.0}
    equal(updates, jax.tree.map(lambda c, x: -c * x, found, PARAMS))


def test_layers_as_a_value():
    tx = gx.layerwise(0.8, PATTERNS)
    assert repr(tx) == r"layerwise(decay=0.8, depth=(('head', 0), ('blocks/(\\d+)/', 3), ('', 4)))"
    assert gx.from_config(gx.to_config(tx)) == tx
    assert pickle.loads(pickle.dumps(gx.layerwise(0.5, by_search))) == gx.layerwise(0.5, by_search)
    shown = str(gx.explain(gx.chain(gx.adam(1e-3), tx), PARAMS))
    assert re.search(r"blocks/0/w +\(2, 2\) +times 0.8 \*\* 3\n", shown)
    assert re.search(r"head +\(2, 3\) +times 0.8 \*\* 0$", shown)


def test_a_sweep_over_the_decay_and_its_schedule():
    tx = jax.vmap(lambda decay: gx.layerwise(decay, PATTERNS))(jnp.array([0.5, 0.0]))
    updates = jax.vmap(lambda tx: tx.update(PARAMS, tx.init(PARAMS))[0])(tx)
    np.testing.assert_allclose(updates["embed"][:, 0, 0], [0.5**4, 0.0])
    np.testing.assert_allclose(updates["head"][:, 0, 0], [1.0, 1.0])
    slope = jax.grad(lambda c: jnp.sum(gx.layerwise(c, PATTERNS).update(PARAMS, optax.EmptyState())[0]["embed"]))
    assert (slope(0.5), slope(0.0)) == (10 * 4 * 0.5**3, 0.0)
    moving = gx.layerwise(gx.linear(0.5, 1.0, 2), PATTERNS)
    _, state = moving.update(PARAMS, moving.init(PARAMS))
    np.testing.assert_allclose(moving.update(PARAMS, state)[0]["embed"], 0.75**4)


def test_frozen_layers_are_not_lost():
    tree = {**PARAMS, "head": None}
    tx = gx.layerwise(0.5, PATTERNS)
    assert tx.update(tree, tx.init(tree))[0]["head"] is None


DEPTHS = {
    "layerwise: depth: no expression finds embed, head; add one, or '' for all others": {"blocks": 1},
    "layerwise: depth: 'tail' finds no array of blocks/0/b, blocks/0/w, blocks/1/b": {"tail": 1, "": 2},
    "layerwise: depth must be a whole number, at least 0, of layers behind; for blocks/2/b it is -1": {
        r"blocks/(\d+)": 1, "": 2,
    },
    "layerwise: depth: '(b)locks' captures 'b' of blocks/0/b, which is no number": {"(b)locks": 1, "": 2},
    "layerwise: depth must be a whole number, at least 0, of layers behind; for blocks/0/b it is float": (
        lambda p, x: 1.5
    ),
    "layerwise: depth must be a whole number, at least 0, of layers behind; for blocks/0/b it is NoneType": (
        lambda p, x: None
    ),
}  # fmt: skip


@pytest.mark.parametrize("message", DEPTHS)
def test_depths_that_do_not_fit(message):
    with refused(ValueError, message):
        untyped.layerwise(0.5, DEPTHS[message]).init(PARAMS)


def test_a_depth_does_not_depend_on_elements():
    tx = gx.layerwise(0.5, lambda path, x: int(x.sum()))
    with refused(
        ValueError, "layerwise: depth must be a whole number, at least 0, of layers behind; for blocks/0/b it"
    ):
        jax.jit(tx.init)(PARAMS)


REFUSED = {
    "layerwise: decay must be in [0, 1], got 8": (8.0, {"": 1}),
    "layerwise: depth must be a function of a path and an array, or a dict of patterns, got int 3": (0.8, 3),
    "layerwise: depth must be a function of a path and an array, or a dict of patterns, got <lambda>(path)": (
        0.8, lambda path: 1,
    ),
    "layerwise: depth must have a whole number, at least 0, for each regular expression, got {'a': -1}": (
        0.8, {"a": -1},
    ),
    "layerwise: depth must have a whole number, at least 0, for each regular expression, got ('a', 1)": (0.8, ("a", 1)),
    "layerwise: depth must have regular expressions, got '('": (0.8, {"(": 1}),
    "layerwise: depth has '(a)(b)', in which 2 groups capture; write (?:…)": (0.8, {"(a)(b)": 1}),
}  # fmt: skip


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_no_depth(message):
    with refused((TypeError, ValueError), message):
        untyped.layerwise(*REFUSED[message])
