"""Every member that has something to hold, with all its quantities in bfloat16 and in blocks of 8 bits."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

import gradtx as gx
from gradtx.core.quantity import behaviour_of
from gradtx.precision.hold import states_in
from tests.catalogue.member import Member
from tests.devices.placed import example

CODECS = {"bfloat16": gx.bfloat16(stochastic=False), "blocks": gx.blocks(8, 4, min_size=0)}


def quantities_in(tx: Any, params: Any) -> list[str]:
    """The names of the quantities that are arrays of floats like the parameters, or stacks of such."""
    state = jax.eval_shape(tx.init, params)
    found = {}
    for _, own, _ in states_in(tx, state):
        for name, tree in zip(own._fields, own, strict=True):
            arrays = jax.tree.leaves(tree)
            if behaviour_of(type(own), name).anchor:
                continue
            floats = [x for x in arrays if hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jnp.floating)]
            if len(floats) == len(arrays) and any(x.ndim for x in floats):
                found[name] = None
    return [name for name in found if name != "inner_state"]


def held_members(members: list[Member]) -> Iterator[Member]:
    params = example()
    for member in members:
        if member.value.recipe in (gx.hold, gx.offload):  # held already; offload goes around
            continue
        names = quantities_in(member.tx, params)
        for codec in CODECS.values() if names else ():
            tx = gx.hold(member.tx, **dict.fromkeys(names, codec))
            unused = tuple(path for path in gx.hyperparameters(tx) if path.removeprefix("tx.") in member.unused)
            # A search holds the conjugate of the gradient, and codes are not the same on both sides of zero.
            pairs = member.pairs and not member.slow
            yield dataclasses.replace(member, tx=tx, unused=unused, pairs=pairs, once=True)
