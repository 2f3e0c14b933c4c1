"""A transformation in a branch that may not be taken: what comes out has to have the form of what goes in."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gradtx.core.flow import Flow, Rule, taking
from gradtx.core.transformation import Transformation, advance, extra_for
from gradtx.values.errors import errors_of


class Branching(Rule):
    """A rule with a branch of its own, which can leave a step out there: one branch inside of another would copy what
    both pass on. Where `advance_if(flow, state, ok, **extra)` is not ok, the updates become zeros and the state stays.
    """

    advance_if: Callable[..., Callable[[], Any]]

    def __new__(cls, init: Any, advance_if: Callable[..., Callable[[], Any]]) -> "Branching":
        def always(flow: Flow, state: Any, **extra: Any) -> Callable[[], Any]:
            return advance_if(flow, state, True, **extra)

        extra = list(inspect.signature(advance_if).parameters.values())[3:]
        self: Any = super().__new__(cls, init, taking(extra, always))
        self.advance_if = advance_if
        return self


def advance_where(ok: jax.Array, tx: Any, flow: Flow, state: Any, extra: dict[str, Any]) -> Callable[[], Any]:
    """Take the flow through a transformation where it is ok; elsewhere zeros, and the state bit for bit as it was."""
    pair = tx
    while isinstance(pair, Transformation):
        pair = pair.built
    if isinstance(pair, Branching):
        with flow.within(functools.partial(errors_of, tx.recipe.__name__)):
            return pair.advance_if(flow, state, ok, **extra_for(tx, extra))
    updates = flow.updates()
    left_out = jax.tree.map(jnp.zeros_like, updates), state
    updates, after = jax.lax.cond(ok, lambda: through(tx, flow, updates, state, extra), lambda: left_out)
    flow.put(updates)
    return lambda: after


def kept(ok: Any, new: Any, old: Any) -> Any:
    """The new one where it is ok."""
    return new if ok is True else jnp.where(ok, new, old)


def through(tx: Any, flow: Flow, updates: Any, state: Any, extra: dict[str, Any]) -> tuple[Any, Any]:
    """The updates and the state behind a transformation, in the dtypes that they had."""
    with flow.branch():
        flow.put(updates)
        finish = advance(tx, flow, state, extra_for(tx, extra))
        return jax.tree.map(in_dtype, flow.updates(), updates), jax.tree.map(in_dtype, finish(), state)


def in_dtype(new: Any, old: Any) -> Any:
    return new if new.dtype == old.dtype else new.astype(old.dtype)
