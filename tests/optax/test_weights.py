"""Optax's rules that relate updates to the parameters, to the last digits, and where ours do otherwise."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax as real
import pytest

import gradtx.optax as optax
from tests.optax.runs import make, run

pytestmark = pytest.mark.slow  # formulas do not turn on versions

CALLS = [
    "scale_by_trust_ratio(0.5, 0.1, 0.2)",
    "adaptive_grad_clip(0.05)",
    "normalize_by_update_norm(-0.5, 0.1)",
    "contrib.normalize()",
    "chain(sgd(0.5), keep_params_nonnegative())",
    "lamb(0.1, 0.8, 0.9, 1e-3, 1e-3, 0.1, matrices)",
    "lars(0.1, 0.1, matrices, 0.1, 0.1, matrices, 0.8, True)",
    "fromage(0.1)",
]


@pytest.mark.parametrize("call", CALLS)
def test_paths_are_optaxs_to_the_last_digits(call):
    (ours, *_), (theirs, *_) = (run(make(call, module), True) for module in (optax, real))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-13), ours, theirs)


def test_zeros_are_no_nan():
    zeros = {"w": jnp.zeros(2)}
    for tx in (optax.contrib.normalize(), optax.normalize_by_update_norm(eps=0.0)):
        np.testing.assert_array_equal(tx.update(zeros, tx.init(zeros), None)[0]["w"], zeros["w"])
    theirs: Any = real.contrib.normalize()
    assert np.isnan(theirs.update(zeros, theirs.init(zeros), None)[0]["w"]).all()


def test_the_norm_is_that_of_the_arrays_in_sight_as_in_optax():
    g = {"a": jnp.array([3.0, 4.0]), "b": jnp.array([1.0])}
    tx = optax.masked(optax.contrib.normalize(), {"a": True, "b": False})
    out, _ = tx.update(g, tx.init(g), g)
    np.testing.assert_allclose(out["a"], [0.6, 0.8], rtol=1e-15)
    np.testing.assert_array_equal(out["b"], g["b"])
