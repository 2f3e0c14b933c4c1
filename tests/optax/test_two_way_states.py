"""A state of ours goes on in Optax, and one of Optax's goes on in ours, for the names that came last."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax as real
import pytest

import gradtx.optax as optax
from tests.optax.other_examples import OTHERS
from tests.optax.runs import given_at, make, params_for, run

pytestmark = pytest.mark.slow

EXACT: dict[str, Any] = dict(rtol=1e-9, atol=1e-12)
NAMES = [name for name in OTHERS if name not in ("scale_by_distance_over_gradients", "inject_stateful_hyperparams")]


def step(tx: Any, name: str, state: Any) -> Any:
    params = params_for(name)
    g, extra = given_at(name, params, jnp.float32(2.0))
    return jax.jit(lambda state: real.with_extra_args_support(tx).update(g, state, params, **extra))(state)


@pytest.mark.parametrize("name", NAMES)
def test_states_go_both_ways(name):
    own, theirs = (make(OTHERS[name][-1], module) for module in (optax, real))
    fresh = own.init(params_for(name))
    for state in (fresh, run(own, True, name)[2], run(theirs, True, name)[2]):
        got, expected = step(own, name, state), step(theirs, name, state)
        assert jax.tree.structure(got) == jax.tree.structure(expected)
        for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(*map(as_numbers, (a, b)), **EXACT)


def as_numbers(x: Any) -> Any:
    return jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x


@pytest.mark.parametrize("call", ["contrib.dog(init_step=('distance', 0.3))", "contrib.dog()", "contrib.dowg()"])
def test_a_fresh_state_of_ours_trains_in_optax(call):
    own, theirs = (make(call, module) for module in (optax, real))
    got, expected = (
        step(theirs, "dog", own.init(params_for("dog"))),
        step(theirs, "dog", theirs.init(params_for("dog"))),
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **EXACT), got, expected)
    assert optax.global_norm(got[0]) > 0.0
