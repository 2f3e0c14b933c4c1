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


def small(seed=0, dtype=f32):
    """A matrix, a number and a None, for laws that need no more: a smaller program compiles faster."""
    whole = tree(dtype, seed)
    return {"w": whole["a"]["w"], "number": whole["list"][0], "frozen": None}


def three(dtype=f32):
    return [tree(dtype, seed) for seed in (1, 2, 3)]


@functools.partial(jax.jit, static_argnums=0)
def step(member, tx, updates, state, params):
    """One step with the transformation as an argument, as users write it."""
    return member.update(updates, state, params, tx=tx)


def run(member, params, gradients, tx=None):
    """The updates of several steps and the last state; the parameters move along."""
    tx = tx or member.tx
    state, out = tx.init(params), []
    for g in gradients:
        u, state = step(member, tx, g, state, params)
        params = gx.apply_updates(params, u)
        out.append(u)
    return out, state


def numbers(tx):
    """The hyperparameters that are numbers, or None."""
    return {path: x for path, x in gx.hyperparameters(tx).items() if not callable(x)}


def signature(state):
    return jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), state)
