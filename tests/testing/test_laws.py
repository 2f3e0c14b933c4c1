"""Every law over every member of the catalogue, and what holds of the catalogue as a whole."""

import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx as gx
from gradtx.config.expression import parse
from gradtx.testing import LAWS, every_hyperparameter_matters
from gradtx.testing.laws_of_values import differ_by_numbers, round_trips
from gradtx.values.value import Value
from tests.catalogue import FIRST, SCHEDULES, TRANSFORMATIONS, is_optimizer, marks
from tests.conftest import IS_FAST

ALL = os.environ.get("GRADTX_TESTS_ALL_LAWS") == "1"
TOGETHER = 4  # laws


def is_due(i: int, j: int, is_fast: bool = IS_FAST) -> bool:
    """Whether the i-th law runs on the j-th member, with the flags that compile fast or with XLA's defaults.

    A block is under every law: two thirds of them run with the fast flags, which is how the tests usually run, and the
    others with the defaults, which `.ci/run` has on the lowest JAX. An optimizer, the first of its factory, is under
    one third with either. What is slow, and a second form, has the fast flags alone: under a third of the laws, or
    under a sixth where it has nothing of its own for wrappers and versions. Each law then has some of them, and each of
    them some laws: neighbours, which share traces and programs. That a factory hands on all of its numbers its parts
    don't show.
    """
    member, turn = TRANSFORMATIONS[j], (i // TOGETHER + j) % 6
    if ALL or (is_fast and is_optimizer(member) and not member.once and LAWS[i] is every_hyperparameter_matters):
        return True
    if is_block(member):
        return is_fast if marks(member) else (turn % 3 != 1) == is_fast
    if is_optimizer(member) and not marks(member):
        return turn % 3 == (0 if is_fast else 1)
    return is_fast and turn % (6 if member.once else 3) == 0


def is_block(member: Any) -> bool:
    """Whether it is the first of a factory that is made of no others."""
    return member in FIRST and not (member.once or is_optimizer(member))


DUE = [
    pytest.param(law, member, marks=marks(member), id=f"{law.name}-{member.tx!r}")
    for j, member in enumerate(TRANSFORMATIONS)
    for i, law in enumerate(LAWS)
    if is_due(i, j) and not law.excuse(member)
]


@pytest.mark.parametrize(("law", "member"), DUE)
def test_law(law, member):
    law(member)


def test_each_law_and_each_member_is_there_with_either_flags():
    everywhere = [param.values for param in DUE if not param.marks]
    assert {law for law, _ in everywhere} == set(LAWS)
    assert {member for _, member in everywhere} == {member for member in TRANSFORMATIONS if not marks(member)}


def test_every_pair_of_a_law_and_a_block_runs_with_one_of_the_flags():
    blocks = [j for j, member in enumerate(TRANSFORMATIONS) if is_block(member)]
    assert len(blocks) > 50
    for j in blocks:
        with_defaults = not marks(TRANSFORMATIONS[j])  # which run without what is slow
        assert all(is_due(i, j, True) or (with_defaults and is_due(i, j, False)) for i in range(len(LAWS)))


NUMBERLESS = {"it has no numbers"}
UNCHANGEABLE = {
    "no argument is a hyperparameter, as gradtx.Scalar makes one",
    "none of its numbers changes its updates",
}
EXCUSES = {
    "state_is_at_least_float32": {
        "its state holds no floating-point numbers",
        "it keeps copies of the parameters",
        "a codec says how its state is held",
    },
    "half_precision_computes_in_float32": {"its updates are what makes parameters of 16 bits others of 16 bits"},
    "init_aliases_nothing": {"its state holds no arrays"},
    "integer_update_is_refused": {"it leaves some arrays alone, whatever they are"},
    "complex_is_a_pair_of_reals": {"it takes a complex number for one thing"},
    "values_differ_by_their_numbers": NUMBERLESS,
    "arrays_serve_as_numbers": NUMBERLESS,
    "vmap_sweeps_the_numbers": NUMBERLESS,
    "hyperparameter_kinds_agree": UNCHANGEABLE,
    "every_hyperparameter_matters": UNCHANGEABLE,
    "state_lies_like_its_parameters": {"it names the axes of a mesh"},
    "parts_make_the_whole": {
        "it names the axes of a mesh",
        "it takes a function of whole arrays",
        "each device rounds its own part",
        "each device draws noise of its own",
    },
    "schedule_is_evaluated_at_the_count": {
        "no argument is a hyperparameter, as gradtx.Scalar makes one",
        "its schedules count something else than the updates",
    },
}


def test_few_laws_are_excused():
    """A member is under every law, but where there is nothing to hold it to, or where it says that it can't keep it."""
    reasons = {law.name: {law.excuse(member) for member in TRANSFORMATIONS} - {""} for law in LAWS}
    assert {name: found for name, found in reasons.items() if found} == EXCUSES


@pytest.mark.parametrize("member", TRANSFORMATIONS, ids=lambda member: repr(member.tx))
def test_an_excuse_is_true(member):
    """What an excuse says there is none of, there is none of; and it is given nowhere else."""
    params = {"w": jnp.ones((3, 4)), "number": jnp.ones(())}
    held = [np.asarray(x).dtype for x in jax.tree.leaves(member.tx.init(params))]
    floats = any(jnp.issubdtype(dtype, jnp.inexact) for dtype in held)
    fixed = not any(isinstance(x, int | float) for x in gx.hyperparameters(member.tx).values())
    expected = {
        "its state holds no arrays": not held,
        "its state holds no floating-point numbers": not floats,
        "it has no numbers": not jax.tree.leaves(member.tx),
        "no argument is a hyperparameter, as gradtx.Scalar makes one": fixed,
    }
    given = {law.excuse(member) for law in LAWS}
    assert {reason: reason in given for reason in expected} == expected


def test_catalogue_holds_every_public_factory():
    def recipes(value):
        inner = [part for x in value.arguments.values() for part in (x if type(x) is tuple else (x,))]
        return {value.recipe}.union(*(recipes(x) for x in inner if isinstance(x, Value)))

    held = set().union(*(recipes(m.tx) for m in TRANSFORMATIONS), *(recipes(s) for s in SCHEDULES))
    public = {name for name in gx.__all__ if isinstance(getattr(gx, name), gx.transformation | gx.schedule)}
    assert public - {recipe.__qualname__ for recipe in held} == set()
    assert len(public) > 60


@pytest.mark.parametrize("tx", [m.tx for m in TRANSFORMATIONS if m.printed], ids=repr)
def test_what_a_member_prints_reads_back(tx):
    other = parse(repr(tx))
    assert (other, hash(other), repr(other)) == (tx, hash(tx), repr(tx))


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_schedules_are_values(schedule):
    round_trips(schedule)
    differ_by_numbers(schedule)
