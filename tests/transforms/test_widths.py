"""muP's factors by shapes: the tables of the paper, the forms that base shapes have, and what is refused."""

import pickle
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx as gx
from tests.refusals import refused

pytestmark = pytest.mark.slow  # factors do not turn on versions

BASE = {"embed": (10, 8), "dense": {"kernel": (8, 8), "bias": (8,)}, "up": (8, 32), "conv": (3, 3, 8, 8), "out": (8, 5)}
WIDE = {"embed": (10, 32), "dense": {"kernel": (32, 32), "bias": (32,)}, "up": (32, 64), "conv": (3, 3, 32, 16),
        "out": (32, 5)}  # fmt: skip
NAMES = ("embed", "dense/kernel", "dense/bias", "up", "conv", "out")
IS_SHAPE = dict(is_leaf=lambda x: isinstance(x, tuple))
PARAMS = jax.tree.map(jnp.ones, WIDE, **IS_SHAPE)


def factors(tx, tree=PARAMS):
    updates, _ = tx.update(tree, tx.init(tree))
    found = {"embed": updates["embed"], "up": updates["up"], "conv": updates["conv"], "out": updates["out"]}
    found |= {f"dense/{name}": x for name, x in updates["dense"].items()}
    assert all(np.ptp(x) == 0 for x in found.values())
    return [float(np.ravel(found[name])[0]) for name in NAMES]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (dict(), [1, 1 / 4, 1, 1 / 4, 1 / 4, 1]),
        (dict(output_multiplier=False), [1, 1 / 4, 1, 1 / 4, 1 / 4, 1 / 4]),
        (dict(of_gradients=True), [4, 1, 4, 1 / 2, 1 / 2, 4]),
        (dict(of_gradients=True, output_multiplier=False), [4, 1, 4, 1 / 2, 1 / 2, 1 / 4]),
    ],
)
def test_factors_are_those_of_the_table(options, expected):
    assert factors(gx.scale_by_width(BASE, **options)) == expected


def by_function(path, x):
    flat = {"embed": BASE["embed"], "up": BASE["up"], "conv": BASE["conv"], "out": BASE["out"]}
    return (flat | {f"dense/{name}": shape for name, shape in BASE["dense"].items()})[path]


FORMS = [
    BASE,
    jax.tree.map(jnp.ones, BASE, **IS_SHAPE),
    jax.eval_shape(lambda: jax.tree.map(jnp.ones, BASE, **IS_SHAPE)),
    {name: by_function(name, None) for name in NAMES},
    tuple((name, by_function(name, None)) for name in NAMES),
    by_function,
]


@pytest.mark.parametrize("form", FORMS, ids=["shapes", "arrays", "eval_shape", "paths", "pairs", "function"])
def test_base_shapes_in_all_forms(form):
    assert factors(gx.scale_by_width(form)) == [1, 1 / 4, 1, 1 / 4, 1 / 4, 1]


def test_factors_as_powers_of_two():
    tree = {"w": jnp.ones((12, 12)), "v": jnp.ones((6, 6)), "same": jnp.ones((7, 7))}
    tx = gx.scale_by_width({"w": (4, 4), "v": (4, 4), "same": (7, 7)}, powers_of_two=True)
    updates, _ = tx.update(tree, tx.init(tree))
    assert [float(updates[name][0, 0]) for name in tree] == [1 / 4, 1 / 2, 1.0]  # of 1/3, 2/3 and 1
    exact, _ = gx.scale_by_width({"w": (4, 4), "v": (4, 4), "same": (7, 7)}).update(tree, tx.init(tree))
    np.testing.assert_allclose([float(exact[name][0, 0]) for name in tree], [1 / 3, 2 / 3, 1.0], rtol=1e-15)


def test_widths_as_a_value():
    tx = gx.scale_by_width({"w": (4, 4), "b": (4,)}, of_gradients=True)
    assert repr(tx) == "scale_by_width(base_shapes=(('b', (4,)), ('w', (4, 4))), of_gradients=True)"
    assert gx.from_config(gx.to_config(tx)) == tx == pickle.loads(pickle.dumps(tx))
    shown = str(gx.explain(tx, {"w": jnp.ones((8, 4)), "b": jnp.ones(4)}))
    assert "times 2" in shown
    assert "times 1" in shown


def test_only_the_arrays_in_sight_need_base_shapes():
    tx = gx.masked(gx.scale_by_width({"w": (4, 4)}), gx.by_path("w"))
    tree = {"w": jnp.ones((8, 8)), "b": jnp.ones(8), "off": None}
    updates, _ = tx.update(tree, tx.init(tree))
    assert (float(updates["w"][0, 0]), float(updates["b"][0]), updates["off"]) == (0.5, 1.0, None)


def test_the_decay_behind_it_is_left_alone():
    """η·λ·w whatever the width; the step of Adam is η/k."""
    w = {"w": jnp.full((8, 8), 2.0)}
    rate = gx.scale_by_learning_rate(0.1)
    tx = gx.chain(gx.scale_by_adam(), gx.scale_by_width({"w": (4, 4)}), gx.add_decayed_weights(0.1), rate)
    updates, _ = tx.update(jax.tree.map(jnp.ones_like, w), tx.init(w), w)
    np.testing.assert_allclose(updates["w"], -0.1 * (0.5 + 0.2), rtol=1e-6)


@pytest.mark.parametrize(
    ("base", "error", "message"),
    [
        ({"w": 3.5}, TypeError,
         "scale_by_width: base_shapes must be a tree of arrays or of shapes, tuples of whole numbers, got 3.5 at w"),
        ({}, ValueError, "scale_by_width: base_shapes has no shape in it, got {}"),
        ((lambda path: (4, 4)), TypeError, "scale_by_width: base_shapes must be a function of a path and an array"),
        ({"v": (4, 4)}, ValueError, "the tree of base shapes has nothing for w; it has v"),
        ({"w": (4, 4), "v": (4,)}, ValueError, "the tree of base shapes has v, at which there is no array"),
        ((("", (4, 4)),), ValueError, "scale_by_width: there is no base shape of w"),
        ({"w": (4,)}, ValueError,
         "scale_by_width: w is of shape (8, 8), its base shape is (4,): they have other numbers of axes"),
        ({"w": (0, 8)}, ValueError,
         "scale_by_width: w is of shape (8, 8), its base shape is (0, 8): a size of 0 does not grow"),
        ((lambda path, x: 3), ValueError, "base_shapes must return a tuple of whole numbers, got int for w"),
    ],
)  # fmt: skip
def test_what_is_refused(base, error, message):
    with refused(error, message):
        gx.scale_by_width(base).init({"w": jnp.ones((8, 8))})


def test_axes_that_are_no_widths_are_refused():
    message = "w is of shape (12, 8, 8), its base shape is (4, 8, 8): another axis than the last two grows; give its"
    with refused(ValueError, message):
        gx.scale_by_width({"w": (4, 8, 8)}).init({"w": jnp.ones((12, 8, 8))})


def test_rates_by_depth_are_those_of_fine_tuning():
    """η·d^(L - l) with the embeddings at l = 0 and the head at l = L: `layerwise` counts L - l."""
    blocks, decay, rate = 4, 0.8, 0.1
    last = blocks + 1
    params = {"embed": jnp.ones(2), "blocks": [jnp.ones(2) for _ in range(blocks)], "head": jnp.ones(2)}
    tx = gx.chain(gx.sgd(rate), gx.layerwise(decay, {"head": 0, r"blocks/(\d+)": last - 1, "embed": last}))
    updates, _ = tx.update(params, tx.init(params))
    places = [updates["embed"], *updates["blocks"], updates["head"]]
    for place, u in enumerate(places):
        np.testing.assert_allclose(u, -rate * decay ** (last - place), rtol=1e-12)


def test_the_functions_of_a_model_have_no_width():
    model: Any = {"w": jnp.ones((4, 6)), "activation": jax.nn.relu}
    tx = gx.scale_by_width(lambda path, x: (2, 3))
    assert gx.to_flat(tx, tx.init(model), model).keys() == gx.to_flat(tx, tx.init(model["w"])).keys()
