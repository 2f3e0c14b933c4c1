"""What the tests of rules of a low rank have in common: matrices of all forms, and the golden input."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import gradtx as gx
from tests.printed import GRADS_M, M, checksum

STEPS = 31
SHAPES = {"wide": (3, 5), "other": (3, 5), "tall": (5, 3), "square": (4, 4), "row": (1, 4), "column": (4, 1)}
random = np.random.default_rng(0)
GRADS: dict[str, Any] = {name: random.normal(size=(STEPS, *shape)) + 0.5 for name, shape in SHAPES.items()}
# The same two matrices once more, as a stack and as one of complex numbers.
GRADS["stack"] = np.stack([GRADS["wide"], GRADS["other"]], axis=1)
GRADS["complex"] = GRADS["wide"] + 1j * GRADS["other"]
START = {name: np.zeros(x.shape[1:], x.dtype) for name, x in GRADS.items()}


@jax.jit
def outputs_and_state(tx, grads, params):
    """What it puts out at each step, the parameters staying, and its state in the end."""

    def body(state, g):
        u, state = tx.update(g, state, params)
        return state, u

    state, out = jax.lax.scan(body, tx.init(params), grads)
    return out, state


def outputs(tx, grads, params):
    return outputs_and_state(tx, grads, params)[0]


@functools.cache
def outputs_of_all(tx):
    return jax.tree.map(np.asarray, outputs(tx, GRADS, START))


def number_of(tx, grads=GRADS_M, start=M, prepare=lambda state: state):
    """Σ k·w_k of the parameters behind golden gradients, in the order of the rows of M."""
    w, state = jnp.asarray(start), prepare(tx.init(jnp.asarray(start)))
    for g in grads:
        u, state = tx.update(jnp.asarray(g), state, w)
        w = gx.apply_updates(w, u)
    return checksum(w if w.shape == M.shape else w.T)


def assert_equal(ours, formula, tolerance=1e-10):
    """Against the formula of one matrix."""
    for name in SHAPES:
        expected = np.stack(list(formula(name)))
        assert np.ptp(expected) > 0.01, "nothing happens here"
        np.testing.assert_allclose(ours[name], expected, rtol=tolerance, atol=tolerance, err_msg=name)
