"""Every law over every member of the catalogue, and what holds of the catalogue as a whole."""

from typing import Any

import pytest

import gradtx as gx
from gradtx.config.expression import parse
from gradtx.testing import LAWS
from gradtx.testing.laws_of_values import differ_by_numbers, round_trips
from gradtx.values.value import Value
from tests.catalogue import SCHEDULES, TRANSFORMATIONS

VALUES: list[Any] = [member.tx for member in TRANSFORMATIONS]
FIRST = {tx.recipe: member for tx, member in reversed([*zip(VALUES, TRANSFORMATIONS, strict=True)])}.values()


def marks(member):
    """What compiles for long, and further members of one factory, need not run on every version of JAX."""
    return [pytest.mark.slow] * (member.slow or member not in FIRST)


@pytest.mark.parametrize(
    ("law", "member"),
    [
        pytest.param(law, member, marks=marks(member), id=f"{law.name}-{member.tx!r}")
        for member in TRANSFORMATIONS
        for law in LAWS
        if not law.excuse(member)
    ],
)
def test_law(law, member):
    law(member)


def test_few_laws_are_excused():
    """A member is under every law, but for those that it says it can't keep."""
    excused = {law.name for member in TRANSFORMATIONS for law in LAWS if law.excuse(member)}
    assert excused == {
        "state_is_at_least_float32",
        "integer_leaf_is_refused",
        "complex_is_a_pair_of_reals",
        "schedule_is_evaluated_at_the_count",
    }


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
