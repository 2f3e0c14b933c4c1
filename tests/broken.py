"""Transformations with one thing wrong each."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

import gradtx as gx
from gradtx.values.value import register, restore

RIGHT = gx.scale_by_momentum(0.9)


def pair(init: Any = RIGHT.init, update: Any = RIGHT.update):
    """A plain pair that keeps the laws, but for what is given."""
    return optax.GradientTransformation(init, update)


def behind(change):
    """What is right, behind a change of each gradient."""
    return pair(update=lambda u, state, params=None: RIGHT.update(jax.tree.map(change, u), state, params))


def stateless(formula):
    """A formula, lifted as it should be."""
    tx = value(formula)
    return pair(tx.init, tx.update)


def value(formula):
    return gx.transformation(lambda: gx.stateless(formula))()


def cast(tree, dtype):
    return jax.tree.map(lambda x: x.astype(dtype), tree)


# ---- each with one thing wrong ----


def narrowing(updates, state, params=None):
    u, state = RIGHT.update(updates, state, params)
    return u, cast(state, jnp.float16)


def promoting(updates, state, params=None):  # a state in the parameters' dtype, until the first update
    u, state = RIGHT.update(updates, cast(state, jnp.float32), params)
    return u, state


def init_like_params(params):
    return jax.tree.map(lambda x, p: x.astype(p.dtype), RIGHT.init(params), gx.ScaleByMomentumState(params))


def init_on_one_device(params):
    return gx.ScaleByMomentumState(jax.tree.map(lambda p: jnp.zeros(p.shape, jnp.float32), params))


def narrow(updates, state, params=None):
    wide = jax.tree.map(lambda x: x.astype(jnp.promote_types(x.dtype, jnp.float32)), state)
    u, after = RIGHT.update(updates, wide, params)
    return u, jax.tree.map(lambda x, old: x.astype(old.dtype), after, state)


def in_own_dtype(updates, state, params=None):
    u, state = RIGHT.update(updates, state, params)
    return jax.tree.map(lambda u, g: u.astype(g.dtype), u, updates), state


def in_float64(updates, state, params=None):
    u, state = RIGHT.update(updates, state, params)
    return cast(u, jnp.float64), state


def beside(make, following=lambda x: x):
    """What is right, with a second state."""

    def update(updates, state, params=None):
        u, first = RIGHT.update(updates, state[0], params)
        return u, (first, following(state[1]))

    return pair(lambda params: (RIGHT.init(params), make(params)), update)


def master_copy(params):  # which is no copy where the dtype is wide enough
    return jax.tree.map(lambda p: p.astype(jnp.promote_types(p.dtype, jnp.float32)), params)


def one_array_twice(params):
    return (x := jnp.zeros(())), x


def none_to_zeros(updates, state, params=None):
    u, state = RIGHT.update(updates, state, params)

    def filled(u, p):
        return jnp.zeros_like(p) if u is None and p is not None else u

    whole = u if params is None else jax.tree.map(filled, u, params, is_leaf=lambda x: x is None)
    return whole, state


def no_integers(g):
    return None if jnp.issubdtype(g.dtype, jnp.integer) else g


def init_of_floats(params):
    return RIGHT.init(jax.tree.map(lambda p: jnp.asarray(p, jnp.promote_types(p.dtype, jnp.float16)), params))


def broadcasting(updates, state, params=None):
    def like(x, u):
        return u if u is None else jnp.broadcast_to(u, x.shape)

    return RIGHT.update(jax.tree.map(like, state.trace, updates, is_leaf=lambda x: x is None), state, params)


def joining(updates, state, params=None):
    total = jnp.concatenate([jnp.ravel(x) for x in jax.tree.leaves(updates)]).sum()
    u, state = RIGHT.update(updates, state, params)
    return jax.tree.map(lambda u: jnp.where(jnp.isnan(total), 0, u), u), state


def needing_value(updates, state, params=None, *, value):
    return RIGHT.update(updates, state, params)


@jax.custom_jvp
def on_the_host(x):
    return jax.pure_callback(lambda x: x, jax.ShapeDtypeStruct(x.shape, x.dtype), x)


@on_the_host.defjvp
def on_the_host_jvp(primals, tangents):
    return on_the_host(*primals), tangents[0]


def same_buffer(params):  # by another object
    return jax.tree.map(lambda p: p if isinstance(p, Tracer) else jax.device_put(p, p.sharding), params)


def turned(updates, state, params=None):  # what is held is the conjugate, which no result shows
    u, state = RIGHT.update(updates, jax.tree.map(jnp.conj, state), params)
    return u, jax.tree.map(jnp.conj, state)


def count_elements(params):
    return jnp.asarray(float(sum(x.size for x in jax.tree.leaves(params))))


def with_int(g):
    return g * jnp.asarray(2, jnp.int32)


def keeping(g):
    kept.append(g)
    return g


def from_numpy(g):
    with jax.ensure_compile_time_eval():
        return g * jnp.asarray(np.full((), 2.0, g.dtype))


kept = []
KEY = jax.random.key(0)
counter = itertools.count(2)
wide_number = np.zeros((), np.int64)

# ---- values ----


def local():
    @gx.transformation
    def hidden():
        return gx.stateless(lambda g: g)

    return hidden()


@gx.transformation
def twice_in_arrays(factor: gx.Scalar):
    return gx.stateless(lambda g: (factor if isinstance(factor, float) else 2 * factor) * g)


@gx.transformation
def forgotten(factor: gx.Scalar):
    return gx.stateless(lambda g: g)


@gx.composition
def one_step_late(factor: gx.Scalar):
    return gx.scale((lambda count: factor(count + 1)) if callable(factor) else factor)  # pyright: ignore[reportCallIssue]


@gx.composition
def second_one_late(factor: gx.Scalar, other: gx.Scalar):
    return gx.chain(gx.scale(factor), one_step_late(other))


@gx.composition
def keeping_the_count(factor: gx.Scalar):
    def factor_at(count):
        kept.append(count)
        return factor(count)  # pyright: ignore[reportCallIssue]

    return gx.scale_by_learning_rate(factor_at if callable(factor) else factor)


@gx.transformation
def from_the_host(factor: gx.Scalar):
    return gx.stateless(lambda g: on_the_host(jnp.asarray(factor, jnp.float32)).astype(g.dtype) * g)


@register
class Equal(gx.Transformation):
    def __eq__(self, other):
        return True

    __ne__ = gx.Transformation.__ne__
    __hash__ = gx.Transformation.__hash__


@register
class FromNumpy(gx.Transformation):
    def update(self, updates, state, params=None, **extra):  # outside of `jit` a transfer, inside a constant
        twice = jax.tree.map(lambda g: g * jnp.asarray(np.full((), 2.0, g.dtype)), updates)
        return super().update(twice, state, params, **extra)


@register
class Unequal(Equal):
    def __hash__(self):
        return id(self)


def as_kind(kind, tx):
    return restore(kind, tx.recipe, tx.arguments)
