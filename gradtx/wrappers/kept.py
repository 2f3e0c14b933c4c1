"""Copies of the parameters that a wrapper keeps in its state."""

from typing import Any

from gradtx.core import check
from gradtx.core.flow import Flow, Promise
from gradtx.core.lift import next_column
from gradtx.core.stage import Fields


def match_kept(flow: Flow, kept: Any, name: str) -> list[Any]:
    """What is kept of each parameter; a state of other shapes than those of the updates is refused."""
    check.require_params(flow.params)
    leaves = flow.leaves
    check.require_arrays(leaves)
    column = flow.match(kept, f"the state's {name}")
    check.require_fields({name: column}, leaves, lambda u: {name: u}, lambda: flow.tree)
    return column


def promise_kept(flow: Flow, name: str, column: list[Any], results: list[Fields | None]) -> Promise:
    """What is kept of each parameter once the flow has run."""
    return flow.promise(lambda: flow.structure.unflatten(next_column(name, column, results)))
