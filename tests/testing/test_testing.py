"""The conformance kit: each law can be broken, and the report says what is true."""

import contextlib
import dataclasses
import gc
import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import pytest

import gradtx as gx
from gradtx.testing import (
    LAWS,
    QUICK,
    Broken,
    Subject,
    check_transformation,
    complex_is_a_pair_of_reals,
    init_aliases_nothing,
    no_tracer_leaks,
    none_passes_through,
    problem,
    same_arguments_same_result,
    state_is_at_least_float32,
    state_keeps_its_form,
    value_round_trips,
    wrong_shape_is_refused,
)
from tests.broken import behind, init_like_params, pair, promoting
from tests.wrong import WRONG

BY_NAME = {law.name: law for law in LAWS}
KEEP = pair(lambda params: params, lambda updates, state, params=None: (updates, state))

# ---- each law ----


@pytest.mark.parametrize("case", WRONG, ids=lambda case: case.law)
def test_each_law_can_be_broken(case):
    if case.law == "update_transfers_nothing" and jax.__version_info__ < (0, 10):
        pytest.skip("JAX 0.7 lets these transfers pass on a CPU")
    with pytest.raises(Broken) as caught:
        BY_NAME[case.law](case.subject)
    broken = caught.value
    assert str(broken.example) == case.example
    assert case.expected in broken.expected
    assert case.got in broken.got
    words = f"on {broken.example}: expected {broken.expected}, got {broken.got}"
    assert str(broken) == (f"{words.removesuffix('.')}; {broken.remedy}" if broken.remedy else words)


def test_every_law_has_one_that_breaks_it_and_a_sentence_that_says_it():
    assert {case.law for case in WRONG} == set(BY_NAME)
    for law in LAWS:
        assert re.fullmatch(r"[A-Z`].+\.", law.statement), law
        assert repr(law) == law.name


def test_the_example_is_no_smaller_than_it_has_to_be():
    def update(updates, state, params=None):
        return jax.tree.map(lambda g: g if g.ndim < 2 else g.astype(jnp.float16), updates), state

    with pytest.raises(Broken, match=r"on params and updates float32\[3,4\]: expected updates float32"):
        BY_NAME["updates_leave_in_the_wider_dtype"](Subject(optax.GradientTransformation(lambda params: (), update)))


# ---- the report ----


def test_what_a_report_looks_like():
    report = check_transformation(KEEP, laws=[same_arguments_same_result, init_aliases_nothing, value_round_trips])
    name = report.name
    assert (
        repr(report)
        == f"""\
{name}: 1 held, 1 broken, 1 does not apply
  held            same_arguments_same_result
  broken          init_aliases_nothing
                  A fresh state shares no buffer with the parameters or with another one, and so can be donated.
                  on params and updates float32[]: expected buffers of its own in a fresh state, \
got state is the buffer of params; make an array of its own in init, by jnp.array(x, copy=True)
  does not apply  value_round_trips: it is a plain pair"""
    )
    assert (
        report._repr_markdown_()
        == f"""\
**{name}: 1 held, 1 broken, 1 does not apply**

| law | | |
| --- | --- | --- |
| same arguments same result | held |  |
| init aliases nothing | **broken** | on params and updates float32[]: expected buffers of its own in a fresh state, \
got state is the buffer of params; make an array of its own in init, by jnp.array(x, copy=True) |
| value round trips | does not apply | it is a plain pair |
"""
    )
    assert not report.held
    assert [finding.law for finding in report.broken] == [init_aliases_nothing]
    with pytest.raises(AssertionError, match="1 held, 1 broken") as caught:
        report.raise_if_broken()
    assert str(caught.value) == repr(report)


def test_a_report_without_a_breach():
    report = check_transformation(gx.scale(2.0), laws=[none_passes_through])
    assert repr(report) == "scale(factor=2.0): 1 held\n  held            none_passes_through"
    assert report.held
    assert report.broken == ()
    report.raise_if_broken()


def test_no_law_reads_a_name():
    class LastState(NamedTuple):
        grad: Any

    @gx.transformation
    def difference():
        return gx.per_array(LastState, lambda p: dict(grad=jnp.zeros_like(p)), lambda g, s: (g - s.grad, dict(grad=g)))

    check_transformation(difference(), laws=[complex_is_a_pair_of_reals]).raise_if_broken()


def test_a_law_finds_a_second_trace_that_other_laws_made_before_it():
    case = next(case for case in WRONG if case.law == "second_call_traces_nothing")
    with contextlib.suppress(Broken):
        BY_NAME["half_precision_computes_in_float32"](case.subject)  # steps, in all forms that there are
    with pytest.raises(Broken, match="which was traced again"):
        BY_NAME[case.law](case.subject)


# ---- quick ----


def test_a_quick_report_says_so():
    report = check_transformation(gx.sgd(0.1), quick=True, unused=("dampening",))
    assert report.quick
    assert tuple(finding.law for finding in report.findings) == QUICK
    assert report.title.endswith(f" (quick: {len(QUICK)} of {len(LAWS)} laws)")
    assert report._repr_markdown_().startswith(f"**{report.title}**")
    assert set(QUICK) < set(LAWS)


@pytest.mark.parametrize("case", [case for case in WRONG if BY_NAME[case.law] in QUICK], ids=lambda case: case.law)
def test_quick_finds_the_usual_breaches(case):
    known = {field.name: getattr(case.subject, field.name) for field in dataclasses.fields(case.subject)}
    report = check_transformation(**known, quick=True)
    found = [finding.broken for finding in report.broken if finding.law.name == case.law]
    assert [str(broken.example) for broken in found if broken] == [case.example]


def test_quick_and_laws_exclude_each_other():
    with pytest.raises(ValueError, match="check_transformation: quick chooses the laws itself"):
        check_transformation(KEEP, quick=True, laws=[init_aliases_nothing])


# ---- what it says is true ----


@pytest.mark.usefixtures("float32")
def test_all_laws_hold_without_x64():
    check_transformation(gx.scale_by_momentum(gx.constant(0.9)), elementwise=True).raise_if_broken()


@pytest.mark.usefixtures("float32")
def test_without_x64_no_example_has_64_bits():
    with pytest.raises(Broken) as caught:
        state_keeps_its_form(Subject(pair(init_like_params, promoting)))
    assert str(caught.value.example) == "params and updates bfloat16[]"
    with pytest.raises(Broken, match="on params and updates complex64"):
        BY_NAME["complex_is_a_pair_of_reals"](Subject(behind(jnp.conj)))


def test_optax_is_found_to_do_what_it_does():
    tx: Any = optax.adam(0.1)
    laws = [state_keeps_its_form, state_is_at_least_float32, wrong_shape_is_refused, init_aliases_nothing]
    broken = {finding.law for finding in check_transformation(tx, elementwise=True, laws=laws).broken}
    half, single = (jax.ShapeDtypeStruct((2,), dtype) for dtype in (jnp.bfloat16, jnp.float32))
    before = jax.eval_shape(tx.init, half)
    _, after = jax.eval_shape(tx.update, single, before, half)
    assert (state_keeps_its_form in broken) == (after[0].mu.dtype != before[0].mu.dtype)
    assert (state_is_at_least_float32 in broken) == (before[0].mu.dtype == jnp.bfloat16)
    accepted, _ = tx.update(jnp.ones((1, 4)), tx.init(jnp.ones((3, 4))), jnp.ones((3, 4)))
    assert (wrong_shape_is_refused in broken) == (jnp.shape(accepted) == (3, 4))
    assert init_aliases_nothing not in broken


def test_a_line_search_gets_its_loss():
    tx = gx.scale_by_zoom_linesearch(2)
    report = check_transformation(tx, extra=problem, needs_params=True, laws=[state_keeps_its_form])
    report.raise_if_broken()
    without = check_transformation(tx, needs_params=True, laws=[state_keeps_its_form])
    assert "TypeError: scale_by_zoom_linesearch: update needs value, grad, value_fn" in repr(without)


@pytest.mark.parametrize("case", WRONG[:9], ids=lambda case: case.law)
def test_nothing_of_the_configuration_is_left_changed(case):
    before = dict(jax.config.values)
    check_transformation(case.subject.tx, laws=[BY_NAME[case.law]])
    assert dict(jax.config.values) == before
    assert jnp.zeros(()).dtype == jnp.float64


# ---- what is wrong is reported, and bad input refused ----


def raising(*args):
    raise RuntimeError("no luck\nin several lines")


def test_a_transformation_that_raises_is_reported():
    for tx in (pair(update=raising), pair(init=raising)):
        report = check_transformation(tx)
        words = {finding.broken.got for finding in report.broken if finding.broken}
        (line,) = {word.removeprefix("RuntimeError: no luck ") for word in words if word.startswith("RuntimeError")}
        assert line == f"(line {raising.__code__.co_firstlineno + 1} of test_testing.py)"
        assert len(report.broken) > 10
        assert none_passes_through in [finding.law for finding in report.broken]
        assert "several lines" not in repr(report)
    with pytest.raises(Broken) as caught:
        state_keeps_its_form(Subject(pair(update=raising)))
    assert isinstance(caught.value.__cause__, RuntimeError)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (dict(tx=3), TypeError, "tx must be a transformation, got int 3"),
        (dict(tx=gx.adam), TypeError, "tx must be a transformation, got a function; call it: adam(…)"),
        (dict(tx=(raising, raising)), TypeError, "got a plain tuple; make it one with optax.GradientTransformation("),
        (dict(tx=KEEP, extra=dict(value=1.0)), TypeError, "extra must be a function, got dict; write lambda updates"),
        (dict(tx=gx.sgd(0.1), unused=("lr",)), ValueError, "unused must be a tuple of paths among ['learning_rate', "),
        (dict(tx=gx.sgd(0.1), unused="dampening"), ValueError, "got 'dampening'"),
        (dict(tx=KEEP, unused=("b1",)), ValueError, "unused must be a tuple of paths among [], got ('b1',)"),
        (dict(tx=KEEP, laws=["init"]), TypeError, "laws[0] must be a law, got str 'init'"),
        (dict(tx=KEEP, laws=init_aliases_nothing), TypeError, "laws must be a list of laws, got Law init_aliases"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_bad_input(arguments, error, message):
    with pytest.raises(error, match=re.escape("check_transformation: ") + ".*" + re.escape(message)):
        check_transformation(**arguments)


def test_a_subject_refuses_it_too():
    with pytest.raises(TypeError, match="Subject: tx must be a transformation, got int 3"):
        Subject(3)  # pyright: ignore[reportArgumentType]


# ---- what it costs ----


def test_all_laws_on_a_member_compile_few_programs():
    """Compiling is what the laws cost: a program that two of them can share is compiled once."""
    compiled = []

    def note(event: str, duration_secs: float, **rest: str | int) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(note)
    for _ in range(2):  # the second time without those of single operations, which all members share
        compiled.clear()
        laws = [law for law in LAWS if law is not no_tracer_leaks]
        check_transformation(gx.scale_by_momentum(0.9), elementwise=True, laws=laws)
    assert 5 < len(compiled) <= 22


def test_objects_that_the_program_around_set_aside_stay_so():
    def check():
        check_transformation(gx.scale(2.0), laws=[value_round_trips]).raise_if_broken()
        return gc.get_freeze_count()

    assert check()  # as tests run
    gc.unfreeze()
    try:
        assert not check()
    finally:
        gc.freeze()
