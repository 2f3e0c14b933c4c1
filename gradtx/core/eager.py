"""Updates outside of `jit`, as one compiled call."""

import sys
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax
from jax.core import Tracer

from gradtx.core.given import holds_no_numbers
from gradtx.values.value import Value, arguments

ARRAYS = (jax.Array, np.ndarray, np.generic, bool, int, float, complex)
SHARED = "_shared"  # where an instance keeps whether it may share a compiled call
ALONE = "_alone"  # where it keeps its own


def is_compilable(tx: Any, updates: Any, state: Any, params: Any, extra: dict[str, Any]) -> bool:
    """Whether a compiled call can take all of it: some arrays, neither tracers nor functions nor what is wrong."""
    if jax.config.jax_disable_jit:  # pyright: ignore[reportAttributeAccessIssue]  # made at run time
        return False
    given = jax.tree.leaves((updates, state, params, extra))
    if not given:
        return False  # nothing to compute; and inside of a value's own compiled call no tracer would tell where it is
    if extra and {bool, int} & set(map(type, jax.tree.leaves(extra))):
        return False  # it may be meant for Python's if
    if [x for x in given if isinstance(x, np.ndarray | np.generic) and holds_no_numbers(x)]:  # few are
        return False
    kinds = {*map(type, given), *map(type, jax.tree.leaves(tx))}
    return all(issubclass(kind, ARRAYS) and not issubclass(kind, Tracer) for kind in kinds)


def is_shareable(value: Value) -> bool:
    """Whether all that is static is plain data, so that equal structures may share a compiled call for ever."""
    if SHARED not in value.__dict__:
        inside = [x for _, x in arguments(value) if not isinstance(x, Value)]
        value.__dict__[SHARED] = not any(
            isinstance(x, optax.GradientTransformation) or (callable(x) and not is_of_a_module(x)) for x in inside
        )
    return value.__dict__[SHARED]


def is_of_a_module(function: Any) -> bool:
    """Whether a function is one of a module's, which is there for ever."""
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    return getattr(module, getattr(function, "__qualname__", ""), None) is function


def compile_alone(value: Value, run: Callable[..., Any]) -> Any:
    """The compiled call of this value alone, which goes when the value goes, with the functions that it holds."""
    if ALONE not in value.__dict__:
        value.__dict__[ALONE] = jax.jit(lambda *args: run(value, *args))
    return value.__dict__[ALONE]
