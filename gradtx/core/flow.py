"""The updates on their way through a chain, with the formulas that are still to be applied to each array.

The rules of a chain are collected and run as one formula per array: one pass over memory, one trace per shape. Only
what looks at the whole tree makes those before it run first: a norm, a plain pair of functions, a part of Optax.
"""

import inspect
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax
from jax.core import Tracer

from gradtx.core import check
from gradtx.core.tree import narrowed, widened
from gradtx.values.errors import errors_of

Fields = dict[str, jax.Array]
Context = Callable[[], AbstractContextManager[None]]


class Stage(NamedTuple):
    """One rule's formula `(g, state[, p]) -> (update, fields)`, to be applied to each array with its own state."""

    formula: Callable[..., tuple[jax.Array, Fields]]
    states: list[Any]
    where: list[bool]  # the arrays that it is applied to
    names: list[str]  # of the fields that it returns
    needs_params: bool
    contexts: list[Context]  # they name the rule in its errors
    after: list[Fields | None]  # what the formula returned, once it has run


class Flow:
    """A tree of updates beside its parameters, and the stages that it has yet to pass."""

    partial = False  # whether there may be arrays that are not in sight here
    leaves: list[Any]  # arrays like the parameters, None where there is nothing to update, what is `Unfit` for it

    def __init__(self, updates: Any, params: Any):
        self.params = params
        self.contexts: list[Context] = []
        self.frozen: set[int] = set()  # the places whose updates are zeros from here on
        self.put(updates)

    def put(self, updates: Any) -> None:
        """Go on with these updates."""
        self.leaves, self.structure, self.weights = check.align(updates, self.params)
        self.set({i: jnp.zeros_like(u) for i, u in enumerate(self.leaves) if i in self.frozen and u is not None})
        self.pending: list[Stage] = []

    def set(self, leaves: dict[int, Any]) -> None:
        """Go on with other updates in these places."""
        for i, u in leaves.items():
            self.leaves[i] = u

    def fork(self) -> "Flow":
        """Another flow from here, with the same parameters."""
        other = Flow(None, None)
        other.leaves, other.structure = list(self.run()), self.structure
        other.weights, other.params = self.weights, self.params
        other.contexts, other.partial, other.frozen = self.contexts, self.partial, set(self.frozen)
        return other

    def part(self, chosen: list[bool]) -> "Part":
        """The flow of these arrays alone."""
        return Part(self, chosen)

    def then(
        self, formula: Callable[..., Any], states: list[Any], names: list[str], needs_params: bool
    ) -> list[Fields | None]:
        """Apply the formula to every array; the list returned is filled when that is done."""
        where = [u is not None and i not in self.frozen for i, u in enumerate(self.leaves)]
        stage = Stage(formula, states, where, names, needs_params, list(self.contexts), [])
        self.add(stage)
        return stage.after

    def add(self, stage: Stage) -> None:
        self.pending.append(stage)

    def freeze(self) -> None:
        """Zeros for all updates from here on; None, which leaves a parameter alone too, for what is no array of
        floats.
        """
        self.set({i: None for i, u in enumerate(self.leaves) if isinstance(u, check.Unfit)})
        self.then(lambda g, _: (jnp.zeros_like(g), {}), [None] * len(self.leaves), names=[], needs_params=False)
        self.frozen.update(i for i, u in enumerate(self.leaves) if u is not None)

    @contextmanager
    def branch(self) -> Generator[None]:
        """What is frozen here is not frozen elsewhere."""
        frozen = set(self.frozen)
        yield
        self.frozen.intersection_update(frozen)

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

    @property
    def own_params(self) -> Any:
        """The parameters of the arrays in sight, None for the others."""
        return None if self.params is None else self.beside(self.weights)

    @property
    def asked(self) -> Any:
        """What selectors are asked about: the parameters, as at `init`; without them the updates."""
        came = [u.leaf if isinstance(u, check.Unfit) else u for u in self.leaves]
        return self.beside(came if self.params is None else self.weights)

    def beside(self, rows: list[Any]) -> Any:
        """A tree of these, None where there is nothing to update."""
        return self.structure.unflatten([None if u is None else x for u, x in zip(self.leaves, rows, strict=True)])

    def of_all(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function of all parameters as one of those in sight."""

        def of_own(params: Any, *rest: Any, **named: Any) -> Any:
            rows = self.structure.flatten_up_to(params)
            whole = [p if x is None else x for x, p in zip(rows, self.weights, strict=True)]
            return function(self.structure.unflatten(whole), *rest, **named)

        return of_own

    def updates(self) -> Any:
        """The updates behind all stages so far."""
        check.require_arrays(self.run())
        return self.tree

    def outputs(self, like: Any) -> list[Any]:
        """The arrays behind all stages so far, as wide as they were computed, for each leaf of another tree."""
        leaves = self.run(wide=True)
        check.require_arrays(leaves)
        return check.match(like, self.structure.unflatten(leaves), "what a branch returned")

    def run(self, wide: bool = False) -> list[Any]:
        """The arrays behind all stages so far; if `wide`, as they were computed."""
        stages, self.pending = self.pending, []
        programs: dict[tuple[int, ...], Any] = {}
        for i, g in enumerate(self.leaves):
            through = tuple(k for k, stage in enumerate(stages) if stage.where[i])
            fields: list[Any] = [None] * len(stages)
            if through:
                own = [stages[k] for k in through]
                run = programs.setdefault(through, in_series(own, wide))
                p = jnp.asarray(self.weights[i]) if any(stage.needs_params for stage in own) else None
                self.leaves[i], rows = run(g, [stage.states[i] for stage in own], p)
                for k, row in zip(through, rows, strict=True):
                    fields[k] = row
            elif wide and g is not None:
                self.leaves[i] = widened(g)
            for stage, row in zip(stages, fields, strict=True):
                stage.after.append(row)
        return self.leaves


class Part(Flow):
    """Some arrays of a flow, as a flow of its own: in the places of the others it holds None."""

    partial = True

    def __init__(self, whole: Flow, chosen: list[bool]):
        self.whole, self.chosen = whole, chosen
        self.params, self.structure, self.contexts = whole.params, whole.structure, whole.contexts
        self.weights, self.frozen = whole.weights, whole.frozen

    @property
    def leaves(self) -> list[Any]:  # pyright: ignore[reportIncompatibleVariableOverride]  # a view
        return [u if chosen else None for u, chosen in zip(self.whole.leaves, self.chosen, strict=True)]

    def put(self, updates: Any) -> None:
        self.run()
        rows = check.match(self.tree, updates, "what a part returned")
        own = self.structure.unflatten([u if chosen else None for u, chosen in zip(rows, self.chosen, strict=True)])
        leaves, _, _ = check.align(own, self.params)
        self.set({i: u for i, u in enumerate(leaves) if self.chosen[i] and i not in self.frozen})

    def set(self, leaves: dict[int, Any]) -> None:
        self.whole.set(leaves)

    def add(self, stage: Stage) -> None:
        self.whole.add(stage)

    def run(self, wide: bool = False) -> list[Any]:
        self.whole.run()
        return self.leaves


def in_series(stages: list[Stage], wide: bool) -> Callable[..., tuple[jax.Array, list[Fields]]]:
    """The stages as one function of arrays as they are stored."""

    def run(g: jax.Array, states: list[Any], p: jax.Array | None) -> tuple[jax.Array, list[Fields]]:
        u = widened(g)
        weight = None if p is None else widened(p)
        after: list[Fields] = []
        for stage, state in zip(stages, states, strict=True):
            rest = (weight,) if stage.needs_params else ()
            u, fields = applied(stage, u, jax.tree.map(computed, state), *rest)
            after.append({name: narrowed(fields[name], getattr(state, name).dtype) for name in stage.names})
        return u if wide else narrowed(u, g.dtype), after

    # Inside of a trace, arrays of one shape share one trace of the formula. Elsewhere it runs as it is written.
    return jax.jit(run) if isinstance(jax.lax.full((), 0.0), Tracer) else run


def applied(stage: Stage, u: jax.Array, *arguments: Any) -> tuple[jax.Array, Fields]:
    try:
        with ExitStack() as stack:
            for context in stage.contexts:
                stack.enter_context(context())
            returned = stage.formula(u, *arguments)
            check.require_result(u, returned, arguments[0], stage.names)
            return returned
    except Exception as error:
        error.placed = True  # pyright: ignore[reportAttributeAccessIssue]  # it is on its way through other parts
        raise


def computed(x: jax.Array) -> jax.Array:
    """A quantity of a state as a formula sees it; a count stays whole."""
    return widened(x) if check.is_inexact(x.dtype) else x


class Init(Protocol):
    def __call__(self, params: Any) -> Any: ...


class Update(Protocol):
    def __call__(self, updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]: ...


class Rule(optax.GradientTransformationExtraArgs):
    """A pair `init`, `update` that can join others: `advance` adds its stages to a flow, and returns what gives the
    new state when the flow has run.
    """

    advance: Callable[..., Callable[[], Any]]
    takes_all = True  # whether every array has to be one of floats

    def __new__(cls, init: Any, advance: Callable[..., Callable[[], Any]]) -> "Rule":
        def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
            with errors_of("update"):
                flow = Flow(updates, params)
                check.require_arrays(flow.leaves)
                finish = advance(flow, state, **extra)
                return flow.updates(), finish()

        self = super().__new__(cls, init, update)
        self.advance = advance
        return self


def taking(extra: list[inspect.Parameter], advance: Any) -> Any:
    """An `advance(flow, state, **extra)` that says which extra arguments it takes."""
    own = list(inspect.signature(advance).parameters.values())[:2]
    keywords = [p if p.kind is p.VAR_KEYWORD else p.replace(kind=p.KEYWORD_ONLY) for p in extra]
    advance.__signature__ = inspect.Signature(own + keywords)
    return advance
