"""A transformation that counts how often it really runs."""

import jax

import gradtx as gx


def counted(formula=lambda updates: updates):
    """A transformation that makes of the updates what the formula does, and the list that grows with each run."""
    runs = []

    @gx.transformation
    def noted():
        def update(updates, state, params=None):
            jax.debug.callback(lambda: runs.append(1))
            return formula(updates), state

        return lambda params: (), update

    return noted(), runs
