"""Parameters with None among them, as partitioned models have: states have the structure of Optax's."""

import jax
import jax.numpy as jnp
import numpy as np
import optax as real
import pytest

import gradtx.optax as ours

pytestmark = pytest.mark.usefixtures("float32")  # under which Optax's MultiSteps runs
PARAMS = {"w": jnp.ones(2, jnp.float32), "b": jnp.ones(3, jnp.float32), "act": None}
MASK = {"w": True, "b": False, "act": None}


def by_size(tree):
    return jax.tree.map(lambda x: x.size > 2, tree)


CALLS = {
    "masked": lambda optax: optax.masked(optax.trace(0.9), MASK),
    "masked by a function": lambda optax: optax.masked(optax.adam(0.1), by_size),
    "injected": lambda optax: optax.masked(optax.inject_hyperparams(optax.adamw)(0.1), MASK),
    "groups": lambda optax: optax.multi_transform(
        {"a": optax.adam(0.1), "b": optax.sgd(0.1)}, {"w": "a", "b": "b", "act": None}
    ),
    "micro-batches": lambda optax: optax.MultiSteps(optax.masked(optax.adam(0.1), MASK), 2),
    "guard": lambda optax: optax.apply_if_finite(optax.adamw(0.1, mask=MASK), 3),
    "chain": lambda optax: optax.chain(optax.clip_by_global_norm(1.0), optax.lion(0.1)),
}


@pytest.mark.parametrize("name", CALLS)
def test_states_have_the_structure_of_optaxs(name):
    own, theirs = CALLS[name](ours), CALLS[name](real)
    state, expected = own.init(PARAMS), theirs.init(PARAMS)
    for _ in range(3):
        assert jax.tree.structure(state) == jax.tree.structure(expected)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), state, expected)
        _, state = own.update(PARAMS, state, PARAMS)
        _, expected = theirs.update(PARAMS, expected, PARAMS)
    own.update(PARAMS, expected, PARAMS)
    theirs.update(PARAMS, state, PARAMS)
