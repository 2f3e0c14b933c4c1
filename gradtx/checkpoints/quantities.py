"""The quantities of a state by names that do not tell how its transformation is put together."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import optax

from gradtx.core import check
from gradtx.core.combine import Series, chain, parallel
from gradtx.core.count import ScheduledState
from gradtx.core.lift import PerArray
from gradtx.core.paths import paths_and_leaves
from gradtx.core.rule import Keys
from gradtx.core.transformation import Transformation, composed_of
from gradtx.core.walk import Node, parts_of, state_at, with_state_at
from gradtx.devices.across import across
from gradtx.devices.offload import offload
from gradtx.devices.zero import zero_redundancy
from gradtx.values.recipe import Controlled
from gradtx.values.value import arguments, text_of
from gradtx.wrappers.select import masked, only, partition

MEASURED, CONTROLLED, SCHEDULE = "measured", "controlled", "schedule"  # in the place of a field, before a number
RESERVED = (MEASURED, CONTROLLED, SCHEDULE)
IN_STEP = (chain, parallel, masked, only, partition, across, zero_redundancy, offload)
Seen = dict[str, int]  # how many parts of each name there were


class Held(NamedTuple):
    """One array that a part holds."""

    path: str  # inside of the part
    index: int  # among the leaves of the whole state
    clock: str | None  # a count of updates: all that have the same clock are equal


class Quantity(NamedTuple):
    """One array of a state."""

    key: str  # such as `scale_by_adam/mu/dense/w`
    index: int
    part: str  # what stands before the first slash
    first: str  # the key of the same number of an earlier group of a partition; else its own
    clock: str | None

    @property
    def may_be_absent(self) -> bool:
        return self.key.removeprefix(self.part + "/").startswith((MEASURED + "/", CONTROLLED + "/"))


def name_quantities(tx: Any, state: Any) -> list[Quantity]:
    """All arrays of a state, those of a part where the part stands, in the order of application."""
    leaves, structure = jax.tree.flatten(state)
    keys: set[str] = set()
    found: list[Quantity] = []
    for own in quantities_of(Node("", tx, (), structure.unflatten(range(len(leaves)))), {}, ""):
        key, n = own.key, 1
        while key in keys:  # a number that each group of a partition has
            key, n = f"{own.key}#{n + 1}", n + 1
        keys.add(key)
        found.append(own._replace(key=key))
    return found


def quantities_of(node: Node, seen: Seen, clock: str) -> Iterator[Quantity]:
    """Those of a transformation and all that it is made of, in whose state the leaves are their indices."""
    parts = parts_of(node.tx)
    own = node.state
    for part in parts.values():
        own = with_state_at(own, part.keys, None)
    if node.rule is None:
        yield from quantities_of_foreign(name_of(node.tx), own, seen)
        return
    require_own_state(node)
    yield from number_part(name_of(node.tx), list(rows_of_part(node, own, clock)), seen)
    in_step = node.tx.recipe in IN_STEP or composed_of(node.tx) is not None
    before, after = dict(seen), seen
    for name, part in parts.items():
        inside = Node(f"{node.path}.{name}", part.tx, (), state_at(node.state, part.keys))
        seen = dict(before) if node.tx.recipe is partition else after  # its groups share no array, and so the names
        yield from quantities_of(inside, seen, clock if in_step else inside.path)
        after |= {name: max(n, after.get(name, 0)) for name, n in seen.items()}


def number_part(name: str, rows: list[Held], seen: Seen) -> Iterator[Quantity]:
    """The quantities of one part, which is numbered if it is not the first of its name."""
    if rows:
        seen[name] = seen.get(name, 0) + 1
        part = name if seen[name] == 1 else f"{name}#{seen[name]}"
        for path, index, clock in rows:
            key = f"{part}/{path}" if path else part
            yield Quantity(key, index, part, key, clock)


def rows_of_part(node: Node, own: Any, clock: str) -> Iterator[Held]:
    """The arrays that a part of gradtx's itself holds."""
    rule: Any = node.rule
    values, counts, names = dict(arguments(node.tx)), set(rule.counts), dict[Keys, str]()
    for path, keys in rule.numbers.items():
        kind = CONTROLLED if isinstance(values.get(path), Controlled) else MEASURED
        names[keys] = f"{kind}/{keys[-1]}"
    names |= dict.fromkeys(rule.counts, "count")
    is_scheduled = isinstance(own, ScheduledState)
    if is_scheduled:
        counts.add(("count",))
        names["count",] = f"{SCHEDULE}/count"
    for keys, name in names.items():
        (index,) = jax.tree.leaves(state_at(own, keys))  # without what a framework has put around it
        yield Held(name, index, clock if keys in counts else None)
        own = with_state_at(own, keys, None)
    yield from rows_of_tree(own.inner_state if is_scheduled else own)


def rows_of_tree(own: Any) -> Iterator[Held]:
    """The arrays of a state by its fields."""
    measured = getattr(type(own), "only_measured", ())
    for path, index in paths_and_leaves(own):
        if index is not None:
            first = path.partition("/")[0]
            ahead = f"{MEASURED}/" if first in measured else "state/" if first in RESERVED else ""
            yield Held(ahead + path, index, None)


def require_own_state(node: Node) -> None:
    """Refuse a state of another optimizer, as far as it shows."""
    if isinstance(node.rule, PerArray):
        check.require_state(node.state, node.rule.state_type)
    if isinstance(node.rule, Series):
        check.require_states(node.state, node.rule.named or node.rule.unnamed)


def name_of(tx: Any) -> str:
    if isinstance(tx, Transformation):
        return tx.recipe.__name__
    return text_of(tx).strip("<>").rpartition(".")[2]


# ---- Optax's own ----


def quantities_of_foreign(name: str, state: Any, seen: Seen) -> Iterator[Quantity]:
    """Those of a plain pair, of whose parts all that is known is the kinds of their states."""

    def is_inside(x: Any) -> bool:
        return x is not state and is_state_of_part(x)

    if is_state_of_part(state):
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(state).__name__.removesuffix("State")).lower()
    inside = [x for x in jax.tree.leaves(state, is_leaf=is_inside) if is_inside(x)]
    own = jax.tree.map(lambda x: None if is_inside(x) else x, state, is_leaf=is_inside)
    yield from number_part(name, list(rows_of_tree(own)), seen)
    before, after = dict(seen), seen
    for part in inside:
        seen = dict(before) if isinstance(state, optax.MultiTransformState) else after
        yield from quantities_of_foreign(name, part, seen)
        after |= {name: max(n, after.get(name, 0)) for name, n in seen.items()}


def is_state_of_part(x: Any) -> bool:
    return isinstance(x, tuple) and hasattr(x, "_fields") and type(x).__name__.endswith("State")
