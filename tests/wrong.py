"""For every law a transformation that breaks it, and what the report says of it."""

import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

import gradtx as gx
from gradtx.core.value import register, restore
from gradtx.testing import Subject


class Sum(NamedTuple):
    total: Any


def init_zeros(params):
    return Sum(jax.tree.map(jnp.zeros_like, params))


def stateless(formula):
    """A plain pair without checks: the formula on each array."""
    return optax.stateless_with_tree_map(lambda g, p: formula(g))


def pair(init, update):
    return optax.GradientTransformation(init, lambda updates, state, params=None: update(updates, state))


def add(updates, state):
    state = Sum(jax.tree.map(jnp.add, state.total, updates))
    return state.total, state


def over_root(updates, state):
    state = Sum(jax.tree.map(lambda total, g: total + g * g, state.total, updates))
    return jax.tree.map(lambda g, total: g * jax.lax.rsqrt(total), updates, state.total), state


def to_float16(updates, state):
    return updates, jax.tree.map(lambda x: x.astype(jnp.float16), state)


def one_too_many(updates, state):
    return updates, (*state, jnp.zeros(()))


def none_to_zeros(updates, state, params=None):
    def filled(g, p):
        return jnp.zeros_like(p) if g is None and p is not None else g

    return jax.tree.map(filled, updates, params, is_leaf=lambda x: x is None), state


def joined(updates, state):
    largest = jnp.max(jnp.concatenate([jnp.ravel(x) for x in jax.tree.leaves(updates)]))
    return jax.tree.map(lambda g: g + largest, updates), state


def twice_when_traced(g):
    return 2 * g if isinstance(g, Tracer) else g


def on_the_host(x):
    return jax.pure_callback(lambda x: x, jax.ShapeDtypeStruct(x.shape, x.dtype), x)


def needing_value(updates, state, params=None, *, value):
    return updates, state


NEEDING = optax.GradientTransformation(lambda params: (), needing_value)  # pyright: ignore[reportArgumentType]
counter = itertools.count(2)
wide: Any = np.zeros((), np.int64)  # made under x64

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
class Unequal(Equal):
    def __hash__(self):
        return id(self)


def as_kind(kind, tx):
    return restore(kind, tx.recipe, tx.arguments)


# ---- what each breaks, and in which words ----


class Wrong(NamedTuple):
    law: str
    subject: Subject
    example: str
    expected: str
    got: str


def wrong(law, tx, example, expected, got, **known):
    return Wrong(law, Subject(tx, **known), example, expected, got)


F32 = "params and updates float32[]"
F64 = "params and updates float64[]"
ANY = "params and updates None"

WRONG = [
    wrong("state_keeps_its_form", pair(init_zeros, to_float16), F32,
          "state.total float32[] after init", "float16[] after an update"),
    wrong("state_keeps_its_form", pair(init_zeros, add), "params bfloat16[], updates float32[]",
          "state.total bfloat16[] after init", "float32[] after an update"),
    wrong("state_keeps_its_form", pair(lambda params: 0.0, lambda u, state: (u, jnp.float32(state + 1))), F32,
          "state float64[], weakly typed after init", "float32[] after an update"),
    wrong("state_is_at_least_float32", pair(init_zeros, add), "params and updates bfloat16[]",
          "a state of at least float32", "state.total bfloat16[]"),
    wrong("updates_leave_in_the_wider_dtype", stateless(lambda g: g.astype(jnp.float32)),
          "params and updates bfloat16[]", "updates bfloat16[]", "float32[]"),
    wrong("without_x64_the_state_keeps_its_form", pair(lambda params: wide, lambda u, state: (u, state)), F32,
          "a state of float32, 32-bit integers and bools", "state int64[]"),
    wrong("half_precision_computes_in_float32", pair(init_zeros, over_root),
          "params and updates float16[]", "in float32", "0 in float16"),
    wrong("same_arguments_same_result", stateless(lambda g: g * next(counter)), F32,
          "in the program", "when it is traced again"),
    wrong("same_arguments_same_result", stateless(lambda g: g * np.full(g.shape, next(counter), np.float32)), F32,
          "", "when it is traced again"),
    wrong("eager_jitted_and_as_written_agree", stateless(twice_when_traced), F64, "outside jit", "under jit"),
    wrong("second_call_traces_nothing", pair(lambda params: (), one_too_many), F32,
          "state[0] nothing at the first update", "float64[] at update 2, which was traced again"),
    wrong("scan_and_cond_equal_a_loop", stateless(lambda g: g if g.sum() > 0 else -g), F32,
          "no error", "TracerBoolConversionError: Attempted boolean conversion of traced array"),
    wrong("vmap_equals_one_at_a_time", stateless(on_the_host), F32, "no error", "vmap"),
    wrong("differentiates", stateless(lambda g: jnp.sqrt(0 * g)), F32,
          "finite numbers in the gradient by the updates", "nan"),
    wrong("init_aliases_nothing", pair(lambda params: Sum(params), lambda u, state: (u, state)), F32,
          "buffers of its own in a fresh state", "state.total is the buffer of params"),
    wrong("init_aliases_nothing", pair(lambda params: (x := jnp.zeros(()), x), lambda u, state: (u, state)), F32,
          "buffers of its own in a fresh state", "state[1] is the buffer of state[0]"),
    wrong("none_passes_through", optax.GradientTransformation(lambda params: (), none_to_zeros),
          "params {'frozen': None, 'moving': float32[], 'still': float32[4]}, "
          "updates {'frozen': None, 'moving': float32[], 'still': None}",
          "updates['still'] nothing like the gradients", "float32[4]"),
    wrong("integer_leaf_is_refused", optax.identity(), "params and updates {'step': int32[], 'w': float32[2]}",
          "an error of init that names ['step'] and int32", "a state, in silence"),
    wrong("wrong_shape_is_refused", pair(init_zeros, add), "params {'w': float32[3]}, updates {'w': float32[1]}",
          "an error of update that names ['w'] and (1,)", "{'w': float32[3]}, in silence"),
    wrong("zeros_stay_finite", stateless(lambda g: g / jnp.abs(g)), F32, "finite numbers in updates", "nan"),
    wrong("empty_trees_stay_empty", pair(lambda params: (), joined), "params and updates {}",
          "no error", "ValueError: Need at least one array to concatenate."),
    wrong("gradient_at_zero_is_finite", stateless(lambda g: g / (jnp.sqrt(g * g) + 1e-8)), F32,
          "finite numbers in the gradient", "nan"),
    wrong("complex_is_a_pair_of_reals", stateless(lambda g: g * g), "params and updates complex128[]",
          "as pairs", "as complex numbers"),
    wrong("value_round_trips", local(), ANY, "no error", "pickle"),
    wrong("values_differ_by_their_numbers", as_kind(Equal, gx.scale(2.0)), ANY,
          "scale(factor=5.0) to differ from scale(factor=2.0)", "equality"),
    wrong("arrays_serve_as_numbers", as_kind(Unequal, gx.scale(2.0)), ANY,
          "equal to itself, hashed and pickled", "another value"),
    wrong("hyperparameter_kinds_agree", twice_in_arrays(0.5), F32,
          "of twice_in_arrays(factor=0.5)", "of twice_in_arrays(factor=np.float32(0.5))"),
    wrong("every_hyperparameter_matters", forgotten(2.0), F32,
          "other updates with factor=0.5", "those of factor=2.0"),
    wrong("schedule_is_evaluated_at_the_count", one_step_late(2.0), F32,
          "with factor=2", "with factor=linear(start=2.0, end=1.0, steps=2) at count 0"),
    wrong("vmap_sweeps_the_numbers", from_the_host(2.0), F32, "no error", "vmap"),
    wrong("mixes_with_optax", NEEDING, F64,
          "no error", "TypeError: ", extra=lambda updates, params: dict(value=1.0)),
    wrong("chain_is_associative_with_identity", NEEDING, F32,
          "no error", "TypeError: ", extra=lambda updates, params: dict(value=1.0)),
]  # fmt: skip
