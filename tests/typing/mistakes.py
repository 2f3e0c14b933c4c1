"""Mistakes that an editor must find: a type checker reports the marked lines and no others (`tests/test_typing.py`)."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

import gradtx as gx

Params = dict[str, Array]


class LastState(NamedTuple):
    last: Array


class OtherState(NamedTuple):
    other: Array


@gx.transformation
def difference(weight: gx.Scalar = 1.0):
    def init(p: Array):
        return dict(last=jnp.zeros_like(p))

    def update(g: Array, state: LastState):
        return weight * (g - state.last), dict(last=g)

    def misnamed(g: Array, state: LastState) -> tuple[Array, dict[str, Array]]:
        return g - state.lost, dict(last=g)  # mistake: no such field

    def confused(g: Array, state: OtherState):
        return g - state.other, dict(last=g)

    gx.per_array(LastState, init, misnamed)
    gx.per_array(LastState, init, confused)  # mistake: the state of another rule
    return gx.per_array(LastState, init, update)


def use(params: Params, grads: Params) -> None:
    gx.adam.init(params)  # mistake: adam is a function that makes an optimizer
    gx.adamw("no")  # mistake: no number
    gx.adamw()  # mistake: no learning rate
    gx.adamw(None)  # mistake: None where a number must stand
    gx.adamw([1e-3])  # mistake: a list
    gx.adamw(1e-3, momentum=0.9)  # mistake: an unknown keyword
    gx.adamw(1e-3, 0.9, 0.999, 1e-8, 1e-4)  # mistake: by name only
    gx.sgd(0.1, nesterov="yes")  # mistake: no bool
    gx.clip_by_norm(None)  # mistake: None where a number must stand
    gx.chain("adam")  # mistake: a name for a transformation
    gx.chain(gx.adam)  # mistake: a factory that was not called
    gx.sgd(gx.cosine)  # mistake: a schedule that was not called
    gx.sgd(gx.adam(1e-3))  # mistake: a transformation for a number
    gx.sgd(lambda: 0.1)  # mistake: a schedule without a count
    gx.sgd(lambda count: "no")  # mistake: a schedule that returns no number
    gx.cosine(0.1)  # mistake: a schedule without its steps
    gx.cosine(0.1, "100")  # mistake: no number of steps
    gx.cosine(0.1, 100).then(gx.constant(0.01))  # mistake: without at=
    rate = gx.cosine(0.1, 100) * "2"  # mistake: times a text
    gx.piecewise_constant((5,), (0.1, "x"))  # mistake: no number in a tuple
    difference("no")  # mistake: no number, in a rule of one's own
    gx.accumulate(4, gx.adam(1e-3))  # mistake: the arguments in the wrong order
    tx = gx.adam(1e-3)
    state = tx.init(params)
    updates, state, rest = tx.update(grads, state, params)  # mistake: two results
    tx.update(grads)  # mistake: no state
    gx.apply_updates(params)  # mistake: no updates
    loss: float = gx.apply_updates(params, updates)  # mistake: parameters are no number
    del rate, loss, rest
