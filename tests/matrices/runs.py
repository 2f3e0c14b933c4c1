"""Runs of a rule on random gradients."""

import jax
import jax.numpy as jnp
import numpy as np

STEPS = 30


def gradients(steps, *shape, seed=0):
    return list(np.random.default_rng(seed).normal(size=(steps, *shape)))


def gradients_of(shape, seed=0, steps=STEPS):
    return gradients(steps, *shape, seed=seed)


def outputs(tx, grads):
    """What it puts out at each step, compiled and without parameters."""
    update, state = jax.jit(tx.update), tx.init(jnp.zeros_like(grads[0]))
    out = []
    for g in grads:
        u, state = update(g, state)
        out.append(u)
    return np.stack(out)


def orthogonal(n, seed):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))[0]


def run(tx, grads, params=None):
    """What it puts out at each step, and the last state."""
    params = jax.tree.map(np.zeros_like, grads[0]) if params is None else params
    state, out = tx.init(params), []
    for g in grads:
        u, state = tx.update(g, state, params)
        out.append(u)
    return out, state


def close(ours, theirs, rtol=1e-10):
    np.testing.assert_allclose(np.stack(ours), np.stack(theirs), rtol=rtol, atol=1e-13)
