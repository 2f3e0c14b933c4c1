"""Optax's AdEMAMix, ADOPT, MADGRAD and Rprop on gradtx: the same numbers and states over many steps."""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax as real
import pytest

import gradtx as gx
import gradtx.optax as optax
from gradtx.core.walk import walk

pytestmark = pytest.mark.slow

STEPS = 20
GRADS = np.random.default_rng(1).normal(size=(STEPS, 5)) * (np.arange(STEPS) % 6 > 0)[:, None]


def run(tx):
    def step(carry, g):
        w, state = carry
        updates, state = tx.update(g, state, w)
        return (real.apply_updates(w, updates), state), w

    w = jnp.ones(5)
    return jax.lax.scan(step, (w, tx.init(w)), jnp.asarray(GRADS))


# In halves and quarters: Optax computes schedules in float32.
RISING, STRONGER = real.linear_schedule(0.5, 0.75, 2), real.linear_schedule(0.5, 2.5, 8)
CALLS: list[tuple[str, dict[str, Any], float]] = [
    ("ademamix", dict(weight_decay=0.1, eps_root=0.1), 1e-12),
    ("simplified_ademamix", dict(alpha=2.0, weight_decay=0.1), 1e-12),
    ("ademamix", dict(b3=RISING, alpha=STRONGER), 1e-12),
    ("simplified_ademamix", dict(alpha=STRONGER), 1e-12),  # which calls its count t
    ("adopt", dict(), 1e-12),
    ("adopt", dict(b1=0.5, nesterov=True, use_clipping=False), 1e-12),
    ("rprop", dict(eta_plus=1.5, max_step_size=0.2), 1e-12),
    ("madgrad", dict(momentum=0.5, weight_decay=0.1), 1e-7),  # Optax takes the root of the count in float32
    ("madgrad", dict(learning_rate=STRONGER), 1e-7),
]


@pytest.mark.parametrize(("name", "options", "rtol"), CALLS, ids=[f"{name}({list(o)})" for name, o, _ in CALLS])
def test_the_same_path_and_state(name, options, rtol):
    homes = [module if hasattr(real, name) else module.contrib for module in (optax, real)]
    ours, theirs = (getattr(home, name)(**dict(learning_rate=0.1) | options) for home in homes)
    assert all(isinstance(node.tx, gx.Transformation) for node in walk(ours))
    found, expected = run(ours), run(theirs)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol), found, expected)
    assert jax.tree.structure(found) == jax.tree.structure(expected)


def test_a_bound_of_adopt_that_is_not_the_default_is_left_to_optax():
    default = inspect.signature(real.contrib.adopt).parameters["clip_value_fn"].default
    for bound, is_own in ((default, True), (jnp.sqrt, False)):
        tx = optax.contrib.adopt(0.1, clip_value_fn=bound)
        assert all(isinstance(node.tx, gx.Transformation) for node in walk(tx)) == is_own
