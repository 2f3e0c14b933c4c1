"""Hyperparameters of parts that stand twice, are made anew, or are hidden in a wrapper of the user's."""

from collections import namedtuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx
from tests.inspect.test_hyperparameters import steps


def test_a_part_that_stands_twice_or_was_made_anew_is_set_wherever_it_is():
    @gx.composition
    def twice(tx: optax.GradientTransformation):
        return gx.chain(tx, gx.scale(0.5), tx)

    @gx.composition
    def softened(tx: optax.GradientTransformation):
        return gx.chain(gx.clip_by_norm(1.0), tx.replace(momentum=0.5))  # pyright: ignore[reportAttributeAccessIssue]

    for make, part in ((twice, gx.sgd(gx.controlled(0.1))), (softened, gx.sgd(gx.controlled(0.1), momentum=0.9))):
        tx, plain = make(part), make(part.replace(learning_rate=0.5))
        state = gx.set_hyperparameters(tx, tx.init(jnp.ones(1)), learning_rate=0.5)
        assert float(gx.hyperparameters(tx, state)["tx.learning_rate"]) == 0.5
        expected, _ = plain.update(jnp.ones(1), plain.init(jnp.ones(1)))
        np.testing.assert_allclose(tx.update(jnp.ones(1), state)[0], expected, rtol=1e-6)


def test_a_number_that_a_composition_has_made_another_of_is_refused():
    @gx.composition
    def hidden(learning_rate: gx.NonNegative):
        return gx.sgd(lambda count: 0.5 * learning_rate(count))  # pyright: ignore

    tx = hidden(gx.controlled(0.1))
    with pytest.raises(ValueError, match="no part has learning_rate in its state; its owner has made a number of its"):
        gx.set_hyperparameters(tx, tx.init(jnp.ones(1)), learning_rate=0.5)
    with pytest.raises(ValueError, match="no part is known to count the updates for learning_rate; its owner has made"):
        gx.hyperparameters(tx, tx.init(jnp.ones(1)))
    np.testing.assert_allclose(gx.hyperparameters(hidden(gx.linear(1.0, 0.0, 10)), steps(tx, 2))["learning_rate"], 0.8)


def test_a_hidden_schedule_is_read_at_the_one_count_there_is_or_refused():
    @gx.composition
    def hidden(learning_rate: gx.NonNegative):
        return gx.chain(gx.sgd(0.1, momentum=gx.constant(0.5)), gx.every(gx.scale(lambda t: learning_rate(t)), 10))  # pyright: ignore

    tx = hidden(gx.linear(1.0, 0.0, 10))
    with pytest.raises(ValueError, match="no part is known to count the updates for learning_rate; its owner has made"):
        gx.hyperparameters(tx, steps(tx, 5))


def wrapper(name, looks_into=lambda state: state):
    state_type = namedtuple("WrapperState", ["calls", name])

    @gx.transformation
    def wrapped(tx: optax.GradientTransformation):
        def update(updates, state, params=None):
            updates, inner = tx.update(updates, state[1], params)
            return updates, state_type(state[0] + 1, inner)

        return lambda params: state_type(jnp.zeros([], int), looks_into(tx.init(params))), update

    return wrapped(gx.sgd(gx.linear(1.0, 0.0, 10)))


@pytest.mark.parametrize("name", ["inner_state", "inside"])
def test_a_wrapper_of_the_users_may_keep_the_state_of_its_part_anywhere(name):
    tx = gx.chain(gx.sgd(0.1), wrapper(name))
    np.testing.assert_allclose(gx.hyperparameters(tx, steps(tx, 2))["parts[1].tx.learning_rate"], 0.8, rtol=1e-6)


def test_a_wrapper_of_the_users_may_have_a_schedule_itself():
    @gx.transformation
    def halved(tx: optax.GradientTransformation, factor: gx.Scalar):
        def update(updates, state, params=None):
            updates, inner = tx.update(updates, state["inner"], params)
            return jax.tree.map(lambda u: factor * u, updates), {"inner": inner}

        return lambda params: {"inner": tx.init(params)}, update

    tx = halved(gx.sgd(gx.linear(1.0, 0.0, 10)), gx.linear(1.0, 0.5, 10))
    now = gx.hyperparameters(tx, steps(tx, 2))
    np.testing.assert_allclose([now["tx.learning_rate"], now["factor"]], [0.8, 0.9], rtol=1e-6)


def test_a_wrapper_that_looks_into_the_state_of_its_part_hides_it():
    tx = wrapper("inside", looks_into=lambda state: state._replace(count=state.count + 1))
    with pytest.raises(
        ValueError, match=r"no part is known to count the updates for tx\.learning_rate; wrapped does not show"
    ):
        gx.hyperparameters(tx, steps(tx, 2))
