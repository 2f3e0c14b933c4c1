"""The laws of transformations as functions that anyone can run: `check_transformation(tx)`."""

from gradtx.testing.law import Broken, Law
from gradtx.testing.laws_of_devices import parts_make_the_whole, state_lies_like_its_parameters
from gradtx.testing.laws_of_leaves import (
    complex_is_a_pair_of_reals,
    empty_trees_stay_empty,
    gradient_at_zero_is_finite,
    init_aliases_nothing,
    integer_leaf_stays,
    integer_update_is_refused,
    none_passes_through,
    wrong_shape_is_refused,
    zeros_stay_finite,
)
from gradtx.testing.laws_of_settings import (
    dtypes_meet_explicitly,
    no_nan_on_the_way,
    no_tracer_leaks,
    update_transfers_nothing,
)
from gradtx.testing.laws_of_updates import (
    differentiates,
    eager_jitted_and_as_written_agree,
    half_precision_computes_in_float32,
    same_arguments_same_result,
    scan_and_cond_equal_a_loop,
    second_call_traces_nothing,
    state_is_at_least_float32,
    state_keeps_its_form,
    updates_leave_in_the_wider_dtype,
    vmap_equals_one_at_a_time,
    without_x64_the_state_keeps_its_form,
)
from gradtx.testing.laws_of_values import (
    arrays_serve_as_numbers,
    chain_is_associative_with_identity,
    every_hyperparameter_matters,
    hyperparameter_kinds_agree,
    mixes_with_optax,
    schedule_is_evaluated_at_the_count,
    value_round_trips,
    values_differ_by_their_numbers,
    vmap_sweeps_the_numbers,
)
from gradtx.testing.report import LAWS, QUICK, Finding, Report, check_transformation
from gradtx.testing.subject import Subject, measured, problem

__all__ = [  # noqa: RUF022  # in reading order
    "check_transformation",
    "Report",
    "Finding",
    "Broken",
    "Subject",
    "Law",
    "LAWS",
    "QUICK",
    # Extra arguments of well-known kinds
    "measured",
    "problem",
    # Laws of updates
    "state_keeps_its_form",
    "state_is_at_least_float32",
    "updates_leave_in_the_wider_dtype",
    "without_x64_the_state_keeps_its_form",
    "half_precision_computes_in_float32",
    "same_arguments_same_result",
    "eager_jitted_and_as_written_agree",
    "second_call_traces_nothing",
    "scan_and_cond_equal_a_loop",
    "vmap_equals_one_at_a_time",
    "differentiates",
    # Laws of leaves
    "init_aliases_nothing",
    "none_passes_through",
    "integer_leaf_stays",
    "integer_update_is_refused",
    "wrong_shape_is_refused",
    "zeros_stay_finite",
    "empty_trees_stay_empty",
    "gradient_at_zero_is_finite",
    "complex_is_a_pair_of_reals",
    # Laws of values
    "value_round_trips",
    "values_differ_by_their_numbers",
    "arrays_serve_as_numbers",
    "hyperparameter_kinds_agree",
    "every_hyperparameter_matters",
    "schedule_is_evaluated_at_the_count",
    "vmap_sweeps_the_numbers",
    "mixes_with_optax",
    "chain_is_associative_with_identity",
    # Laws under JAX's strict settings
    "no_tracer_leaks",
    "dtypes_meet_explicitly",
    "update_transfers_nothing",
    "no_nan_on_the_way",
    # Laws of many devices
    "state_lies_like_its_parameters",
    "parts_make_the_whole",
]
