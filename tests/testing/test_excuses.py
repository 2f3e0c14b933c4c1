"""Why a law does not apply: in a sentence, and only where there is nothing to hold a transformation to."""

import pytest

import gradtx as gx
from gradtx.testing import (
    LAWS,
    Subject,
    check_transformation,
    eager_jitted_and_as_written_agree,
    half_precision_computes_in_float32,
)
from gradtx.testing.law import law
from tests.broken import pair


def test_laws_that_do_not_apply_say_why():
    laws = [law for law in LAWS if law not in (eager_jitted_and_as_written_agree, half_precision_computes_in_float32)]
    report = check_transformation(gx.identity(), elementwise=True, laws=laws)
    assert {finding.law.name: finding.excuse for finding in report.findings if finding.verdict != "held"} == {
        "state_is_at_least_float32": "its state holds no floating-point numbers",
        "init_aliases_nothing": "its state holds no arrays",
        "values_differ_by_their_numbers": "it has no numbers",
        "arrays_serve_as_numbers": "it has no numbers",
        "hyperparameter_kinds_agree": "no argument is a hyperparameter, as gradtx.Scalar makes one",
        "every_hyperparameter_matters": "no argument is a hyperparameter, as gradtx.Scalar makes one",
        "schedule_is_evaluated_at_the_count": "no argument is a hyperparameter, as gradtx.Scalar makes one",
        "vmap_sweeps_the_numbers": "it has no numbers",
    }


@pytest.mark.parametrize(
    ("name", "subject", "excuse"),
    [
        ("state_is_at_least_float32", Subject(gx.adam(0.1), copies_params=True), "it keeps copies of the parameters"),
        ("state_is_at_least_float32", Subject(gx.scale(gx.linear(1.0, 0.5, 2))), ""),  # the number in force
        ("state_is_at_least_float32", Subject(gx.every(gx.scale(0.5), 2)), "its state holds no floating-point numbers"),
        ("init_aliases_nothing", Subject(gx.every(gx.scale(0.5), 2)), ""),
        ("integer_update_is_refused", Subject(gx.chain(), selects=True),
         "it leaves some arrays alone, whatever they are"),
        ("complex_is_a_pair_of_reals", Subject(gx.conjugate(), pairs=False), "it takes a complex number for one thing"),
        ("every_hyperparameter_matters", Subject(gx.scale(2.0), unused=("factor",)),
         "none of its numbers changes its updates"),
        ("schedule_is_evaluated_at_the_count", Subject(gx.scale(2.0), own_count=True),
         "its schedules count something else than the updates"),
        ("schedule_is_evaluated_at_the_count", Subject(gx.scale(gx.linear(1.0, 0.5, 2))),
         "no argument is a hyperparameter, as gradtx.Scalar makes one"),
        ("values_differ_by_their_numbers", Subject(gx.scale(gx.linear(1.0, 0.5, 2))), ""),
        ("vmap_sweeps_the_numbers", Subject(pair()), "it is a plain pair"),
        ("init_aliases_nothing", Subject(pair(init=lambda params: 1 / 0)), ""),  # which the law reports
    ],
)  # fmt: skip
def test_an_excuse(name, subject, excuse):
    assert next(one for one in LAWS if one.name == name).excuse(subject) == excuse


def test_a_law_without_an_example_is_none():
    nothing_to_do = law(on=lambda subject: [])(lambda subject, example: None)
    with pytest.raises(ValueError, match="there is no example for it to hold on"):
        nothing_to_do(Subject(gx.identity()))
