"""Kin of Adam under Optax's names, in float64: eight steps, of which RAdam rectifies three."""

import numpy as np
import optax as real
import pytest

import gradtx.optax as optax
from tests.optax.runs import make
from tests.printed import fed

pytestmark = pytest.mark.slow  # formulas do not turn on versions

CALLS = [
    "adabelief(0.1, 0.8, 0.99, 1e-3, 1e-4, nesterov=True)",
    "contrib.acprop(0.1, weight_decay=0.1)",
    "adan(0.1, weight_decay=0.1)",
    "yogi(0.1, 0.8, 0.99, 1e-2)",
    "radam(0.1)",
    "radam(0.1, 0.8, 0.99, 1e-2, 1e-3, 4.5)",
    "novograd(0.1, 0.8, 0.5, 1e-2, 1e-3, 0.1)",
]


@pytest.mark.parametrize("call", CALLS)
def test_same_path(call):
    np.testing.assert_allclose(fed(make(call, optax), 8), fed(make(call, real), 8), rtol=1e-12)
