"""The updates on their way through a chain, with the formulas that are still to be applied to each array.

The rules of a chain are collected and run as one formula per array: one pass over memory, one trace per shape. Only
what looks at the whole tree makes those before it run first: a norm, a plain pair of functions, a part of Optax.
"""

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.core import Tracer

from gradtx.core import check
from gradtx.core.tree import narrowed, widened

Fields = dict[str, jax.Array]
Context = Callable[[], AbstractContextManager[None]]


class Stage(NamedTuple):
    """One rule's formula `(g, state[, p]) -> (update, fields)`, to be applied to every array with its own state."""

    formula: Callable[..., tuple[jax.Array, Fields]]
    states: list[Any]
    names: list[str]  # of the fields that it returns
    needs_params: bool
    contexts: list[Context]  # they name the rule in its errors
    after: list[Fields | None]  # what the formula returned, once it has run


class Flow:
    """A tree of updates beside its parameters, and the stages that it has yet to pass."""

    def __init__(self, updates: Any, params: Any):
        self.params = params
        self.contexts: list[Context] = []
        self.put(updates)

    def put(self, updates: Any) -> None:
        """Go on with these updates, as arrays like the parameters; None stands where there is nothing to update."""
        self.leaves, self.structure, self.weights = check.aligned(updates, self.params)
        self.pending: list[Stage] = []

    def then(
        self, formula: Callable[..., Any], states: list[Any], names: list[str], needs_params: bool
    ) -> list[Fields | None]:
        """Apply the formula to every array; the list returned is filled when that is done."""
        stage = Stage(formula, states, names, needs_params, list(self.contexts), [])
        self.pending.append(stage)
        return stage.after

    @contextmanager
    def within(self, context: Context) -> Generator[None]:
        """Errors of what is done here, and of the stages that are added here, pass through the context."""
        self.contexts.append(context)
        with context():
            yield
        self.contexts.pop()

    @property
    def tree(self) -> Any:
        """The updates as they came, whatever stages are pending: good for their structure and shapes."""
        return self.structure.unflatten(self.leaves)

    def updates(self) -> Any:
        """The updates behind all stages so far."""
        stages, self.pending = self.pending, []
        if stages:
            run = in_series(stages)
            needs_params = any(stage.needs_params for stage in stages)
            for i, g in enumerate(self.leaves):
                fields: list[Any] = [None] * len(stages)
                if g is not None:
                    p = jnp.asarray(self.weights[i]) if needs_params else None
                    self.leaves[i], fields = run(g, [stage.states[i] for stage in stages], p)
                for stage, row in zip(stages, fields, strict=True):
                    stage.after.append(row)
        return self.tree


def in_series(stages: list[Stage]) -> Callable[..., tuple[jax.Array, list[Fields]]]:
    """The stages as one function of arrays as they are stored."""

    def run(g: jax.Array, states: list[Any], p: jax.Array | None) -> tuple[jax.Array, list[Fields]]:
        u = widened(g)
        weight = None if p is None else widened(p)
        after: list[Fields] = []
        for stage, state in zip(stages, states, strict=True):
            with ExitStack() as stack:
                for context in stage.contexts:
                    stack.enter_context(context())
                rest = (weight,) if stage.needs_params else ()
                wide = jax.tree.map(computed, state)
                returned = stage.formula(u, wide, *rest)
                check.formula(u, returned, wide, stage.names)
            u, fields = returned
            after.append({name: narrowed(fields[name], getattr(state, name).dtype) for name in stage.names})
        return narrowed(u, g.dtype), after

    # Inside of a trace, arrays of one shape share one trace of the formula. Elsewhere it runs as it is written.
    return jax.jit(run) if isinstance(jax.lax.full((), 0.0), Tracer) else run


def computed(x: jax.Array) -> jax.Array:
    """A quantity of a state as a formula sees it; a count stays whole."""
    return widened(x) if check.is_inexact(x.dtype) else x


class Rule(optax.GradientTransformationExtraArgs):
    """A pair `init`, `update` that can join others: `advance` adds its stages to a flow, and returns what gives the
    new state when the flow has run.
    """

    advance: Callable[..., Callable[[], Any]]

    def __new__(cls, init: Any, advance: Callable[..., Callable[[], Any]]) -> "Rule":
        def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
            with check.named("update"):
                flow = Flow(updates, params)
                finish = advance(flow, state, **extra)
                return flow.updates(), finish()

        self = super().__new__(cls, init, update)
        self.advance = advance
        return self
