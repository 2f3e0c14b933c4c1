"""What an author of a new rule gets for a rule that can't work."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import pytest

import gradtx as gx
from gradtx.values.value import restore
from tests.refusals import refused


def test_a_formula_that_fails_names_its_part_too():
    @gx.transformation
    def broken():
        return gx.stateless(lambda g: g[0])

    tx = gx.chain(gx.scale(1.0), broken())
    with refused(ValueError, "broken: the formula made an update of shape () from one of shape (3,)") as caught:
        tx.update(jnp.ones(3), tx.init(jnp.ones(3)))
    assert caught.value.__notes__[-1:] == ["in part 1 of a chain, broken()"]


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
    with refused(TypeError, "named_replace: replace can't be an argument: values have one of that name"):
        gx.transformation(named_replace)
    with refused(ValueError, "other_field: init returned the fields ['mu'], but ScaleByMomentumState has ['trace']"):
        gx.transformation(other_field)().init(jnp.ones(3))
    with refused(TypeError, "masked: where must be hashable, got dict; give a tuple"):
        gx.transformation(masked)(where={"w": True})


def nothing():
    return None


def named_replace(replace: gx.Scalar):
    return gx.stateless(lambda g: replace * g)


def other_field():
    return gx.per_array(gx.ScaleByMomentumState, lambda p: dict(mu=p), lambda g, s: (g, dict(mu=g)))


def masked(where):
    return gx.stateless(lambda g: g)


def test_an_argument_may_have_a_name_that_tuples_have():
    @gx.transformation
    def named(count: gx.Scalar, index: gx.Scalar, extra: gx.Scalar, required: gx.Scalar, compiled: bool = False):
        return gx.stateless(lambda g: (count + index + extra + required) * g)

    tx = named(1.0, 2.0, extra=3.0, required=4.0)
    assert (tx.count, tx.index, tx.extra, tx.required, tx.compiled) == (1.0, 2.0, 3.0, 4.0, False)
    assert float(tx.replace(count=2.0).update(1.0, tx.init(1.0))[0]) == 11.0
    assert dir(tx) == sorted(["count", "index", "extra", "required", "compiled", "init", "replace", "update"])


@pytest.mark.parametrize("decorate", [gx.transformation, gx.composition], ids=["transformation", "composition"])
def test_the_error_of_a_factorys_body_reaches_its_author_as_it_was_raised(decorate):
    module: Any = gx

    @decorate
    def misspelled(b: gx.Scalar):
        return module.scale_by_adm(b)

    with pytest.raises(AttributeError, match="has no attribute 'scale_by_adm'"):
        misspelled(1.0)

    @decorate
    def fails_for_some(b: gx.Scalar, fails: bool = False):
        return module.scale_by_adm(b) if fails else gx.scale(b)

    unbuilt = restore(gx.Transformation, fails_for_some, dict(b=1.0, fails=True))  # as JAX puts it together
    for call in (unbuilt.init, jax.jit(unbuilt.init), lambda p: jax.jit(lambda tx: tx.init(p))(unbuilt)):
        with pytest.raises(AttributeError, match="has no attribute 'scale_by_adm'"):
            call(jnp.ones(2))


def test_an_error_inside_of_an_update_is_raised_once():
    calls = []

    @gx.transformation
    def fails():
        def formula(g):
            calls.append(g)
            raise ValueError("as the author wrote it")

        return gx.stateless(formula)

    tx = fails()
    with pytest.raises(ValueError, match=r"^as the author wrote it"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)))
    assert len(calls) == 1


class Uncounted(NamedTuple):
    mu: Any


@pytest.mark.parametrize(
    ("init", "message"),
    [
        (lambda p: Uncounted(p), "rule: init must return a dict of fields, got Uncounted"),
        (lambda p: jnp.zeros_like(p), "rule: init must return a dict of fields, got an array"),
    ],
)
def test_an_init_that_returns_something_else(init, message):
    with refused(TypeError, message):
        of_formula(init, lambda g, s: (g, dict(mu=g))).init(jnp.ones(3))


def test_a_formula_in_the_way_of_optax():
    with refused(TypeError, "(update, dict of fields), got a tuple of an array, Uncounted"):
        run_once(of_formula(lambda p: dict(mu=p), lambda g, s: (g, s._replace(mu=g))))
    with refused(TypeError, "per_array: state_type must be a class of NamedTuple, got function"):
        of_formula(lambda p: dict(mu=p), lambda g, s: (g, dict(mu=g)), state_type=lambda p: {})
    with refused(ValueError, "fields ['count', 'mu'], expected ['mu']; the count goes on by itself"):
        run_once(of_formula(lambda p: dict(mu=p), lambda g, s: (g, dict(mu=g, count=1.0))))


def test_a_count_that_the_state_lacks_is_named():
    with pytest.raises(TypeError) as caught:
        run_once(of_formula(lambda p: dict(mu=p), lambda g, s: (g / (s.count + 1), dict(mu=g))))
    assert any("Uncounted has no field count; name it there" in note for note in caught.value.__notes__)


def of_formula(init: Any, update: Any, state_type: Any = Uncounted) -> gx.Transformation:
    @gx.transformation
    def rule():
        return gx.per_array(state_type, init, update)

    return rule()


def run_once(tx: gx.Transformation) -> Any:
    return tx.update(jnp.ones(3), tx.init(jnp.ones(3)))


def test_the_error_of_a_factorys_property_is_its_own():
    @gx.transformation
    def misspelled(b: "gx.NonNegativ" = 1.0):  # type: ignore
        return gx.identity()

    with pytest.raises(AttributeError, match="module 'gradtx' has no attribute 'NonNegativ'"):
        misspelled(1.0)
