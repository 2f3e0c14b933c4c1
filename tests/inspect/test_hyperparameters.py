"""Hyperparameters while training runs: read, swept, and set where only the state can be changed."""

import pickle
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from flax import nnx
from flax.training.train_state import TrainState

import gradtx as gx


def steps(tx, n, params=None):
    params = jnp.ones(2) if params is None else params
    state = tx.init(params)
    for _ in range(n):
        _, state = tx.update(params, state, params)
    return state


# ---- the values in force ----


def test_values_in_force_are_those_of_the_next_update():
    tx = gx.chain(gx.clip_by_norm(1.0), gx.adamw(gx.linear(0.1, 0.0, 10), b1=gx.linear(0.9, 0.8, 10)))
    now = gx.hyperparameters(tx, steps(tx, 5))
    assert now.keys() == gx.hyperparameters(tx).keys()
    np.testing.assert_allclose(now["parts[1].learning_rate"], 0.05, rtol=1e-6)
    np.testing.assert_allclose(now["parts[1].b1"], 0.85, rtol=1e-6)
    assert (now["parts[0].max_norm"], now["parts[1].b2"]) == (1.0, 0.999)


def test_every_part_counts_for_itself():
    rate = gx.linear(1.0, 0.0, 10)
    tree = {"a": jnp.ones(2), "b": jnp.ones(2)}
    tx = gx.partition(
        (gx.by_path("a"), gx.chain(fast=gx.sgd(rate))),
        default=gx.only(gx.masked(gx.scale(rate), gx.by_path("b")), gx.by_path("b")),
    )
    state = tx.init(tree)
    _, state = tx.update(tree, state, tree)
    late = gx.chain(fast=gx.sgd(rate))
    state = ({"fast": steps(late, 4, tree)["fast"]}, state[1])
    now = gx.hyperparameters(tx, state)
    np.testing.assert_allclose(now["rules[0][1].fast.learning_rate"], 0.6, rtol=1e-6)
    np.testing.assert_allclose(now["default.tx.tx.factor"], 0.9, rtol=1e-6)


def test_a_composition_that_changes_the_schedule_is_read_at_its_count():
    @gx.composition
    def halved(learning_rate: gx.NonNegative):
        return gx.sgd(learning_rate * 0.5)

    tx = halved(gx.linear(1.0, 0.0, 10))
    np.testing.assert_allclose(gx.hyperparameters(tx, steps(tx, 3))["learning_rate"], 0.7, rtol=1e-6)


def test_it_works_in_a_trace_and_tells_states_of_others():
    tx = gx.sgd(gx.linear(1.0, 0.0, 10))
    seen = jax.jit(lambda state: gx.hyperparameters(tx, state)["learning_rate"])(steps(tx, 2))
    np.testing.assert_allclose(seen, 0.8, rtol=1e-6)
    with pytest.raises(
        ValueError, match="hyperparameters: the state has no 'count' in its ArrayImpl; it was made by another optimizer"
    ):
        gx.hyperparameters(gx.adam(gx.linear(1.0, 0.0, 10)), steps(tx, 1))
    with pytest.raises(
        TypeError, match="hyperparameters: it must be a transformation of gradtx, got GradientTransformation"
    ):
        gx.hyperparameters(optax.sgd(0.1))  # pyright: ignore[reportArgumentType]


def test_replace_by_name_or_path_lists_candidates():
    tx = gx.chain(clip=gx.clip_by_norm(1.0), fast=gx.sgd(0.1), slow=gx.sgd(0.2))
    assert gx.hyperparameters(tx.replace(max_norm=2.0))["clip.max_norm"] == 2.0
    assert tx.replace(**{"slow.learning_rate": 0.5}).slow == gx.sgd(0.5)
    assert tx.replace(slow=gx.adam(0.1)).slow == gx.adam(0.1)
    with pytest.raises(TypeError, match=re.escape("several 'learning_rate': fast.learning_rate, slow.learning_rate")):
        tx.replace(learning_rate=0.3)
    with pytest.raises(TypeError, match=r"has no 'rate'; it has clip\.max_norm, fast\.learning_rate"):
        tx.replace(rate=0.3)


# ---- controlled ----


def test_a_controlled_rate_is_that_of_the_state():
    tx = gx.chain(gx.scale_by_momentum(gx.controlled(0.5)), gx.scale_by_learning_rate(gx.controlled(0.1)))
    plain = gx.chain(gx.scale_by_momentum(0.5), gx.scale_by_learning_rate(0.1))
    g, state, other = jnp.array([1.0, -2.0]), None, None
    state, other = tx.init(g), plain.init(g)
    for change in ({}, {"learning_rate": 0.3}, {"decay": 0.9}, {"parts[0].decay": 0.0, "learning_rate": 0}):
        state = gx.set_hyperparameters(tx, state, **change)
        plain = plain.replace(**change)
        updates, state = tx.update(g, state)
        expected, other = plain.update(g, other)
        np.testing.assert_allclose(updates, expected, rtol=1e-6)
    now = {path: float(x) for path, x in gx.hyperparameters(tx, state).items() if "nesterov" not in path}
    assert now["parts[0].decay"] == now["parts[1].learning_rate"] == 0.0


def test_setting_compiles_nothing_and_works_in_a_trace():
    tx, traces = gx.adam(gx.controlled(0.1)), []

    @jax.jit
    def step(state, g, rate):
        traces.append(g)
        return tx.update(g, gx.set_hyperparameters(tx, state, learning_rate=rate))

    state = tx.init(jnp.ones(2))
    for rate in (0.1, 0.2):
        updates, state = step(state, jnp.ones(2), rate)
        np.testing.assert_allclose(updates, -rate, rtol=1e-5)
    assert len(traces) == 1


def test_the_same_value_at_two_places_is_set_at_one():
    part = gx.sgd(gx.controlled(0.1))
    tx = gx.chain(first=part, second=part)
    state = gx.set_hyperparameters(tx, tx.init(jnp.ones(1)), **{"second.learning_rate": 0.5})
    now = gx.hyperparameters(tx, state)
    assert (round(float(now["first.learning_rate"]), 6), float(now["second.learning_rate"])) == (0.1, 0.5)


def test_a_swept_controlled_rate():
    txs = jax.vmap(lambda rate: gx.sgd(gx.controlled(rate)))(jnp.array([0.1, 0.2]))
    updates = jax.vmap(lambda tx: tx.update(jnp.ones(1), tx.init(jnp.ones(1)))[0])(txs)
    np.testing.assert_allclose(updates[:, 0], [-0.1, -0.2], rtol=1e-6)


def test_in_frameworks_that_hold_the_optimizer(tmp_path):
    tx = gx.chain(gx.clip_by_norm(1.0), gx.adamw(gx.controlled(0.1), weight_decay=gx.controlled(0.0)))
    train: Any = TrainState.create(apply_fn=lambda: None, params={"w": jnp.ones(2)}, tx=tx)
    train = train.replace(opt_state=gx.set_hyperparameters(train.tx, train.opt_state, learning_rate=0.5))
    moved = train.apply_gradients(grads={"w": jnp.ones(2)})
    np.testing.assert_allclose(moved.params["w"], 0.5, rtol=1e-5)

    with ocp.StandardCheckpointer() as saver:
        saver.save(tmp_path / "state", moved.opt_state)
    with ocp.StandardCheckpointer() as reader:
        restored = reader.restore(tmp_path / "state", tx.init({"w": jnp.zeros(2)}))
    for state in (restored, pickle.loads(pickle.dumps(moved.opt_state))):
        assert float(gx.hyperparameters(tx, state)["parts[1].learning_rate"]) == 0.5

    model = nnx.Linear(2, 1, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    optimizer.opt_state = nnx.data(gx.set_hyperparameters(tx, optimizer.opt_state, learning_rate=0.0))
    before = jax.tree.map(jnp.copy, nnx.state(model, nnx.Param))
    optimizer.update(model, nnx.grad(lambda m: jnp.sum(m(jnp.ones(2))))(model))
    jax.tree.map(np.testing.assert_array_equal, nnx.state(model, nnx.Param), before)


REFUSED = {
    "adam: learning_rate=controlled(…) must be in [0, inf), got -1": lambda: gx.adam(gx.controlled(-1.0)),
    "controlled: value must be a number or a scalar array, got a function; multiply": lambda: gx.controlled(
        gx.constant(1.0)
    ),
    "controlled: value must be a number or a scalar array, got str '1'": lambda: gx.controlled("1"),
    "set_hyperparameters: it must be a transformation of gradtx, got tuple": lambda: gx.set_hyperparameters((), ()),  # pyright: ignore[reportArgumentType]
}
GIVEN = {
    "has no controlled 'b1', controlled are: clip.max_norm, fast.learning_rate, slow.learning_rate; tx.replace": dict(
        b1=0.5
    ),
    "has several controlled 'learning_rate', controlled are: fast.learning_rate, slow.learning_rate": dict(
        learning_rate=1.0
    ),
    "clip.max_norm must be in (0, inf], got 0": {"clip.max_norm": 0.0},
    "max_norm must be a number or a scalar array, got str '1'": dict(max_norm="1"),
    "max_norm must be a number or a scalar array, got a function": dict(max_norm=gx.constant(1.0)),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_refused(message):
    with pytest.raises((TypeError, ValueError)) as caught:
        REFUSED[message]()
    assert message in str(caught.value)


@pytest.mark.parametrize("message", GIVEN)
def test_what_can_not_be_set(message):
    rate, norm = gx.controlled(0.1), gx.controlled(1.0)
    tx = gx.chain(clip=gx.clip_by_norm(norm), fast=gx.adam(rate), slow=gx.sgd(rate))
    with pytest.raises((TypeError, ValueError)) as caught:
        gx.set_hyperparameters(tx, tx.init(jnp.ones(1)), **GIVEN[message])
    assert str(caught.value).startswith("set_hyperparameters: ")
    assert message in str(caught.value)


def test_a_controlled_number_is_no_part_of_a_schedule():
    with pytest.raises(TypeError, match="can't be controlled inside of a schedule; multiply the updates"):
        _ = gx.constant(1.0) * gx.controlled(0.5)
    with pytest.raises(TypeError, match="per_epoch: schedule can't be controlled"):
        gx.per_epoch(gx.controlled(0.5), 3)
    for name in ("learning_rate", "weight_decay", "power", "start"):
        with pytest.raises(TypeError, match=f"asgd: {name} can't be controlled, since it is part of a schedule"):
            gx.asgd(**{"learning_rate": 0.1, name: gx.controlled(1)})


def test_a_states_own_batch_is_kept():
    tx = gx.sgd(gx.controlled(0.1))
    states = gx.set_hyperparameters(tx, jax.vmap(tx.init)(jnp.ones((3, 2))), learning_rate=0.5)
    updates, _ = jax.vmap(tx.update)(jnp.ones((3, 2)), states)
    np.testing.assert_allclose(updates, -0.5)


def test_each_member_of_an_ensemble_has_a_rate_of_its_own():
    tx = gx.chain(gx.scale_by_momentum(gx.controlled(0.5)), gx.scale_by_learning_rate(gx.controlled(0.1)))
    params, g, rates = jnp.ones((3, 2)), jnp.arange(6.0).reshape(3, 2), jnp.array([0.1, 0.2, 0.4])
    fresh = jax.vmap(tx.init)(params)
    states = gx.set_hyperparameters(tx, fresh, learning_rate=rates, decay=np.array([0.0, 0.5, 0.9]))
    assert gx.find(states, "learning_rate").shape == (3,)
    np.testing.assert_allclose(gx.hyperparameters(tx, states)["parts[1].learning_rate"], rates, rtol=1e-6)
    traced = jax.jit(lambda state, x: gx.set_hyperparameters(tx, state, learning_rate=x))(states, rates)
    jax.tree.map(np.testing.assert_array_equal, traced, states)
    moved, step = states, jax.vmap(tx.update)
    for _ in range(3):
        updates, moved = step(g, moved, params)
    for i, (rate, decay) in enumerate(zip(rates, (0.0, 0.5, 0.9), strict=True)):
        alone, state = gx.sgd(rate, momentum=decay), gx.sgd(rate, momentum=decay).init(params[i])
        for _ in range(3):
            expected, state = alone.update(g[i], state, params[i])
        np.testing.assert_allclose(updates[i], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("new", "members", "error", "message"),
    [
        (np.ones(3), 0, ValueError, "learning_rate must be one number, got an array of shape (3,); an ensemble has"),
        (np.ones(2), 3, ValueError, "must be a number, or an array of shape (3,) with one for each member, got one of"),
        (np.ones((3, 1)), 3, ValueError, "must be a number, or an array of shape (3,) with one for each member, got"),
        (np.array([0.1, -0.1, 0.1]), 3, ValueError, "learning_rate[1] must be in [0, inf), got -0.1"),
        (np.array([True] * 3), 3, TypeError, "learning_rate[0] must be a number or a scalar array, got"),
        ([0.1, 0.2, 0.3], 3, TypeError, "learning_rate must be a number or a scalar array, got list"),
    ],
)
def test_rates_of_members_that_do_not_fit(new, members, error, message):
    tx = gx.sgd(gx.controlled(0.1))
    state = jax.vmap(tx.init)(jnp.ones((members, 2))) if members else tx.init(jnp.ones(2))
    with pytest.raises(error, match=re.escape(message)):
        gx.set_hyperparameters(tx, state, learning_rate=new)
    if isinstance(new, np.ndarray) and new.dtype == bool:
        with pytest.raises(error, match="learning_rate must be a number or a scalar array"):
            jax.jit(lambda x: gx.set_hyperparameters(tx, state, learning_rate=x))(new)


def test_only_counts_of_updates_count():
    @gx.composition
    def halved(learning_rate: gx.NonNegative):
        return gx.chain(gx.reduce_on_plateau(0.5, patience=3), gx.sgd(learning_rate * 0.5))

    tx = halved(gx.linear(1.0, 0.0, 10))
    state = tx.init(jnp.ones(1))
    for _ in range(5):
        _, state = tx.update(jnp.ones(1), state, value=1.0)
    np.testing.assert_allclose(gx.hyperparameters(tx, state)["learning_rate"], 0.5, rtol=1e-6)
