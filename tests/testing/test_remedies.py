"""What the kit says to do about a breach: it is said where it is known, and it helps."""

import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx
from gradtx.testing import (
    LAWS,
    Broken,
    Subject,
    check_transformation,
    every_hyperparameter_matters,
    gradient_at_zero_is_finite,
    same_arguments_same_result,
    state_keeps_its_form,
    updates_leave_in_the_wider_dtype,
)
from tests.broken import behind, beside, local, pair, value
from tests.catalogue import TRANSFORMATIONS

BY_NAME = {law.name: law for law in LAWS}


def breach(law, tx, **known):
    with pytest.raises(Broken) as caught:
        law(Subject(tx, **known))
    return str(caught.value)


def test_nearly_every_law_says_what_to_do():
    """Those that don't are broken by errors, which have their own, or by classes that nobody writes."""
    assert {name for name, law in BY_NAME.items() if not law.remedy} == {
        "vmap_equals_one_at_a_time",
        "value_round_trips",
        "values_differ_by_their_numbers",
        "arrays_serve_as_numbers",
        "every_hyperparameter_matters",  # which names the number
        "mixes_with_optax",
        "chain_is_associative_with_identity",
        "no_tracer_leaks",
        "dtypes_meet_explicitly",
        "update_transfers_nothing",
        "no_nan_on_the_way",
    }


# ---- whether a rule needs the parameters ----


@gx.transformation
def decayed(rate: gx.Scalar):
    return gx.stateless(lambda g, p: g + rate * p)


@pytest.mark.parametrize(
    "tx", [decayed(0.1), optax.add_decayed_weights(0.1), gx.chain(optax.fromage(0.1))], ids=["ours", "Optax's", "chain"]
)
def test_that_a_rule_needs_the_parameters_is_found_out(tx):
    check_transformation(tx, laws=[state_keeps_its_form, updates_leave_in_the_wider_dtype]).raise_if_broken()


def test_it_is_found_out_right_of_all_members():
    found = {repr(x.tx): Subject(x.tx, x.extra).must_have_params for x in TRANSFORMATIONS}
    assert found == {repr(x.tx): x.needs_params for x in TRANSFORMATIONS}


def with_params_in_silence(updates, state, params=None):
    return jax.tree.map(lambda g, p: g + 0.1 * p, updates, params), state


def test_where_it_does_not_say_so_the_report_names_the_argument():
    tx = pair(lambda params: (), with_params_in_silence)
    line = with_params_in_silence.__code__.co_firstlineno + 1
    remedy = "; needs_params=True is for what can't do without them"
    for law in (state_keeps_its_form, updates_leave_in_the_wider_dtype):
        words = breach(law, tx)
        assert "expected no error without params, got TypeError: unsupported operand type(s) for *" in words
        assert words.endswith(f"(line {line} of test_remedies.py){remedy}")
        law(Subject(tx, needs_params=True))
        assert breach(law, decayed(0.1), needs_params=False).endswith(remedy)


# ---- a number that seems to do nothing ----


def test_a_bound_that_does_not_bind_yet_is_named():
    @gx.transformation
    def late(final: gx.Positive, start: gx.Natural = 10):
        def update(g, state):
            return jnp.where(state.count >= start, final, 1.0) * g, {}

        return gx.per_array(gx.BiasCorrectionState, lambda p: {}, update)

    words = breach(every_hyperparameter_matters, late(0.1))
    assert "expected other updates with final=0.5 within 3 steps, got those of final=0.1" in words
    assert words.endswith("; check with numbers for which it matters so early, or name it: unused=('final',)")
    check_transformation(late(0.1, 1), laws=[every_hyperparameter_matters]).raise_if_broken()
    excused = check_transformation(late(0.1), unused=("final", "start"), laws=[every_hyperparameter_matters])
    assert excused.held


# ---- errors ----


@gx.transformation
def choosing_in_python(factor: gx.Scalar):
    return gx.stateless(lambda g: factor * g if factor > 0.1 else g)


def scaled_by_a_loss(updates, state, params=None, *, value):
    return jax.tree.map(lambda g: g * value, updates), state


JNP = "compute with jnp and choose by jnp.where: what is traced can't decide in Python, nor go to NumPy or float"
EXTRA = "give the check what update takes, extra=lambda updates, params: dict(value=…)"


@pytest.mark.parametrize(
    ("law", "tx", "remedy"),
    [
        ("same_arguments_same_result", choosing_in_python(0.5), JNP),
        ("same_arguments_same_result", value(lambda g: g * float(g.sum())), JNP),
        ("same_arguments_same_result", value(lambda g: g * jnp.asarray(np.asarray(g))), JNP),
        ("same_arguments_same_result", value(lambda g: g * [1.0, 2.0][jnp.argmax(g)]), JNP),
        ("state_keeps_its_form", gx.reduce_on_plateau(), EXTRA),
        ("state_keeps_its_form", pair(lambda p: (), scaled_by_a_loss), f"{EXTRA}; chains hand it on to optax.G"),
        ("mixes_with_optax", pair(lambda p: (), scaled_by_a_loss), f"{EXTRA}; chains hand it on to optax.G"),
        ("value_round_trips", local(), "define the factory at the top of a module, not in a function"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_an_error_has_the_remedy_of_its_kind(law, tx, remedy):
    assert f"; {remedy}" in breach(BY_NAME[law], tx)


def test_an_error_says_from_where_it_comes():
    line = choosing_in_python.factory.__code__.co_firstlineno + 2
    assert f"(line {line} of test_remedies.py)" in breach(same_arguments_same_result, choosing_in_python(0.5))
    assert "(line" not in breach(state_keeps_its_form, gx.reduce_on_plateau())  # all of it is gradtx's


def test_another_error_has_no_remedy():
    def raising(*args):
        raise RuntimeError("no luck")

    tx = pair(update=raising)
    for law in (state_keeps_its_form, gradient_at_zero_is_finite, same_arguments_same_result):
        assert re.search(r"RuntimeError: no luck \(line \d+ of test_remedies.py\)$", breach(law, tx))


# ---- a remedy helps ----


def copied(params):
    return jax.tree.map(lambda p: jnp.array(p, copy=True), params)


class TwoState(NamedTuple):
    both: Any


@gx.transformation
def with_two(make: Any):
    return gx.per_array(TwoState, lambda p: dict(both=make(p)), lambda g, state: (g, state._asdict()))


SLOPE = "; jnp.sqrt, a norm or a power at 0 has no finite slope: put a small number, such as 1e-30, under the root"
HELPS = [
    ("gradient_at_zero_is_finite", value(lambda g: g / (jnp.sqrt(g**2) + 1)), value(lambda g: g / jnp.sqrt(g**2 + 1)),
     SLOPE),
    ("gradient_at_zero_is_finite", value(lambda g: g / (jnp.linalg.norm(g) + 1)),
     value(lambda g: g / jnp.sqrt(gx.total(g**2) + 1)), SLOPE),
    ("gradient_at_zero_is_finite", value(lambda g: jnp.abs(g) ** 0.5), value(lambda g: (jnp.abs(g) + 1) ** 0.5), SLOPE),
    ("zeros_stay_finite", value(lambda g: g / jnp.abs(g)), value(lambda g: g / jnp.where(g == 0, 1, jnp.abs(g))),
     "; divide by what is never zero: x + eps, or jnp.where(x == 0, 1, x)"),
    ("no_nan_on_the_way", value(lambda g: jnp.where(g == 0, 0, g / g)), value(lambda g: g / jnp.where(g == 0, 1, g)),
     "; put a safe number in by jnp.where before what divides or takes a root: one behind it comes too late"),
    ("init_aliases_nothing", beside(lambda params: params), beside(copied),
     "; make an array of its own in init, by jnp.array(x, copy=True)"),
    ("parts_make_the_whole", value(lambda g: g / g.size), value(lambda g: g / gx.total(jnp.ones_like(g))),
     "; sum by gradtx.total, and count elements by gradtx.total(jnp.ones_like(g)), for g.size is that of a part"),
    ("state_lies_like_its_parameters", with_two(lambda p: jnp.zeros((2, *p.shape))),
     with_two(lambda p: jnp.stack([jnp.zeros_like(p)] * 2)),
     "; make it like its parameter: jnp.zeros_like(p), several as jnp.stack([jnp.zeros_like(p)] * n)"),
    ("updates_leave_in_the_wider_dtype", behind(lambda g: g.astype(jnp.float16)), behind(lambda g: g),
     "; cast at the end: u.astype(jnp.promote_types(p.dtype, g.dtype)), without params g.dtype"),
]  # fmt: skip


@pytest.mark.parametrize(("law", "wrong", "right", "remedy"), HELPS, ids=lambda x: x if isinstance(x, str) else "")
def test_a_remedy_helps(law, wrong, right, remedy):
    assert breach(BY_NAME[law], wrong).endswith(remedy)
    BY_NAME[law](Subject(right))
