"""The updates on their way through a chain, with the formulas that are still to be applied to each array.

The rules of a chain are collected and run as one formula per array: one pass over memory, one trace per shape. Only
what looks at the whole tree makes those before it run first: a norm, a plain pair of functions, a part of Optax.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from gradtx.core import check
from gradtx.core.collectives import AXES
from gradtx.core.fusion import joins_loops, set_apart
from gradtx.core.placement import is_traced, vary_like
from gradtx.core.stage import LEFT_OUT, Fields, PartNames, Stage, compose_stages
from gradtx.core.tree import narrow, widen


class Promise:
    """Stands in a state for what is known once the flow has run."""

    def __init__(self, make: Callable[[], Any]):
        self.make = make


def is_promise(x: Any) -> bool:
    return isinstance(x, Promise)


def keep_promises(state: Any) -> Any:
    """The state with what was promised in it."""
    return jax.tree.map(lambda x: x.make() if isinstance(x, Promise) else x, state, is_leaf=is_promise)


class Flow:
    """A tree of updates beside its parameters, and the stages that it has yet to pass."""

    partial = False  # whether there may be arrays that are not in sight here
    examples_seen = False  # whether a plain pair had gradients of examples in its hands
    axis: str | None = None  # of the mesh, over which batches of matrices are spread
    pair: Any = None  # Optax's fast and slow parameters, where the updates are those of the fast ones
    leaves: list[Any]  # arrays like the parameters, None where there is nothing to update, what is `Unfit` for it

    def __init__(self, updates: Any, params: Any):
        if isinstance(params, optax.LookaheadParams) and not isinstance(updates, optax.LookaheadParams):
            self.pair, params = params, params.fast
        self.params = params
        self.name = "update"  # of the transformation that is at work, for errors
        self.place: PartNames = ()
        self.frozen: set[int] = set()  # the places whose updates are zeros from here on
        self.promised = False
        self.put(updates)

    # ---- the updates ----

    def put(self, updates: Any) -> None:
        """Go on with these updates."""
        self.leaves, self.structure, self.weights = check.align(updates, self.params)
        self.pending: list[Stage] = []
        self.leaves = vary_like(self.leaves, self.weights)
        for i in self.frozen:
            if self.leaves[i] is not None:
                self.leaves[i] = jnp.zeros_like(self.leaves[i])

    def set(self, leaves: dict[int, Any]) -> None:
        """Go on with other updates in these places."""
        for i, u in leaves.items():
            self.leaves[i] = u

    def fork(self) -> "Flow":
        """Another flow from here, with the same parameters. Nothing that happens to it is seen here: that is what a
        branch of `lax.cond` works on, whose arrays are of no use outside of it. So the stages have to have run before.
        """
        assert not self.pending, "run the stages first"
        other = Flow.__new__(Flow)
        other.params, other.name, other.place, other.pair = self.params, self.name, self.place, self.pair
        other.leaves, other.structure, other.weights = list(self.leaves), self.structure, self.weights
        other.partial, other.frozen, other.axis = self.partial, set(self.frozen), self.axis
        other.pending, other.promised = [], False
        return other

    def select(self, chosen: list[bool]) -> "Selection":
        """The flow of these arrays alone."""
        return Selection(self, chosen)

    def freeze(self) -> None:
        """Zeros for all updates from here on; None, which leaves a parameter alone too, for what is no array of
        floats.
        """
        self.set({i: None for i, u in enumerate(self.leaves) if isinstance(u, check.Unfit)})
        self.then(lambda g, row: (jnp.zeros_like(g), {}), [None] * len(self.leaves))
        self.frozen.update(i for i, u in enumerate(self.leaves) if u is not None)

    # ---- the stages ----

    def then(
        self,
        formula: Callable[..., Any],
        rows: list[Any],
        names: list[str] | None = None,
        needs_params: bool = False,
        exact: bool = False,
    ) -> list[Fields | None]:
        """Apply the formula to every array; the list returned is filled when that is done."""
        stage = self.stage(formula, rows, names, needs_params, exact)
        self.add(stage)
        return stage.results

    def stage(
        self,
        formula: Callable[..., Any],
        rows: list[Any],
        names: list[str] | None = None,
        needs_params: bool = False,
        exact: bool = False,
    ) -> Stage:
        """A stage from here on, which leaves out what has no update."""
        rows = list(rows)
        for i in [i for i, u in enumerate(self.leaves) if u is None or i in self.frozen]:
            rows[i] = LEFT_OUT
        results: list[Fields | None] = [None] * len(rows)
        return Stage(formula, rows, names or [], needs_params, self.name, self.place, AXES.value, results, exact)

    def add(self, stage: Stage) -> None:
        self.pending.append(stage)

    def promise(self, make: Callable[[], Any]) -> Promise:
        """A promise of a part of the state."""
        self.promised = True
        return Promise(make)

    def run(self, wide: bool = False, last: bool = False) -> list[Any]:
        """The arrays behind all stages so far; if `wide`, as they were computed. They are the `last` where nothing but
        what adds them to parameters reads them, so that the compiler may make all of them in one loop.
        """
        stages, self.pending = self.pending, []
        if not stages and not wide:
            return self.leaves
        compiled = is_traced()
        apart = last and compiled and joins_loops()
        programs: dict[tuple[int, ...], Any] = {}
        for i, g in enumerate(self.leaves):
            own = [stage for stage in stages if stage.rows[i] is not LEFT_OUT]
            if own:
                check.require_arrays([g])
                same = tuple(map(id, own))
                if same not in programs:
                    # Inside of a trace, arrays of one shape share one trace of the formulas. Elsewhere they run as
                    # they are written.
                    program = compose_stages(own, wide)
                    programs[same] = jax.jit(set_apart(program) if apart else program) if compiled else program
                p = jnp.asarray(self.weights[i]) if True in [stage.needs_params for stage in own] else None
                self.leaves[i], fields = programs[same](g, [stage.rows[i] for stage in own], p)
                for stage, row in zip(own, fields, strict=True):
                    stage.results[i] = row
            elif wide and isinstance(g, jax.Array):
                self.leaves[i] = widen(g)
        return self.leaves

    def wide(self) -> list[Any]:
        """The arrays behind all stages so far, as wide as they were computed; the flow goes on from them as they are
        stored.
        """
        stored = self.leaves
        arrays = [isinstance(u, jax.Array) for u in stored]
        dtypes = [u.dtype if is_array else None for u, is_array in zip(stored, arrays, strict=True)]
        for stage in self.pending:
            if stage.exact:
                for i in [i for i, row in enumerate(stage.rows) if row is not LEFT_OUT]:
                    dtypes[i] = check.promote(dtypes[i])
        wide = list(self.run(wide=True))
        self.leaves = [
            narrow(u, dtype) if is_array else u for u, dtype, is_array in zip(wide, dtypes, arrays, strict=True)
        ]
        return wide

    def settle(self, state: Any) -> Any:
        """The state with all that was promised in it, once the stages have run."""
        self.run()
        if not self.promised:
            return state
        return keep_promises(state)

    # ---- trees of what is in sight ----

    @property
    def tree(self) -> Any:
        """The updates as they came, whatever stages are pending: good for their structure and shapes."""
        return self.structure.unflatten(self.leaves)

    @property
    def own_params(self) -> Any:
        """The parameters of the arrays in sight, None for the others."""
        return None if self.params is None else self.tree_of(self.weights)

    @property
    def selector_tree(self) -> Any:
        """What selectors are asked about: the parameters, as at `init`; without them the updates."""
        came = [u.leaf if isinstance(u, check.Unfit) else u for u in self.leaves]
        return self.tree_of(came if self.params is None else self.weights)

    def tree_of(self, rows: list[Any]) -> Any:
        """A tree of these, None where there is nothing to update."""
        return self.structure.unflatten([None if u is None else x for u, x in zip(self.leaves, rows, strict=True)])

    def match(self, tree: Any, name: str) -> list[Any]:
        """Another tree's part for each leaf."""
        try:
            return self.structure.flatten_up_to(tree)
        except ValueError:
            return check.match(self.tree, tree, name)  # which says where they differ

    def widen_function(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function of all parameters as one of those in sight."""

        @functools.wraps(function, updated=())  # Optax reads in its signature which extra arguments it takes
        def of_own(params: Any, *rest: Any, **named: Any) -> Any:
            rows = self.structure.flatten_up_to(params)
            whole = [p if x is None else x for x, p in zip(rows, self.weights, strict=True)]
            return function(self.structure.unflatten(whole), *rest, **named)

        return of_own

    def updates(self, last: bool = False) -> Any:
        """The updates behind all stages so far."""
        check.require_arrays(self.run(last=last))
        return self.tree

    def updates_for_pair(self) -> Any:
        """The same for a plain function of whole trees, which may be one of Optax's that take a gradient of each
        example.
        """
        leaves = [u.leaf if isinstance(u, check.Unfit) and u.of_examples else u for u in self.run()]
        self.examples_seen |= any(isinstance(u, check.Unfit) and u.of_examples for u in self.leaves)
        check.require_arrays(leaves)
        return self.structure.unflatten(leaves)

    def outputs(self, like: Any) -> list[Any]:
        """The arrays behind all stages so far, as wide as they were computed, for each leaf of another tree."""
        leaves = self.run(wide=True)
        check.require_arrays(leaves)
        return check.match(like, self.structure.unflatten(leaves), "what a branch returned")


class Selection(Flow):
    """Some arrays of a flow, as a flow of its own: in the places of the others it holds None."""

    partial = True

    def __init__(self, whole: Flow, chosen: list[bool]):
        self.whole, self.chosen = whole, chosen
        self.params, self.structure, self.name, self.place = whole.params, whole.structure, whole.name, whole.place
        self.weights, self.frozen, self.axis = whole.weights, whole.frozen, whole.axis

    @property
    def leaves(self) -> list[Any]:  # pyright: ignore[reportIncompatibleVariableOverride]  # a view
        return [u if chosen else None for u, chosen in zip(self.whole.leaves, self.chosen, strict=True)]

    @property
    def pending(self) -> list[Stage]:  # pyright: ignore[reportIncompatibleVariableOverride]  # as above
        return self.whole.pending

    def put(self, updates: Any) -> None:
        self.run()
        rows = check.match(self.tree, updates, "what a part returned")
        own = self.structure.unflatten([u if chosen else None for u, chosen in zip(rows, self.chosen, strict=True)])
        leaves, _, _ = check.align(own, self.params)
        self.set({i: u for i, u in enumerate(leaves) if self.chosen[i] and i not in self.frozen})

    def set(self, leaves: dict[int, Any]) -> None:
        self.whole.set({i: u for i, u in leaves.items() if self.chosen[i]})  # the others are somebody else's

    def add(self, stage: Stage) -> None:
        self.whole.add(stage)

    def promise(self, make: Callable[[], Any]) -> Promise:
        return self.whole.promise(make)

    def run(self, wide: bool = False, last: bool = False) -> list[Any]:
        self.whole.run(last=last)
        return self.leaves

    def wide(self) -> list[Any]:
        return [u if chosen else None for u, chosen in zip(self.whole.wide(), self.chosen, strict=True)]


def run_flow(advance: Callable[[Flow], Any], updates: Any, params: Any) -> tuple[Any, Any]:
    """The updates behind all that is done to a flow, and the state that doing it returns."""
    flow = Flow(updates, params)
    after = advance(flow)
    return flow.updates(last=True), flow.settle(after)
