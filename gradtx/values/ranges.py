"""Which numbers a hyperparameter may be, which functions a schedule, and the wording of their errors."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from gradtx.values.errors import Refusal
from gradtx.values.printing import excerpt


@dataclass(frozen=True)
class Range:
    """The numbers that a hyperparameter may be; `ends` says whether each bound belongs to them."""

    low: float = -math.inf
    high: float = math.inf
    ends: str = "()"
    whole: bool = False
    initial: bool = field(default=False, compare=False)  # whether only `init` reads it
    least: float = field(init=False, compare=False)
    largest: float = field(init=False, compare=False)

    def __post_init__(self) -> None:
        # The least and the largest float in it, so that one comparison tells.
        least = self.low if self.ends[0] == "[" else math.nextafter(self.low, math.inf)
        largest = self.high if self.ends[1] == "]" else math.nextafter(self.high, -math.inf)
        self.__dict__.update(least=least, largest=largest)

    def __contains__(self, x: float) -> bool:
        return self.least <= x <= self.largest and not (self.whole and x % 1)  # NaN is in no range

    def __repr__(self) -> str:
        if self == Range():
            return "finite"
        return f"{'a whole number ' if self.whole else ''}in {self.ends[0]}{self.low}, {self.high}{self.ends[1]}"


A_NUMBER = "a number or a scalar array"
NUMBER_OR_SCHEDULE = "a number, a scalar array or a schedule"


def require_number(name: str, value: Any, allowed: Range, what: str = NUMBER_OR_SCHEDULE) -> None:
    """Refuse a hyperparameter that is no real scalar in its range; a traced one has no value to look at."""
    if type(value) is float and value in allowed:  # the usual case
        return
    expected = f"{name} must be {what}"
    if isinstance(value, bool) or not isinstance(value, int | float | np.generic | np.ndarray | jax.Array):
        raise Refusal(TypeError, f"{expected}, got {type(value).__name__} {excerpt(value)}")
    if np.ndim(value):
        remedy = "to run many values at once, use jax.vmap over the factory"
        raise Refusal(ValueError, f"{expected}, got an array of shape {np.shape(value)}; {remedy}")
    dtype = jnp.result_type(value)
    if not (jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer)):
        raise Refusal(TypeError, f"{expected}, got one of dtype {dtype}")
    if isinstance(value, Tracer):
        return
    try:
        x = float(value)
    except OverflowError:  # an int beyond all floats
        x = math.inf
    if x not in allowed:
        close = allowed.whole and math.isfinite(x) and abs(x) > 0.5 and round(x) in allowed
        remedy = f"; round({x!r}) is {round(x)}" if close else ""
        raise Refusal(ValueError, f"{name} must be {allowed}, got {int(x) if x.is_integer() else x!r}{remedy}")


def require_schedule(name: str, function: Callable[[Any], Any]) -> None:
    """Refuse a schedule that can't be traced or returns something else than a real scalar."""
    problem = f"the schedule given for {name} must return a real scalar"
    try:
        value = jax.eval_shape(function, jax.ShapeDtypeStruct((), jnp.int32))
    except jax.errors.JAXTypeError:
        remedy = "choose with jnp.where in place of if, and compute with jnp in place of math"
        raise Refusal(TypeError, f"the schedule given for {name} must be traceable: {remedy}") from None
    except TypeError as error:
        raise Refusal(TypeError, f"{problem}; tracing it failed: {str(error).splitlines()[0]:.200}") from None
    if not isinstance(value, jax.ShapeDtypeStruct):
        raise Refusal(TypeError, f"{problem}, got {type(value).__name__}")
    if value.shape or not (jnp.issubdtype(value.dtype, jnp.floating) or jnp.issubdtype(value.dtype, jnp.integer)):
        raise Refusal(ValueError, f"{problem}, got {value.dtype}{list(value.shape)}")
