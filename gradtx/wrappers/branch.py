"""A transformation in a branch that may not be taken: what comes out has to have the form of what goes in."""

from typing import Any

import jax

from gradtx.core.flow import Flow
from gradtx.core.transformation import advance, extra_for


def through(tx: Any, flow: Flow, updates: Any, state: Any, extra: dict[str, Any]) -> tuple[Any, Any]:
    """The updates and the state behind a transformation, in the dtypes that they had."""
    flow.put(updates)
    finish = advance(tx, flow, state, extra_for(tx, extra))
    return jax.tree.map(in_dtype, flow.updates(), updates), jax.tree.map(in_dtype, finish(), state)


def in_dtype(new: Any, old: Any) -> Any:
    return new if new.dtype == old.dtype else new.astype(old.dtype)
