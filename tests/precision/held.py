"""Codecs for small arrays, and a few steps of a transformation."""

import jax
import jax.numpy as jnp
import numpy as np

import gradtx as gx

BIG = gx.blocks(8, 16, min_size=0)
NEAREST = gx.bfloat16(stochastic=False)
W = {"w": jnp.linspace(-1.0, 2.0, 64 * 64, dtype=jnp.float32).reshape(64, 64), "b": jnp.ones(3, jnp.float32)}


def gradients(params, seed):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: jnp.asarray(rng.standard_normal(x.shape), x.dtype), params)


def steps(tx, params, n, extra=lambda g, p: {}, state=None):
    step = jax.jit(lambda g, state, params: tx.update(g, state, params, **extra(g, params)))
    state, out = tx.init(params) if state is None else state, []
    for seed in range(n):
        u, state = step(gradients(params, seed), state, params)
        out.append(u)
    return out, state
