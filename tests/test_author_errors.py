"""What an author of a new rule gets for a rule that can't work."""

import re

import jax.numpy as jnp
import pytest

import gradtx as gx


def refused(error, message):
    return pytest.raises(error, match=re.escape(message))


def test_a_formula_that_fails_names_its_part_too():
    @gx.transformation
    def broken():
        return gx.stateless(lambda g: g[0])

    tx = gx.chain(gx.scale(1.0), broken())
    with refused(ValueError, "broken: the formula made an update of shape () from one of shape (3,)") as caught:
        tx.update(jnp.ones(3), tx.init(jnp.ones(3)))
    assert caught.value.__notes__ == ["in part 1 of a chain, broken()"]


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda g, s: g, "broken: the formula must return (update, dict of fields), got"),
        (lambda g, s: (g, {}), "broken: the formula returned the fields [], expected ['trace']"),
        (lambda g, s: (g, dict(trace=g, mu=g)), "broken: the formula returned the fields ['mu', 'trace'], expected"),
        (lambda g, s: (g, dict(trace=g[0])), "broken: the formula returned trace in shape (), expected (3,)"),
        (lambda g, s: (None, dict(trace=g)), "broken: the formula made NoneType from one of shape (3,)"),
    ],
)
def test_a_formula_that_returns_something_else(returned, message):
    @gx.transformation
    def broken():
        return gx.per_array(gx.ScaleByMomentumState, lambda p: dict(trace=jnp.zeros_like(p)), returned)

    tx = broken()
    with refused((ValueError, TypeError), message):
        tx.update(jnp.ones(3), tx.init(jnp.ones(3)))


def test_a_factory_that_can_not_work_is_refused():
    with refused(TypeError, "nothing: the factory must return a pair (init, update), got NoneType"):
        gx.transformation(nothing)()
    with refused(TypeError, "named_count: count can't be an argument: values have one of that name"):
        gx.transformation(named_count)
    with refused(ValueError, "other_field: init returned the fields ['mu'], but ScaleByMomentumState has ['trace']"):
        gx.transformation(other_field)().init(jnp.ones(3))
    with refused(TypeError, "masked: where must be hashable, got dict; give a tuple"):
        gx.transformation(masked)(where={"w": True})


def nothing():
    return None


def named_count(count: gx.Scalar):
    return gx.stateless(lambda g: count * g)


def other_field():
    return gx.per_array(gx.ScaleByMomentumState, lambda p: dict(mu=p), lambda g, s: (g, dict(mu=g)))


def masked(where):
    return gx.stateless(lambda g: g)
