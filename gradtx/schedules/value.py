"""Schedules as values: pure functions of the step count that can be added, scaled and joined."""

import functools
from typing import Any, ParamSpec

import jax
import jax.numpy as jnp
from jax.core import Tracer

from gradtx.values.annotations import Natural, Scalar
from gradtx.values.errors import Refusal
from gradtx.values.printing import excerpt
from gradtx.values.ranges import A_NUMBER, NUMBER_OR_SCHEDULE, Range
from gradtx.values.recipe import Controlled, Operator, Recipe
from gradtx.values.value import Value, build, register

P = ParamSpec("P")


def array_of_counts(called: Value, count: Any) -> jax.Array:
    try:
        array = jnp.asarray(count)
        if jnp.issubdtype(array.dtype, jnp.integer) or jnp.issubdtype(array.dtype, jnp.floating):
            return array
    except (TypeError, ValueError):
        pass  # no array
    expected = "count must be a number of updates, or an array of such numbers"
    raise TypeError(f"{called.recipe.__name__}: {expected}, got {type(count).__name__} {excerpt(count)}")


@register
class Schedule(Value):
    """A pure function of the step count (the number of updates done so far, 0 first), and a value.

    `a * 0.1`, `a * b`, `a + b`, `1 - a` are schedules; `a.then(b, at=n)` is `a` for the steps before `n`, then `b` from
    its own step 0. The count may be an array: the schedule is then evaluated at each of its elements. Numbers of steps
    are integer leaves: `jax.grad` over a value that holds a schedule needs `allow_int=True`, or steps written as 10.0.

    >>> import gradtx, jax.numpy as jnp
    >>> rate = gradtx.warmup(1.0, 4).then(gradtx.step(1.0, 0.5, 2), at=4) * 0.1
    >>> rate
    (warmup(value=1.0, steps=4).then(step(start=1.0, factor=0.5, every=2), at=4) * 0.1)
    >>> rate(jnp.arange(8)).round(3)
    Array([0.025, 0.05 , 0.075, 0.1  , 0.1  , 0.1  , 0.05 , 0.05 ], dtype=float32)
    """

    def __call__(self, count: Any) -> jax.Array:
        count = array_of_counts(self, count)
        if jnp.issubdtype(count.dtype, jnp.integer):
            count = count.astype(jnp.result_type(int))  # an int32 would be divided in float32 even where x64 is on
        value = build(self)(count)
        return jnp.broadcast_to(jnp.asarray(value, jnp.result_type(float)), jnp.shape(count))

    def then(self, following: Scalar, *, at: Natural) -> "Schedule":
        """This schedule for the steps before `at`, then the following one, which counts from zero there."""
        return succession(self, following, at)

    def __add__(self, other: Scalar) -> "Schedule":
        return total(self, other)

    def __mul__(self, other: Scalar) -> "Schedule":
        return product(self, other)

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self) -> "Schedule":
        return self * -1.0

    def __sub__(self, other: Scalar) -> "Schedule":
        return self + -1.0 * other

    def __rsub__(self, other: Scalar) -> "Schedule":
        return -self + other


class schedule(Recipe[P, Schedule]):
    """Turns a factory of functions of the count into a factory of schedules.

    >>> import gradtx, jax.numpy as jnp
    >>> @gradtx.schedule
    ... def sine(peak: gradtx.Positive, period: gradtx.Steps):
    ...     return lambda count: peak * jnp.sin(jnp.pi * count / period) ** 2
    >>> float(sine(0.5, 100)(50))
    0.5
    """

    kind = Schedule
    number = A_NUMBER

    def check_of(self, parameter: Any) -> Any:
        check = super().check_of(parameter)

        def without_controlled(name: str, value: Any) -> Any:
            if isinstance(value, Controlled):
                remedy = "multiply the updates, chain(…, scale(controlled(1.0)))"
                raise Refusal(TypeError, f"{name} can't be controlled inside of a schedule; {remedy}")
            return check(name, value)

        return without_controlled

    def check_schedule(self, name: str, value: Any, allowed: Range) -> None:
        remedy = "schedules are put together by a.then(b, at=n), a * b, a + b and a - b"
        raise Refusal(TypeError, f"{name} must be {A_NUMBER}, got a function; {remedy}")


class schedule_operator(Operator[P, Schedule], schedule[P]):
    """A schedule made of others: here functions are welcome."""

    number = NUMBER_OR_SCHEDULE
    check_schedule = Recipe.check_schedule


def at_count(term: Any, count: Any) -> Any:
    return term(count) if callable(term) else term


@functools.partial(schedule_operator, "({} + {})")
def total(a: Scalar, b: Scalar):
    return lambda count: at_count(a, count) + at_count(b, count)


@functools.partial(schedule_operator, "({} * {})")
def product(a: Scalar, b: Scalar):
    return lambda count: at_count(a, count) * at_count(b, count)


@functools.partial(schedule_operator, "{}.then({}, at={})")
def succession(first: Scalar, following: Scalar, at: Natural):
    earlier = first.at if isinstance(first, Schedule) and first.recipe is succession else 0
    if not isinstance(at, Tracer) and not isinstance(earlier, Tracer) and at < earlier:
        raise Refusal(ValueError, f"at must not be earlier than the joint before, at={earlier}, got {at}")

    def value(count: jax.Array) -> jax.Array:
        after = jnp.maximum(count - at, 0)
        return jnp.where(count < at, at_count(first, count), at_count(following, after))

    return value
