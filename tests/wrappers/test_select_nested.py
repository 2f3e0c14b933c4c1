"""Masks, groups and frozen parts among other parts: behind them, inside of them, with losses, integers, halves."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx

PARAMS = {
    "encoder": {"kernel": jnp.ones((3, 4)), "bias": jnp.ones(4)},
    "head": {"kernel": 2.0 * jnp.ones((4, 2)), "bias": jnp.ones(2)},
    "frozen": None,
}


def test_what_is_frozen_stays_whatever_stands_behind():
    tree = PARAMS
    everywhere = gx.chain(
        gx.freeze(gx.by_path("^head")), gx.adamw(0.1, weight_decay=0.5), optax.add_decayed_weights(0.1)
    )
    updates, _ = everywhere.update(tree, everywhere.init(tree), tree)
    np.testing.assert_array_equal(updates["head"]["kernel"], 0.0)
    assert float(updates["encoder"]["bias"][0]) != 0.0
    either = gx.switch(gx.chain(gx.freeze(gx.by_path("head")), gx.sgd(0.1)), gx.sgd(0.2), choice=1)
    updates, _ = either.update(tree, either.init(tree), tree)
    np.testing.assert_allclose(updates["head"]["kernel"], -0.4, rtol=1e-6)


def test_masked_refuses_an_optimizer():
    """Where it does not act, raw gradients would be added to the parameters."""
    for tx in (gx.adam(0.1), gx.chain(gx.identity(), gx.only(gx.sgd(0.1), gx.by_path("a")))):
        with pytest.raises(ValueError, match=r"masked: tx must be a block: .* ends with the learning rate") as caught:
            gx.masked(tx, gx.by_path("head"))
        assert "use only(tx, where), or partition" in str(caught.value)


@pytest.mark.parametrize("gradient", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("jit", [False, True])
def test_selectors_are_asked_about_the_parameters(gradient, jit):
    tree = {"half": jnp.ones(2, jnp.bfloat16), "full": jnp.ones(2), "table": jnp.ones((2, 2), jnp.int32)}
    half, floats = gx.by(lambda path, x: x.dtype == jnp.bfloat16), gx.by(lambda path, x: x.dtype != jnp.int32)
    g = {name: jnp.ones_like(x, gradient) for name, x in tree.items()} | {"table": jnp.ones((2, 2), jnp.int32)}
    rate = {"half": 0.5, "full": 1.0}
    for tx in (
        gx.only(gx.partition((half, gx.sgd(0.5)), default=gx.sgd(1.0)), floats),
        gx.only(gx.chain(gx.masked(gx.scale(0.5), half), gx.sgd(1.0)), ~gx.by_path("table") & floats),
    ):
        update = jax.jit(tx.update) if jit else tx.update
        updates, _ = update(g, tx.init(tree), tree)
        assert updates["table"] is None
        assert {name: float(-updates[name][0]) for name in rate} == rate
    frozen = gx.chain(gx.only(gx.sgd(1.0), floats), gx.freeze(half))
    updates, _ = frozen.update(g, frozen.init(tree), tree)
    assert (float(updates["half"][0]), float(updates["full"][0])) == (0.0, -1.0)


def test_extra_arguments_reach_parts_in_groups():
    tree, plateau = PARAMS, gx.chain(gx.sgd(0.1), gx.reduce_on_plateau(0.5, patience=1))
    head = gx.by_path("^head")

    @gx.transformation
    def grouped(rate: gx.NonNegative):
        return gx.partition((head, gx.chain(gx.sgd(rate), plateau.parts[1])), default=gx.sgd(rate))

    several = gx.partition((head, plateau), default=gx.sgd(0.1))
    for tx in (gx.only(plateau, head), several, grouped(0.1), grouped(gx.constant(0.1))):
        state = tx.init(tree)
        for loss in (1.0, 2.0):
            updates, state = tx.update(tree, state, tree, value=loss)
        np.testing.assert_allclose(updates["head"]["bias"], -0.05, rtol=1e-6)


def test_a_line_search_in_a_group_sees_the_whole_loss():
    tree = {"a": jnp.array([1.0, 2.0]), "b": jnp.array([3.0])}
    tx = gx.only(gx.lbfgs(), gx.by_path("a"))

    def loss(tree):
        return jnp.sum((tree["a"] - tree["b"]) ** 2) + jnp.sum(tree["b"] ** 2)

    @jax.jit
    def step(tree, state):
        value, g = jax.value_and_grad(loss)(tree)
        updates, state = tx.update(g, state, tree, value=value, grad=g, value_fn=loss)
        return gx.apply_updates(tree, updates), state

    state = tx.init(tree)
    for _ in range(10):
        tree, state = step(tree, state)
    np.testing.assert_allclose(tree["a"], 3.0, rtol=1e-5)
    assert float(tree["b"][0]) == 3.0


def test_integers_inside_of_branches():
    tree = {"w": jnp.ones(2), "n": jnp.array(3)}
    rule = gx.by_path("w")
    tx = gx.parallel(gx.only(gx.sgd(0.1), rule), gx.only(gx.sgd(0.2), rule), join=lambda a, b: a + b)
    updates, _ = tx.update({"w": jnp.ones(2), "n": jnp.array(0)}, tx.init(tree), tree)
    assert updates["n"] is None
    np.testing.assert_allclose(updates["w"], -0.3, rtol=1e-6)


def test_a_composition_around_a_selector_takes_integers():
    @gx.composition
    def tuned(rate: gx.NonNegative):
        return gx.only(gx.sgd(rate), gx.by_path("w"))

    @gx.transformation
    def scheduled(rate: gx.NonNegative):
        return gx.only(gx.sgd(rate), gx.by_path("w"))

    tree = {"w": jnp.ones(2), "n": jnp.array(3)}
    for tx in (tuned(0.1), scheduled(0.1), scheduled(gx.constant(0.1))):
        updates, _ = tx.update({"w": jnp.ones(2), "n": jnp.array(0)}, tx.init(tree), tree)
        np.testing.assert_allclose(updates["w"], -0.1, rtol=1e-6)
