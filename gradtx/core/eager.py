"""Updates outside of `jit`, as one compiled call."""

import sys
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

ARRAYS = (jax.Array, np.ndarray, np.generic, bool, int, float, complex)


def compilable(tx: Any, updates: Any, state: Any, params: Any, extra: dict[str, Any]) -> bool:
    """Whether a compiled call can take all of it: some arrays, neither tracers nor functions nor what is wrong."""
    if jax.config.jax_disable_jit:  # pyright: ignore[reportAttributeAccessIssue]  # made at run time
        return False
    given = jax.tree.leaves((updates, state, params, extra))
    if not given:
        return False  # nothing to compute; and inside of a value's own compiled call no tracer would tell where it is
    if any(isinstance(x, bool | int) for x in jax.tree.leaves(extra)):
        return False  # it may be meant for Python's if
    kinds = set(map(type, given + jax.tree.leaves(tx)))
    return all(issubclass(kind, ARRAYS) and not issubclass(kind, Tracer) for kind in kinds)


def lasting(function: Any) -> bool:
    """Whether a function is one of a module's, which is there for ever."""
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    return getattr(module, getattr(function, "__qualname__", ""), None) is function


@jax.jit
def compiled_update(tx: Any, updates: Any, state: Any, params: Any, extra: dict[str, Any]) -> Any:
    return tx.update(updates, state, params, **extra)
