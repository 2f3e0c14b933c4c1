"""A hyperparameter that is a tuple of numbers: each of them may be what a hyperparameter may be."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx
from gradtx.testing import check_transformation, every_hyperparameter_matters
from tests.refusals import refused

FALLING = gx.linear(1.0, 0.0, 4)


@gx.transformation
def mix(ws: tuple[gx.Scalar, ...]):
    return gx.stateless(lambda g: sum(w * g for w in ws))


class AggMoState(NamedTuple):
    trace: Any


@gx.transformation
def scale_by_aggmo(betas: tuple[gx.Decay, ...] = (0.0, 0.9, 0.99)):
    """Lucas et al., Aggregated Momentum, 2019: the mean of momenta with several decays."""

    def init(p):
        return dict(trace=jnp.stack([jnp.zeros_like(p)] * len(betas)))  # which lies as the parameter does

    def update(g, state):
        traces = [beta * v + g for beta, v in zip(betas, state.trace, strict=True)]
        return sum(traces) / len(betas), dict(trace=jnp.stack(traces))

    return gx.per_array(AggMoState, init, update)


@gx.composition
def aggmo(learning_rate: gx.NonNegative, betas: tuple[gx.Decay, ...] = (0.0, 0.9, 0.99)):
    return gx.chain(scale_by_aggmo(betas), gx.scale_by_learning_rate(learning_rate))


@gx.transformation
def scaled_around(inner: optax.GradientTransformationExtraArgs, factors: tuple[gx.Scalar, ...]):
    def update(updates, state, params=None, **extra):
        updates, state = inner.update(updates, state, params, **extra)
        return jax.tree.map(lambda u: factors[0] * factors[1] * u, updates), state

    return inner.init, update


@pytest.mark.parametrize("tx", [mix((0.1, 0.2)), scale_by_aggmo()], ids=repr)
def test_every_law_holds(tx):
    check_transformation(tx).raise_if_broken()


def test_a_law_leaves_out_those_that_do_nothing():
    @gx.transformation
    def last(ws: tuple[gx.Scalar, ...]):
        return gx.stateless(lambda g: ws[-1] * g)

    laws = [every_hyperparameter_matters]
    assert check_transformation(last((0.1, 0.2)), unused=("ws[0]",), laws=laws).held
    assert "expected other updates with ws[0]=0.5 within" in repr(check_transformation(last((0.1, 0.2)), laws=laws))
    with refused(ValueError, "unused must be a tuple of paths among ['ws[0]', 'ws[1]'], got ('ws',)"):
        check_transformation(last((0.1, 0.2)), unused=("ws",))


def test_a_schedule_in_it_is_followed():
    tx, g = mix((FALLING, 0.5)), jnp.ones(2)
    state = tx.init(g)
    for t in range(3):
        assert float(gx.hyperparameters(tx, state)["ws[0]"]) == 1.0 - 0.25 * t
        u, state = tx.update(g, state)
        np.testing.assert_array_equal(u, [1.5 - 0.25 * t] * 2)
    assert gx.hyperparameters(tx) == {"ws[0]": FALLING, "ws[1]": 0.5}
    assert tx.replace(**{"ws[0]": 1.0}) == mix((1.0, 0.5))


def test_a_number_in_it_may_live_in_the_state():
    tx, w = aggmo(0.1, (gx.controlled(0.0), gx.linear(0.5, 0.9, 4), 0.9)), jnp.ones(2)
    state = gx.set_hyperparameters(tx, tx.init(w), **{"betas[0]": 0.25})
    assert float(gx.hyperparameters(tx, state)["betas[0]"]) == 0.25
    kept = gx.from_flat(tx, w, gx.to_flat(tx, state))
    u, after = jax.jit(tx.update)(w, kept, w)
    assert after[0].hyperparams == {"betas[0]": 0.25, "betas[1]": 0.5}
    np.testing.assert_allclose(u, [-0.1] * 2)
    np.testing.assert_allclose(tx.update(w, after, w)[0], -0.1 * ((1.25 + 1.6 + 1.9) / 3) * w, rtol=1e-6)


def test_the_part_inside_of_a_wrapper_is_seen():
    tx = scaled_around(gx.sgd(FALLING), (gx.constant(2.0), 0.5))
    now = gx.hyperparameters(tx, tx.init(jnp.ones(2)))
    assert {path: float(now[path]) for path in ("inner.learning_rate", "factors[0]")} == {
        "inner.learning_rate": 1.0,
        "factors[0]": 2.0,
    }


def test_what_is_told_of_it():
    assert f"{gx.describe(scale_by_aggmo((gx.linear(0.5, 0.9, 4), 0.99)))}".splitlines()[2:4] == [
        "  betas = (linear(start=0.5, end=0.9, steps=4), 0.99)",
        "  1. betas[0]: linear",
    ]

    @gx.transformation
    def masked_mix(ws: tuple[gx.Scalar, ...]):
        return gx.masked(mix(ws), gx.by_ndim(at_least=2))

    assert "as it is" in f"{gx.explain(masked_mix((FALLING,)), {'w': jnp.ones((2, 2)), 'b': jnp.ones(2)})}"


REFUSED = {
    "mix: ws[1] must be a number, a scalar array or a schedule, got str 'x'": lambda: mix((0.1, "x")),  # pyright: ignore[reportArgumentType]
    "mix: the schedule given for ws[0] must return a real scalar, got tuple": lambda: mix(
        (lambda t: (1.0,), 1.0)  # pyright: ignore[reportArgumentType]
    ),
    "mix: ws must be a tuple of numbers, got list [0.1]": lambda: mix([0.1]),  # pyright: ignore[reportArgumentType]
    "scale_by_aggmo: betas[1]=controlled(…) must be in [0, 1), got 1": lambda: scale_by_aggmo((0.0, gx.controlled(1))),
    # Where a schedule is refused, no message asks for one.
    "piecewise_constant: values[1] must be a number or a scalar array, got str 'x'": lambda: gx.piecewise_constant(
        (10,),
        (1.0, "x"),  # pyright: ignore[reportArgumentType]
    ),
    "values[0] must be a number or a scalar array, got a function; schedules": lambda: gx.piecewise_constant(
        (10,), (gx.constant(1.0), 2.0)
    ),
    "linear: start must be a number or a scalar array, got str 'x'": lambda: gx.linear("x", 0.0, 3),  # pyright: ignore[reportArgumentType]
    "adagrad: initial must be a number or a scalar array, got str 'x'": lambda: gx.adagrad(0.1, initial="x"),  # pyright: ignore[reportArgumentType]
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_refused(message):
    kind = ValueError if "[0, 1)" in message else TypeError
    with refused(kind, message):
        REFUSED[message]()


@gx.transformation
def of_places(pair: tuple[gx.Decay, gx.NonNegative] = (0.9, 2.0), more: tuple[gx.Decay, ...] | None = None):
    return gx.stateless(lambda g: pair[0] * pair[1] * sum(more or (1.0,)) * g)


def test_a_tuple_of_some_length_has_a_range_for_each_place():
    tx = of_places((0.5, 3.0), (0.5, 0.25))
    assert tx.update(jnp.ones(1), tx.init(jnp.ones(1)))[0] == 1.125
    assert gx.hyperparameters(of_places(more=(0.5,))) == {"pair[0]": 0.9, "pair[1]": 2.0, "more[0]": 0.5}


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        (((0.1, 0.2, 0.3),), ValueError, "of_places: pair must be a tuple of 2 numbers, got 3"),
        (((0.1, -1.0),), ValueError, "of_places: pair[1] must be in [0, inf), got -1"),
        (((0.1, 1.0), (0.5, 1.5)), ValueError, "of_places: more[1] must be in [0, 1), got 1.5"),
        (((0.1, 1.0), 0.5), TypeError, "of_places: more must be a tuple of numbers, got float 0.5"),
        (([0.1, 1.0],), TypeError, "of_places: pair must be a tuple of numbers, got list [0.1, 1.0]; write tuple("),
    ],
)
def test_what_is_no_such_tuple(arguments, kind, message):
    with refused(kind, message):
        of_places(*arguments)


def test_a_composition_with_a_schedule_in_a_tuple_is_read_at_the_parts_count():
    @gx.transformation
    def mix(ws: tuple[gx.Scalar, ...]):
        return gx.stateless(lambda g: sum(ws) * g)

    @gx.composition
    def doubled(rate: gx.Scalar):
        schedule: Any = rate
        return gx.chain(mix((lambda count: 2.0 * schedule(count), 0.5)))

    tx = doubled(gx.linear(1.0, 0.0, 4))
    _, state = tx.update(jnp.ones(1), tx.init(jnp.ones(1)))
    assert float(gx.hyperparameters(tx, state)["rate"]) == 0.75
