"""Optax's rules that find their rate: gradtx's are the same to the last digits, and go on in a state of Optax's."""

from typing import Any

import jax
import numpy as np
import optax as real
import pytest

import gradtx.optax as optax
from tests.optax.examples import TRANSFORMATIONS
from tests.optax.runs import PARAMS, grads, make, run

pytestmark = pytest.mark.slow

# The schedules among them have only halves and quarters: Optax computes them in float32.
NAMES = ["cocob", "dadapt_adamw", "dog", "dowg", "momo", "momo_adam", "polyak_sgd", "prodigy", "scale_by_polyak"]
CALLS = [call for name in NAMES for call in TRANSFORMATIONS[name]]


@pytest.mark.parametrize("call", CALLS)
def test_they_equal_optaxs(call):
    own, theirs = (run(make(call, module), compiled=True)[:2] for module in (optax, real))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-15), own, theirs)


@pytest.mark.parametrize("name", NAMES)
def test_a_state_of_optax_goes_on(name):
    own, theirs = (make(TRANSFORMATIONS[name][-1], module) for module in (optax, real))
    _, _, state = run(theirs, compiled=False)
    extra: dict[str, Any] = {} if name in ("cocob", "dadapt_adamw", "dog", "dowg", "prodigy") else dict(value=3.0)
    got, after = own.update(grads(7), state, PARAMS, **extra)
    expected, then = theirs.update(grads(7), state, PARAMS, **extra)
    both = (got, after), (expected, then)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-15), *both)


def test_a_momo_that_decays_is_optaxs_own():
    """Its step divides the parameters alone by 1 + αλ; gradtx's, as the authors', the step too."""
    call = "contrib.momo(weight_decay=0.1)"
    assert make(call, optax) != make("contrib.momo()", optax)
    own, theirs = (run(make(call, module), compiled=True)[0] for module in (optax, real))
    jax.tree.map(np.testing.assert_array_equal, own, theirs)
