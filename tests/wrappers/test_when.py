"""Turns and choices: which updates a transformation sees, what stays meanwhile, and what is refused."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx
from gradtx.core import transformation
from gradtx.values.value import text_of
from tests.counted import counted
from tests.refusals import refused

compiled_update: Any = transformation.compiled_update
G = jax.random.normal(jax.random.key(0), (6, 3))
W = jnp.ones(3)
anything: Any = gx


@jax.jit
def walked(tx, gradients, given=None):
    """The updates and the states over gradients, the parameters staying."""

    def body(state, row):
        u, state = tx.update(row[0], state, W, **row[1])
        return state, (u, state)

    return jax.lax.scan(body, tx.init(W), (gradients, given or {}))[1]


# ---- every ----


def test_every_kth_update_goes_through_and_the_others_pass():
    tx = gx.every(gx.chain(gx.scale_by_momentum(0.5), gx.scale(gx.linear(-1.0, 0.0, 10))), 3)
    updates, states = walked(tx, G)
    (third, sixth), _ = walked(tx.tx, G[jnp.array([2, 5])])  # its schedule and its momentum see its own updates
    np.testing.assert_allclose(updates, jnp.stack([G[0], G[1], third, G[3], G[4], sixth]), rtol=1e-12)
    assert states.waited.tolist() == [1, 2, 0, 1, 2, 0]
    chex.assert_trees_all_equal(*(jax.tree.map(lambda x, i=i: x[i], states.inner_state) for i in (2, 4)))


def test_the_wait_may_be_scheduled():
    updates, _ = walked(gx.every(gx.scale(0.0), gx.piecewise_constant((3,), (1, 2))), 1.0 + 0 * G)
    np.testing.assert_array_equal(updates[:, 0], [0, 0, 0, 1, 0, 1])


def test_between_its_turns_it_is_not_run():
    noted, runs = counted()
    walked(gx.every(noted, 2), G)
    jax.effects_barrier()
    assert len(runs) == 3
    walked(gx.switch(noted, gx.identity(), choice=gx.piecewise_constant((1, 5), (0, 1, 0))), G)
    jax.effects_barrier()
    assert len(runs) == 3 + 2


# ---- switch ----


def test_a_schedule_chooses_and_the_others_keep_their_states():
    parts = gx.adam(gx.linear(0.1, 0.0, 10)), optax.sgd(0.1, momentum=0.9)
    tx = gx.switch(*parts, choice=gx.piecewise_constant((2, 4), (0, 1, 0)))
    updates, states = walked(tx, G)
    adam, _ = walked(parts[0], G[jnp.array([0, 1, 4, 5])])
    state, sgd = parts[1].init(W), []
    for g in G[2:4]:
        u, state = parts[1].update(g, state, W)
        sgd.append(u)
    np.testing.assert_allclose(updates, jnp.concatenate([adam[:2], jnp.stack(sgd), adam[2:]]), rtol=1e-12)
    assert states.inner_state.choice.tolist() == [0, 0, 1, 1, 0, 0]
    assert gx.metrics(jax.tree.map(lambda x: x[-1], states))["switch_choice"] == 0


def test_beyond_the_ends_the_nearest_part_is_taken():
    tx = gx.switch(gx.scale(1.0), gx.scale(2.0), gx.scale(3.0), choice=gx.linear(-1.4, 3.6, 5))
    updates, _ = walked(tx, 1.0 + 0 * G)
    np.testing.assert_array_equal(updates[:, 0], [1, 1, 2, 3, 3, 3])  # -1.4, -0.4, 0.6, 1.6, 2.6, 3.6, rounded
    with jax.disable_jit():
        _, state = tx.update(G[0], tx.init(W))
        tx.update(G[0], state)


def test_one_part_and_a_number():
    tx = gx.switch(gx.sgd(gx.linear(0.1, 0.2, 10)), choice=0)
    updates, state = tx.update(W, tx.init(W))
    np.testing.assert_allclose(updates, -0.1 * W)
    np.testing.assert_allclose(gx.hyperparameters(tx, state)["parts[0].learning_rate"], 0.11)
    two = gx.switch(gx.scale(2.0), gx.scale(3.0), choice=gx.controlled(0))
    state = gx.set_hyperparameters(two, two.init(W), choice=1)
    np.testing.assert_allclose(two.update(W, state)[0], 3.0)


def test_a_sweep_over_choices():
    def first(choice):
        tx = gx.switch(gx.scale(2.0), gx.scale(3.0), choice=choice)
        return tx.update(W, tx.init(W))[0][0]

    np.testing.assert_array_equal(jax.vmap(first)(jnp.arange(2)), [2.0, 3.0])


# ---- both ----


def test_each_part_gets_its_extra_arguments():
    measured = gx.chain(gx.reduce_on_plateau(0.5, 1), gx.scale(2.0))
    values: Any = dict(value=jnp.array([1.0, 9.0, 9.0, 9.0, 9.0, 9.0]))
    updates, _ = walked(
        gx.switch(gx.sgd(1.0), measured, choice=gx.piecewise_constant((3,), (0, 1))), 1.0 + 0 * G, values
    )
    np.testing.assert_array_equal(updates[:, 0], [-1, -1, -1, 2, 1, 0.5])
    updates, _ = walked(gx.every(measured, 2), 1.0 + 0 * G, values)
    np.testing.assert_array_equal(updates[:, 0], [1, 2, 1, 1, 1, 0.5])


def test_eager_it_is_one_compiled_call():
    compiled_update.clear_cache()  # JAX keeps so many programs in all, and lets go of the oldest

    def size(tx):
        before, state = compiled_update._cache_size(), tx.init(W)
        for _ in range(3):
            _, state = tx.update(W, state)
        return compiled_update._cache_size() - before

    assert [size(gx.every(gx.scale_by_adam(), k)) for k in (2, 3)] == [1, 0]
    assert [size(gx.switch(gx.adam(0.1), gx.sgd(0.1), choice=i)) for i in (0, 1)] == [1, 0]


@pytest.mark.parametrize(
    "tx",
    [gx.every(optax.adam(0.1), 1), gx.switch(optax.adam(0.1), choice=0), gx.switch(gx.identity(), choice=0)],
    ids=text_of,
)
def test_dtypes_stay_where_an_inner_one_of_optax_changes_them(tx):
    low, g = W.astype(jnp.bfloat16), W.astype(jnp.float32)
    state = tx.init(low)
    updates, after = jax.jit(tx.update)(g, state, low)
    assert updates.dtype == jnp.float32
    assert jax.tree.map(lambda x: x.dtype, after) == jax.tree.map(lambda x: x.dtype, state)


# ---- refusals ----


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (
            lambda: anything.every(gx.sgd, 2),
            TypeError,
            "every: tx must be a transformation, got a function; call it: s",
        ),
        (lambda: gx.every(gx.adam(0.5), 2), ValueError, "every: tx must be a block: adam(learning_rate=0.5) ends with"),
        (lambda: gx.every(gx.scale(0.5), 0), ValueError, "every: k must be a whole number in [1, "),
        (lambda: anything.every(gx.scale(0.5), True), TypeError, "every: k must be a number, a scalar array or a sch"),
        (lambda: gx.switch(choice=0), ValueError, "switch: it needs at least one part"),
        (
            lambda: gx.switch(gx.sgd(0.1), choice=1),
            ValueError,
            "switch: choice must be below 1, the number of parts, got",
        ),
        (lambda: gx.switch(gx.sgd(0.1), choice=-1), ValueError, "switch: choice must be a whole number in [0, "),
        (lambda: gx.switch(gx.sgd(0.1), choice=0.5), ValueError, "switch: choice must be a whole number in [0, "),
        (lambda: anything.switch(gx.sgd(0.1)), TypeError, "switch: missing a required argument: 'choice'"),
        (
            lambda: anything.switch(0, gx.sgd(0.1), choice=0),
            TypeError,
            "switch: parts[0] must be a transformation, got",
        ),
    ],
)
def test_construction(build, error, message):
    with refused(error, message):
        build()


@pytest.mark.parametrize("way", [jax.jit, lambda update: update], ids=["jit", "eager"])
def test_what_does_not_fit(way):
    turn, choice = gx.every(gx.scale_by_adam(), 2), gx.switch(gx.adam(0.1), gx.reduce_on_plateau(), choice=0)
    with refused(TypeError, "every: the state is a SwitchState, expected EveryState: it was made by another optimizer"):
        way(turn.update)(W, choice.init(W))
    with refused(
        TypeError, "switch: the state is an EveryState, expected SwitchState: it was made by another optimizer"
    ):
        way(choice.update)(W, turn.init(W), value=1.0)
    with refused(ValueError, "switch: the state must be a tuple of 2, got 1 states: it was made by another optimizer"):
        way(choice.update)(W, gx.switch(gx.adam(0.1), choice=0).init(W), value=1.0)
    with refused(TypeError, "reduce_on_plateau: update needs value: call update(updates, state, params, value=…)"):
        way(choice.update)(W, choice.init(W))
    with refused(ValueError, "scale_by_adam: updates does not fit the state, whose mu has shape (3,), expected (2,)"):
        way(turn.update)(jnp.ones(2), turn.init(W))
