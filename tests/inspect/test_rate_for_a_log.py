"""The rate for a log: what is found by its name is what the metrics say."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx


def tree():
    return {"w": jnp.full((2, 3), 2.0), "b": jnp.full(3, -1.0), "frozen": None}


FALLING = gx.linear(0.4, 0.0, 4)
RATES = {  # with the rate of the fourth update
    "a constant": (gx.adam(0.25), 0.25),
    "a schedule": (gx.chain(gx.clip_by_norm(1.0), gx.sgd(FALLING)), 0.1),
    "controlled": (gx.chain(rest=gx.sgd(gx.controlled(0.25))), 0.25),
    "windows": (gx.accumulate(gx.adamw(FALLING), 2), 0.3),
    "windows in a guard, a constant": (gx.skip_nonfinite(gx.accumulate(gx.adam(0.25), 3)), 0.25),
    "some arrays": (gx.only(gx.adam(FALLING), gx.by_path("w")), 0.1),
    "a masked block ahead": (gx.chain(gx.masked(gx.scale_by_momentum(FALLING), gx.by_path("w")), gx.sgd(FALLING)), 0.1),
    "factors behind": (gx.chain(gx.sgd(FALLING), gx.scale_by_tree(gx.linear(1.0, 0.0, 4))), 0.1),
    "in optax.chain": (optax.chain(gx.adam(FALLING)), 0.1),
}


@pytest.mark.parametrize("name", RATES)
def test_the_rate_found_is_the_rate_in_the_metrics(name):
    tx, rate = RATES[name]
    state = tx.init(tree())
    for _ in range(4):
        seen, found = gx.metrics(state)["learning_rate"], gx.find(state, "learning_rate")
        np.testing.assert_array_equal(found, seen)
        _, state = tx.update(tree(), state, tree())
    np.testing.assert_allclose(gx.find(state, "learning_rate"), rate, rtol=1e-6)
    np.testing.assert_array_equal(gx.metrics(state)["learning_rate"], gx.find(state, "learning_rate"))


def test_the_rates_of_groups_are_found_by_their_names_in_the_metrics():
    tx = gx.partition((gx.by_path("w"), gx.accumulate(gx.adam(FALLING), 2)), default=gx.sgd(FALLING))
    state = tx.init(tree())
    for _ in range(4):
        _, state = tx.update(tree(), state, tree())
    rates = {name: x for name, x in gx.metrics(state).items() if name.endswith("learning_rate")}
    assert list(rates) == ["0/inner_state/1/learning_rate", "1/learning_rate"]
    np.testing.assert_allclose(list(rates.values()), [0.3, 0.1], rtol=1e-6)
    for name, rate in rates.items():
        np.testing.assert_array_equal(gx.find(state, name), rate)
    with pytest.raises(ValueError, match="find: the state has several 'learning_rate', candidates are: 0/inner_state"):
        gx.find(state, "learning_rate")
