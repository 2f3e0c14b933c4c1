"""For every law a transformation that breaks it, and what the report says of it."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

import gradtx as gx
from gradtx.testing import Subject
from tests.broken import (
    KEY,
    Equal,
    FromNumpy,
    Unequal,
    as_kind,
    behind,
    beside,
    broadcasting,
    count_elements,
    counter,
    forgotten,
    from_numpy,
    from_the_host,
    in_float64,
    in_own_dtype,
    init_like_params,
    init_of_floats,
    init_on_one_device,
    joining,
    keeping,
    keeping_the_count,
    local,
    master_copy,
    narrow,
    narrowing,
    needing_value,
    no_integers,
    none_to_zeros,
    on_the_host,
    one_array_twice,
    one_step_late,
    pair,
    promoting,
    same_buffer,
    second_one_late,
    stateless,
    turned,
    twice_in_arrays,
    value,
    wide_number,
    with_int,
)


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
IN_PARTS = "params and updates {'deep': float32[3,8,2], 'frozen': None, 'number': float32[], 'w': float32[16,3]}"

WRONG = [
    wrong("state_keeps_its_form", pair(update=narrowing), F32,
          "state.trace float32[] after init", "float16[] after an update"),
    wrong("state_keeps_its_form", pair(init_like_params, promoting), "params and updates bfloat16[]",
          "state.trace bfloat16[] after init", "float32[] after an update"),
    wrong("state_keeps_its_form", beside(lambda params: 0, lambda count: jnp.asarray(count + 1, int)), F32,
          "state[1] int64[], weakly typed after init", "int64[] after an update"),
    wrong("state_is_at_least_float32", pair(init_like_params, narrow), "params and updates bfloat16[]",
          "a state of at least float32", "state.trace bfloat16[]"),
    wrong("updates_leave_in_the_wider_dtype", pair(update=in_own_dtype), "params float32[], updates bfloat16[]",
          "updates float32[]", "bfloat16[]"),
    wrong("without_x64_the_state_keeps_its_form", beside(lambda params: wide_number), F32,
          "a state of float32, 32-bit integers and bools", "state[1] int64[]"),
    wrong("half_precision_computes_in_float32",
          behind(lambda g: jnp.clip(g, -100, 100) if g.dtype == jnp.float16 else g),
          "params and updates float16[]", "in float32", "in float16"),
    wrong("same_arguments_same_result", behind(lambda g: g * next(counter)), F32,
          "in the program", "when it is traced again"),
    wrong("same_arguments_same_result", behind(lambda g: g * np.full(g.shape, next(counter), np.float32)), F32,
          "", "when it is traced again"),
    wrong("eager_jitted_and_as_written_agree", behind(lambda g: 2 * g if isinstance(g, Tracer) else g), F64,
          "outside jit", "under jit"),
    wrong("second_call_traces_nothing", beside(lambda params: (), lambda past: (*past, jnp.zeros(()))), F32,
          "state[1][0] nothing at the first update", "float64[] at update 2, which was traced again"),
    wrong("scan_and_cond_equal_a_loop", pair(update=in_float64), F32, "no error", "TypeError: cond "),
    wrong("vmap_equals_one_at_a_time", behind(on_the_host), F32, "no error", "vmap"),
    wrong("differentiates", stateless(lambda g: jnp.sqrt(jnp.where(g == 0, 1, 0 * g))), F32,
          "finite numbers in the gradient by the updates", "nan"),
    wrong("init_aliases_nothing", beside(master_copy), F32,
          "buffers of its own in a fresh state", "state[1] is the buffer of params"),
    wrong("init_aliases_nothing", beside(one_array_twice), F32,
          "buffers of its own in a fresh state", "state[1][1] is the buffer of state[1][0]"),
    wrong("init_aliases_nothing", beside(lambda params: KEY), F32,
          "buffers of its own in a fresh state", "state[1] is the buffer of state[1] of another init"),
    wrong("init_aliases_nothing", beside(same_buffer), F32,
          "no error", "donate"),
    wrong("none_passes_through", pair(update=none_to_zeros),
          "params {'frozen': None, 'moving': float32[], 'still': float32[4]}, "
          "updates {'frozen': None, 'moving': float32[], 'still': None}",
          "updates['still'] nothing like the gradients", "float32[4]"),
    wrong("integer_leaf_stays", pair(init_of_floats), "params and updates {'step': int32[], 'w': float32[2]}",
          "state.trace['step'] nothing as without the integer", "float32[] with it"),
    wrong("integer_update_is_refused", behind(no_integers), "params and updates {'step': int32[], 'w': float32[2]}",
          "an error of update that names ['step'] and int32", "({'step': None, 'w': float32[2]}, "),
    wrong("wrong_shape_is_refused", pair(update=broadcasting), "params {'w': float32[3]}, updates {'w': float32[1]}",
          "an error of update that names ['w'] and (1,)", "{'w': float32[3]}, in silence"),
    wrong("zeros_stay_finite", stateless(lambda g: jnp.where(g == 0, jnp.nan, g)), F32,
          "finite numbers in updates", "nan"),
    wrong("empty_trees_stay_empty", pair(update=joining), "params and updates {}",
          "no error", "ValueError: Need at least one array to concatenate."),
    wrong("gradient_at_zero_is_finite", stateless(lambda g: g / (jnp.sqrt(g * g) + 1e-8)), F32,
          "finite numbers in the gradient", "nan"),
    wrong("complex_is_a_pair_of_reals", behind(jnp.conj), "params and updates complex128[]",
          "as pairs", "as complex numbers"),
    wrong("complex_is_a_pair_of_reals", pair(update=turned), "params and updates complex128[]",
          "as pairs", "as complex numbers"),
    wrong("complex_is_a_pair_of_reals", beside(count_elements), "params and updates complex128[]",
          "state[1] 2 as pairs", "1 as complex numbers"),
    wrong("value_round_trips", local(), ANY, "no error", "local object 'local"),
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
    wrong("schedule_is_evaluated_at_the_count", second_one_late(2.0, 4.0), F32,
          "with other=4", "with other=linear(start=4.0, end=2.0, steps=2) at count 0"),
    wrong("vmap_sweeps_the_numbers", from_the_host(2.0), F32, "no error", "vmap"),
    wrong("mixes_with_optax", pair(update=needing_value), F64,
          "no error", "TypeError: ", extra=lambda updates, params: dict(value=1.0)),
    wrong("chain_is_associative_with_identity", pair(update=needing_value), F32,
          "no error", "TypeError: ", extra=lambda updates, params: dict(value=1.0)),
    wrong("no_tracer_leaks", behind(keeping), F32,
          "no error", "Leaked trace"),
    wrong("no_tracer_leaks", keeping_the_count(0.5), F32,
          "no error with schedules for its numbers", "Leaked trace"),
    wrong("dtypes_meet_explicitly", behind(with_int), F32,
          "no error", "TypePromotionError"),
    wrong("update_transfers_nothing", behind(from_numpy), F64,
          "no error", "Disallowed host-to-device transfer"),
    wrong("update_transfers_nothing", as_kind(FromNumpy, gx.scale(2.0)), F64,
          "no error", "Disallowed host-to-device transfer"),
    wrong("no_nan_on_the_way", stateless(lambda g: jnp.where(g == 0, 0.0, g * (g / g))), F64,
          "no error", "FloatingPointError: invalid value (nan) encountered in div"),
    wrong("state_lies_like_its_parameters", pair(init_on_one_device), IN_PARTS,
          "state.trace['deep'] under auto axes, after init", "SingleDeviceSharding(device="),
    wrong("parts_make_the_whole", value(lambda g: g / g.size), IN_PARTS,
          "on the whole", "on the parts, across"),
    wrong("parts_make_the_whole", value(lambda g: g / jnp.linalg.norm(g)), IN_PARTS,
          "no error", "it takes sums on each device alone of an array that differs along data"),
]  # fmt: skip
