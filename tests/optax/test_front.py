"""What stands in front of an optimizer, under Optax's names: the same path as Optax's, to the last digits."""

import jax
import numpy as np
import optax as real
import pytest

import gradtx.optax as optax
from tests.optax.examples import TRANSFORMATIONS
from tests.optax.runs import make, run

pytestmark = pytest.mark.slow
NAMES = ("centralize", "zero_nans", "add_noise", "scale_by_optimistic_gradient", "optimistic_gradient_descent")


@pytest.mark.parametrize("call", [TRANSFORMATIONS[name][-1] for name in NAMES])
def test_a_path_to_the_last_digits(call):
    own, theirs = (run(make(call, module), compiled=True)[:2] for module in (optax, real))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14), own, theirs)


def test_noise_without_a_key_is_left_to_optax_which_warns():
    with pytest.warns(UserWarning, match="Specifying a key will be required"):
        optax.noisy_sgd(0.1).init(None)
