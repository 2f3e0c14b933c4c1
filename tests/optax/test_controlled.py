"""Under Optax's names, a hyperparameter that lives in the state is the number that the state says."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax as real
import pytest

import gradtx as gx
import gradtx.optax as optax
from tests.optax.runs import PARAMS, given_at
from tests.refusals import refused

LEFT = "can't be controlled where the call is left to Optax"
CALLS: list[tuple[Any, str]] = [
    (optax.sgd, "learning_rate"),
    (optax.adamw, "learning_rate"),
    (optax.contrib.madgrad, "learning_rate"),
    (optax.contrib.scale_by_ademamix, "b3"),
    (optax.contrib.scale_by_ademamix, "alpha"),
    (optax.contrib.scale_by_simplified_ademamix, "alpha"),
    (optax.contrib.prodigy, "learning_rate"),
    (optax.contrib.prodigy, "weight_decay"),
    (optax.contrib.dadapt_adamw, "learning_rate"),
    (optax.contrib.momo, "learning_rate"),
    (optax.contrib.momo_adam, "learning_rate"),
    (optax.add_decayed_weights, "weight_decay"),
    (optax.scale_by_schedule, "step_size_fn"),
    (optax.trace, "decay"),  # a schedule of which Optax knows nothing
]


def step(tx: Any, state: Any, i: int) -> Any:
    g, extra = given_at("", PARAMS, i)
    return real.with_extra_args_support(tx).update(g, state, PARAMS, **extra)


@pytest.mark.parametrize(("factory", "name"), CALLS, ids=[f"{f.__name__}-{name}" for f, name in CALLS])
def test_a_controlled_number_is_the_one_that_the_state_says(factory, name):
    takes_numbers = factory is not optax.scale_by_schedule
    first, second = (factory(**{name: x}) if takes_numbers else optax.scale(x) for x in (0.5, 0.25))
    tx = factory(**{name: gx.controlled(0.5)})
    plain, state = first.init(PARAMS), tx.init(PARAMS)
    for i in range(4):
        if i == 2:
            state = gx.set_hyperparameters(tx, state, **{name: 0.25})
        expected, plain = step(first if i < 2 else second, plain, i)
        found, state = step(tx, state, i)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), found, expected)
        assert jnp.all(found["w"] != 0.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: optax.adam(0.1, b1=x, mu_dtype="bfloat16"), f"scale_by_adam: b1 {LEFT}: mu is Optax's own; take"),
        (lambda x: optax.sm3(0.1, x), f"scale_by_sm3: b1 {LEFT}: b1 is Optax's own; take gradtx's own names"),
    ],
)
def test_what_is_left_to_optax_is_not_controlled(call, message):
    with refused(TypeError, message):
        call(gx.controlled(0.5))


@pytest.mark.parametrize("options", [{}, dict(b3=optax.linear_schedule(0.5, 0.75, 8), alpha=lambda count: 0.5 * count)])
def test_ademamix_goes_on_with_both_counts(options):
    own, theirs = (module.contrib.scale_by_ademamix(**options) for module in (optax, real))
    state = theirs.init(PARAMS)
    state = step(theirs, step(theirs, state, 0)[1], 1)[1]._replace(count_m2=jnp.int32(6))
    for update in (own.update, jax.jit(own.update)):
        found, expected = update(given_at("", PARAMS, 2)[0], state, PARAMS), step(theirs, state, 2)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), found, expected)
        assert (int(found[1].count), int(found[1].count_m2)) == (3, 7)
