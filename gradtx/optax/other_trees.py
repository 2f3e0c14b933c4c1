"""Optax's wrappers that show a transformation the arrays in another form: all in one, or complex ones as pairs."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gradtx.core import check
from gradtx.core.collectives import require_whole_arrays
from gradtx.core.flow import Flow
from gradtx.core.rule import Part, Rule
from gradtx.core.transformation import advance, start
from gradtx.optax.borrow import optax_transformation, original
from gradtx.optax.over_any import Optimizer


def advance_shown(
    tx: Any, flow: Flow, state: Any, extra: dict[str, Any], show: Callable[[Any], Any], back: Callable[[Any, Any], Any]
) -> Any:
    """Take the flow through a transformation that sees updates and parameters as `show` makes them; the next state.
    `back(updates, like)` makes what comes out like what went in.
    """
    updates = flow.updates()
    inside = Flow(show(updates), None if flow.params is None else show(flow.own_params))
    inside.name, inside.place, inside.partial = flow.name, flow.place, flow.partial
    after = advance(tx, inside, state, extra, "inner")
    out = inside.updates()
    flow.put(back(out, updates))
    return inside.settle(after)


SHARDED_BY_JIT = "use jit, which shards them by itself"

# ---- all arrays in one ----


@optax_transformation
def flatten(inner: Optimizer):
    def advance_flat(flow: Flow, state: Any, extra: dict[str, Any]) -> Any:
        require_whole_arrays(jax.tree.leaves(flow.updates()), "a vector of all needs them whole: " + SHARDED_BY_JIT)
        return advance_shown(inner, flow, state, extra, join_arrays, split_array)

    return Rule(lambda params: start(inner, join_arrays(params)), advance_flat, parts={"inner": Part(inner, ())})


def join_arrays(tree: Any) -> jax.Array:
    """All arrays of a tree as one vector, in the widest of their dtypes."""
    arrays = [jnp.asarray(x) for x in jax.tree.leaves(check.movable(tree))]
    dtype = functools.reduce(check.promote, [x.dtype for x in arrays]) if arrays else jnp.result_type(float)
    return jnp.concatenate([jnp.zeros(0, dtype), *[x.reshape(-1).astype(dtype) for x in arrays]])


def split_array(flat: jax.Array, like: Any) -> Any:
    """A tree like another one from the vector of all its arrays."""
    leaves, structure = jax.tree.flatten(like)
    ends = np.cumsum([math.prod(x.shape) for x in leaves])[:-1].tolist()
    parts = jnp.split(flat, ends) if leaves else []
    pairs = zip(parts, leaves, strict=True)
    return structure.unflatten([to_dtype(x.reshape(y.shape), y.dtype) for x, y in pairs])


def to_dtype(x: jax.Array, dtype: Any) -> jax.Array:
    is_real = not jnp.issubdtype(dtype, jnp.complexfloating)
    return (x.real if is_real else x).astype(dtype)  # beside complex arrays a real one had no imaginary part


# ---- complex arrays as pairs ----

SPLIT = optax.contrib.SplitRealAndImaginaryState
PAIR: Any = original("split_real_and_imaginary").__globals__["SplitRealAndImaginaryArrays"]  # which is not public


@optax_transformation
def split_real_and_imaginary(inner: Optimizer):
    def advance_pairs(flow: Flow, state: Any, extra: dict[str, Any]) -> Any:
        check.require_state(state, SPLIT)
        return SPLIT(advance_shown(inner, flow, state.inner_state, extra, as_parts, join_parts))

    parts = {"inner": Part(inner, ("inner_state",))}
    return Rule(lambda params: SPLIT(start(inner, as_parts(params))), advance_pairs, parts=parts)


def as_parts(tree: Any) -> Any:
    """The tree with a pair of real arrays, as Optax has it, in the place of each complex one."""
    return jax.tree.map(lambda x: PAIR(jnp.real(x), jnp.imag(x)) if jnp.iscomplexobj(x) else x, tree)


def join_parts(tree: Any, like: Any) -> Any:
    def join(y: jax.Array, x: Any) -> jax.Array:
        return jax.lax.complex(*x).astype(y.dtype) if isinstance(x, PAIR) else x

    return jax.tree.map(join, like, tree)
