"""The checks of what an author's functions return, and the wording of their errors."""

from typing import Any

import jax
import numpy as np

from gradtx.values.errors import Refusal


def require_result(before: jax.Array, returned: Any, state: Any, names: list[str]) -> None:
    """Refuse what is not `(update, fields)` with an update and fields like those that went in."""
    if not (isinstance(returned, tuple) and len(returned) == 2 and isinstance(returned[1], dict)):
        raise Refusal(TypeError, f"the formula must return (update, dict of fields), got {words_for(returned)}")
    u, after = returned
    if not isinstance(u, jax.Array) or u.shape != before.shape:
        got = f"an update of shape {u.shape}" if isinstance(u, jax.Array) else type(u).__name__
        raise Refusal(ValueError, f"the formula made {got} from one of shape {before.shape}")
    if after.keys() != set(names):
        counted = "; the count goes on by itself" if "count" in after.keys() - set(names) else ""
        raise Refusal(ValueError, f"the formula returned the fields {sorted(after)}, expected {sorted(names)}{counted}")
    for name in names:
        if np.shape(after[name]) != getattr(state, name).shape:
            shapes = f"{np.shape(after[name])}, expected {getattr(state, name).shape}"
            raise Refusal(ValueError, f"the formula returned {name} in shape {shapes}")


def require_start(fields: Any) -> dict[str, Any]:
    """Refuse what `init` of a formula returned where it is no dict of fields."""
    if not isinstance(fields, dict):
        raise Refusal(TypeError, f"init must return a dict of fields, got {words_for(fields)}")
    return fields


def require_pair(built: Any) -> Any:
    if not (isinstance(built, tuple) and len(built) == 2 and all(map(callable, built))):
        raise Refusal(TypeError, f"the factory must return a pair (init, update), got {type(built).__name__}")
    return built


def require_fields_of(state_type: Any) -> None:
    if not (isinstance(state_type, type) and hasattr(state_type, "_fields")):
        got = state_type.__name__ if isinstance(state_type, type) else type(state_type).__name__
        raise TypeError(f"per_array: state_type must be a class of NamedTuple, got {got}; init and update follow it")


def words_for(x: Any) -> str:
    """What it is, in words, two levels deep."""
    if type(x) is tuple:
        return f"a tuple of {', '.join(type_of(part) for part in x)}"
    return type_of(x)


def type_of(x: Any) -> str:
    return "an array" if isinstance(x, jax.Array) else type(x).__name__


def note_count(error: Exception, row: Any) -> None:
    """Say what is missing where a formula reads the count of a state without one, and gets the method of tuples."""
    if "count" not in getattr(row, "_fields", ("count",)) and "builtin_function_or_method" in str(error):
        remedy = "name it there, `count: Any`, and it is kept: the number of updates done so far"
        error.add_note(f"{type(row).__name__} has no field count; {remedy}")
