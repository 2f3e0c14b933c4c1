"""Errors about two classes of one name say which is which."""

import collections
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax

import gradtx as gx
from tests.refusals import refused

W = jnp.ones(2)


def test_an_optax_state_in_a_gradtx_update():
    message = (
        "scale_by_adam: the state is a ScaleByAdamState of optax, expected that of gradtx.optimizers.adam: "
        "it was made by Optax; take it over with from_optax(tx, params, state)"
    )
    with refused(TypeError, message):
        gx.scale_by_adam().update(W, optax.scale_by_adam().init(W))
    with refused(TypeError, message):
        gx.adam(0.1).update(W, optax.adam(0.1).init(W), W)


def define() -> Any:
    class State(NamedTuple):
        last: Any

    @gx.transformation
    def difference():
        return gx.per_array(State, lambda p: dict(last=jnp.zeros_like(p)), lambda g, s: (g - s.last, dict(last=g)))

    return difference()


def test_a_class_that_was_defined_again():
    """As in a notebook whose cell is run twice."""
    before, now = define(), define()
    with refused(
        TypeError,
        "difference: the state is a State of an earlier definition of this class, expected the one of "
        "tests.core.test_class_names now: each call of a function defines it anew; define it at the top of the module",
    ):
        now.update(W, before.init(W))


class Params(NamedTuple):
    w: Any


def test_parameters_of_another_class_of_one_name():
    other: Any = collections.namedtuple("Params", ["w"], module="elsewhere")
    with refused(
        ValueError,
        "sgd: the tree of updates is of type Params of elsewhere, in params it is that of tests.core.test_class_names",
    ):
        gx.sgd(0.1).update(other(W), gx.sgd(0.1).init(Params(W)), Params(W))
