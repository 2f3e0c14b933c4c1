"""The checks of one argument of a factory: a number, a flag, what else decides the form of a value."""

from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from gradtx.values.errors import Refusal
from gradtx.values.printing import excerpt
from gradtx.values.ranges import NUMBER_OR_SCHEDULE, Range, require_number
from gradtx.values.value import comparable


def as_number(name: str, value: Any, allowed: Range, what: str = NUMBER_OR_SCHEDULE) -> Any:
    """A number in its range, in a form that nothing can change later."""
    require_number(name, value, allowed, what)
    if isinstance(value, jax.Array | np.ndarray) and not isinstance(value, Tracer):
        return np.asarray(value)[()]  # no buffer that could be donated or changed later
    # An int means a real number here, as in max_norm=1; a number of steps stays exact.
    return float(value) if isinstance(value, int) and not allowed.whole else value


def check_flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise Refusal(TypeError, f"{name} must be True or False, got {type(value).__name__} {excerpt(value)}")
    return value


def check_hashable(name: str, value: Any) -> Any:
    try:
        hash(comparable(value))
    except TypeError:
        raise Refusal(TypeError, f"{name} must be hashable, got {type(value).__name__}; give a tuple") from None
    return value
