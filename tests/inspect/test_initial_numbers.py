"""Numbers that no update reads: a schedule or `controlled` in the place of one would change nothing, and is refused."""

from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import pytest
from jax.interpreters import partial_eval

import gradtx as gx
from gradtx.inspect.hyperparameters import places
from gradtx.testing.examples import FEW, example
from tests.catalogue import MEMBERS, TRANSFORMATIONS
from tests.refusals import refused

pytestmark = pytest.mark.slow

VAIN = "must be a number, for init alone reads it, got "


def numbers_of(member):
    return {path: jnp.asarray(x) for path, x in member.numbers.items()}


def unread(member):
    """The numbers on which nothing in the program of an update depends, neither the updates nor the next state."""
    params, (g,) = example(FEW).filled(1)
    state, numbers = jax.eval_shape(member.tx.init, params), numbers_of(member)

    def update(values, g, state):
        return member.update(g, state, params, tx=member.value.replace(**values))

    program = jax.make_jaxpr(update)(numbers, g, state).jaxpr
    _, used = partial_eval.dce_jaxpr(program, [True] * len(program.outvars))
    return {path for path, is_used in zip(sorted(numbers), used, strict=False) if not is_used}


WITH_NUMBERS = [param for param, member in zip(MEMBERS, TRANSFORMATIONS, strict=True) if numbers_of(member)]


@pytest.mark.parametrize("member", WITH_NUMBERS)
def test_no_update_reads_exactly_those_that_say_so(member):
    of_sgd = [place for place in places(member.value) if place.owner.recipe is gx.sgd]
    idle = {x.path for x in of_sgd if x.path.endswith("dampening") and x.owner.momentum is None}
    elsewhere = {"reps"} & {*member.unused}  # another start takes its place
    assert unread(member) == member.initial | idle | elsewhere
    for path in idle:  # without momentum it may be 0.0 alone
        with refused(ValueError, "nesterov and dampening need momentum"):
            member.value.replace(**{path: gx.controlled(0.0)})


def test_there_are_some_of_both_kinds():
    initial = {path.split(".")[-1] for member in TRANSFORMATIONS for path in member.initial}
    assert initial == {"initial", "learning_rate", "eps", "d0"}
    assert len({member.value.recipe for member in TRANSFORMATIONS if member.initial}) >= 10


def test_a_schedule_and_a_controlled_one_are_refused_where_they_are_given():
    for number in (gx.linear(0.1, 0.0, 10), gx.controlled(0.1), lambda count: 0.1):
        with refused(TypeError, f"rprop: learning_rate {VAIN}"):
            gx.rprop(number)
        with refused(TypeError, f"adagrad: initial {VAIN}"):
            gx.adagrad(0.1, initial=number)
        with refused(TypeError, f"dadapt_adamw: d0 {VAIN}"):
            gx.dadapt_adamw(d0=number)
        with refused(TypeError, f"rprop: learning_rate {VAIN}"):
            gx.rprop(0.1).replace(learning_rate=number)


def test_the_remedy_scales_the_steps():
    w = jnp.ones(2)
    tx, plain = gx.chain(gx.rprop(0.1), gx.scale(gx.linear(1.0, 0.0, 2))), gx.rprop(0.1)
    state, other = tx.init(w), plain.init(w)
    for share in (1.0, 0.5, 0.0):
        updates, state = tx.update(w, state, w)
        expected, other = plain.update(w, other, w)
        assert jnp.allclose(updates, share * expected, rtol=1e-6)


def test_it_may_be_traced_and_of_any_kind_of_number():
    first = jax.vmap(lambda rate: gx.rprop(rate).update(jnp.ones(1), gx.rprop(rate).init(jnp.ones(1)))[0])
    assert first(jnp.array([0.25, 0.5]))[:, 0].tolist() == [-0.25, -0.5]


class TotalState(NamedTuple):
    total: Any


def test_an_author_may_say_so():
    @gx.transformation
    def over_total(first: Annotated[gx.Positive, gx.Initial] | None = None):
        def init(p):
            return dict(total=jnp.full_like(p, 1.0 if first is None else first))

        def update(g, state):
            return g / state.total, dict(total=state.total + g)

        return gx.per_array(TotalState, init, update)

    assert over_total(2.0).update(jnp.ones(1), over_total(2.0).init(jnp.ones(1)))[0].tolist() == [0.5]
    with refused(TypeError, f"over_total: first {VAIN}"):
        over_total(gx.constant(2.0))
    assert {place.path: place.allowed.initial for place in places(over_total())} == {"first": True}
