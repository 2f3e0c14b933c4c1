"""Rules as parts, and what is refused where parts, branches and states don't fit."""

import copy
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx
from tests.refusals import refused

W = {"w": jnp.ones(2), "n": jnp.zeros([], jnp.int32)}
INTEGER = "updates['n'] must be floating-point or complex, got int32; to freeze it"


def test_rules_are_told_apart():
    two, three = (gx.stateless(lambda g, c=c: c * g) for c in (2.0, 3.0))
    assert two != three
    assert gx.chain(two) != gx.chain(three)
    step = jax.jit(lambda tx, g: tx.update(g, tx.init(g))[0])
    np.testing.assert_array_equal(step(gx.chain(two), jnp.ones(2)), [2.0, 2.0])
    np.testing.assert_array_equal(step(gx.chain(three), jnp.ones(2)), [3.0, 3.0])
    assert "PerArray" in repr(two)
    with refused(TypeError, "adam: learning_rate must be a number, a scalar array or a schedule"):
        gx.adam(two)  # pyright: ignore


def test_a_rule_in_a_chain_of_optax_leaves_extra_arguments_to_others():
    by_value = gx.scaling(lambda params: (), lambda state, *, value: (value, state))
    by_loss = gx.scaling(lambda params: (), lambda state, *, loss: (loss, state))
    tx = optax.chain(by_value, by_loss)
    updates, _ = tx.update(jnp.ones(2), tx.init(jnp.ones(2)), value=3.0, loss=2.0)
    np.testing.assert_array_equal(updates, [6.0, 6.0])
    with refused(TypeError, "update: update needs loss: call update(updates, state, params, loss=…)"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)), value=3.0)


@pytest.mark.parametrize("where", ["parallel", "chain", "switch"])
def test_an_integer_that_a_part_meets_is_refused_by_its_path(where):
    only = gx.only(gx.scale(2.0), gx.by_path("w"))
    masked = gx.masked(gx.scale(2.0), gx.by_path("w"))
    tx = {
        "parallel": gx.parallel(masked, masked, join=jnp.add),
        "chain": gx.chain(gx.stateless(lambda g: g)),
        "switch": gx.switch(only, only, choice=0),
    }[where]
    state = tx.init({"w": W["w"], "n": None} if where == "chain" else W)
    for update in (tx.update, jax.jit(tx.update)):
        with refused(TypeError, INTEGER):
            update(W, state, None)


def test_a_branch_names_the_part_that_refuses_its_state():
    tx = gx.skip_nonfinite(gx.accumulate(gx.sgd(0.1), 2))
    state = tx.init(W["w"])._replace(inner_state=gx.sgd(0.1).init(W["w"]))
    with refused(TypeError, "accumulate: the state is a ScaleByLearningRateState, expected AccumulateState"):
        tx.update(W["w"], state)
    with refused(TypeError, "ema: the state is an array, expected EmaState"):
        gx.ema(0.5).update(W["w"], W["w"])


def test_a_state_of_other_hyperparameters_is_refused():
    tx, other = gx.ema(gx.constant(0.5)), gx.scale(gx.constant(0.5))
    with refused(ValueError, "ema: the state holds factor, expected decay: it was made by another optimizer"):
        tx.update(W["w"], other.init(W["w"]))


def test_names_that_values_need_themselves():
    with refused(TypeError, "chain: _built can't be a part's name"):
        gx.chain(_built=gx.scale(2.0))

    def hidden(_built: gx.Scalar):
        return gx.scale(_built)

    with refused(TypeError, "hidden: _built can't be an argument"):
        gx.composition(hidden)

    def by_place(factor: gx.Scalar, /):
        return gx.scale(factor)

    with refused(TypeError, "by_place: factor must have a name, since a value is written with it: remove /"):
        gx.composition(by_place)
    for wrong in (hidden, by_place):  # and where only `inspect` tells which arguments there are
        with refused(TypeError, f"{wrong.__name__}: "):
            gx.composition(functools.wraps(wrong)(functools.partial(wrong)))


def test_a_default_out_of_its_range_is_refused_with_the_factorys_name():
    @gx.composition
    def halved(factor: gx.Decay = 1.5):
        return gx.scale(factor)

    with refused(ValueError, "halved: factor must be in [0, 1), got 1.5"):
        halved(0.5)


def test_a_copy_of_a_local_factorys_value_is_equal():
    @gx.composition
    def local(factor: gx.Scalar):
        return gx.scale(factor)

    tx = local(0.5)
    assert copy.deepcopy(tx) == copy.copy(tx) == tx
    with refused(AttributeError, "local can't be changed; use .replace"):
        del tx.factor


def test_which_leaf_an_error_names_does_not_depend_on_chance():
    many = {name: jnp.ones(1) for name in "abcdefgh"}
    with refused(ValueError, "sgd: updates lack ['b'], which is in params"):
        gx.sgd(0.1).update({"a": many["a"]}, gx.sgd(0.1).init(many), many)
