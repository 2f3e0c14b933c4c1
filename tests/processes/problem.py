"""What is trained over processes: a small network, and its path on one device."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

import gradtx as gx

TX = gx.chain(gx.clip_by_global_norm(0.5), gx.adamw(gx.cosine(1e-2, 20), weight_decay=0.1))
STEPS = 6  # of a whole run
SAVED = (0, 3)  # after how many of them it is saved


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


PARAMS = {
    "hidden": {"b": normal(0, 32) / 8, "w": normal(1, 16, 32) / 4},
    "out": {"b": normal(2, 8) / 8, "w": normal(3, 32, 8) / 6},
}


def batch_at(step):
    """The examples of a step, the same wherever and whenever it is done."""
    return normal(100 + step, 32, 16)


def loss(params, x):
    hidden = jnp.tanh(x @ params["hidden"]["w"] + params["hidden"]["b"][None])
    return jnp.mean((hidden @ params["out"]["w"] + params["out"]["b"][None] - jnp.sin(3.0 * x[:, :8])) ** 2)


gradient = jax.jit(jax.grad(loss))


def compile_step(tx):
    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params, state, x):
        updates, state = tx.update(jax.grad(loss)(params, x), state, params)
        return gx.apply_updates(params, updates), state

    return step


@functools.cache
def on_one_device():
    """The parameters and the state after a whole run."""
    params = jax.tree.map(jnp.asarray, PARAMS)
    state, step = TX.init(params), compile_step(TX)
    for i in range(STEPS):
        params, state = step(params, state, batch_at(i))
    return params, state
