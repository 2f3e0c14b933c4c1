"""The trees that the laws run on, and the steps that they take."""

import functools

import jax
import jax.numpy as jnp

import gradtx as gx

f32 = jnp.float32


def tree(dtype=f32, seed=0):
    """Arrays of several shapes, a 0-d and a zero-size one, and a None."""
    keys = iter(jax.random.split(jax.random.key(seed), 4))

    def normal(*shape):
        return jax.random.normal(next(keys), shape, dtype)

    return {"a": {"w": normal(3, 4), "b": normal(4)}, "frozen": None, "list": [normal(), jnp.zeros((0, 2), dtype)]}


def three(dtype=f32):
    return [tree(dtype, seed) for seed in (1, 2, 3)]


@functools.cache
def step():
    """One jitted step with the transformation as an argument, as users write it."""

    def one(tx, updates, state, params):
        return tx.update(updates, state, params)

    return jax.jit(one)


def run(tx, params, gradients):
    """The updates of several steps and the last state; the parameters move along."""
    state, out = tx.init(params), []
    for g in gradients:
        u, state = step()(tx, g, state, params)
        params = gx.apply_updates(params, u)
        out.append(u)
    return out, state


def signature(state):
    return jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), state)
