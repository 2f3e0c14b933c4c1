"""The quantities of a state by names that do not tell how its transformation is put together."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jax.tree_util import tree_flatten_with_path

from gradtx.checkpoints.group_names import Around, name_groups, narrow_arrays
from gradtx.checkpoints.members import is_transparent
from gradtx.core import check
from gradtx.core.combine import Series, chain, parallel
from gradtx.core.count import ScheduledState
from gradtx.core.lift import PerArray
from gradtx.core.paths import paths_and_leaves
from gradtx.core.rule import Keys
from gradtx.core.transformation import Transformation
from gradtx.core.walk import Node, is_namedtuple, parts_of, state_at, with_state_at
from gradtx.values.errors import Refusal
from gradtx.values.printing import origin_of
from gradtx.values.recipe import Controlled
from gradtx.values.value import arguments, text_of
from gradtx.wrappers.accumulate import accumulate
from gradtx.wrappers.select import masked, only, partition

MEASURED, CONTROLLED, SCHEDULE = "measured", "controlled", "schedule"  # in the place of a field, before a number
ROUNDING = ("hold", "write_stochastically", "write_residual")
RESERVED = (MEASURED, CONTROLLED, SCHEDULE)
GROUP = "@"  # behind it stands the group of a partition whose number it is
IN_STEP = (chain, parallel, masked, only, partition)  # what hands each update to all of its parts
Seen = dict[str, int]  # how many parts of each name there were


class Kept(NamedTuple):
    """One array that a part holds."""

    path: str  # inside of the part
    index: int  # among the leaves of the whole state
    clock: str | None = None  # a count of updates: all that have the same clock are equal
    tells: str | None = None  # the clock that it has too, where no count of that clock is known


class Quantity(NamedTuple):
    """One array of a state."""

    base: str  # such as `scale_by_adam/mu/dense/w`
    held: Kept
    part: str  # what stands before the first slash
    groups: tuple[str, ...]
    names: tuple[str, ...] = ()  # the base, and with the names of its group; the first is its key

    @property
    def key(self) -> str:
        return self.names[0]

    @property
    def index(self) -> int:
        return self.held.index

    @property
    def may_be_absent(self) -> bool:
        return self.held.path.startswith((MEASURED + "/", CONTROLLED + "/")) or is_for_rounding(self.base)


def is_for_rounding(base: str) -> bool:
    """Whether it is a count on which the keys of random rounding hang, and nothing else."""
    part, _, path = base.partition("/")
    return path == "count" and part.partition("#")[0] in ROUNDING


def name_quantities(tx: Any, state: Any, params: Any = None) -> list[Quantity]:
    """All arrays of a state, those of a part where the part stands, in the order of application."""
    leaves, structure = jax.tree.flatten(state)
    whole = Node("", tx, (), structure.unflatten(range(len(leaves))))
    rows = list(quantities_of(whole, {}, Around(params=params)))
    times = Counter(own.base for own in rows)
    keys: set[str] = set()
    found: list[Quantity] = []
    for own in rows:
        of_group = tuple(f"{own.base}{GROUP}{name}" for name in own.groups)
        if times[own.base] > 1 or (is_alone(own.held.path) and np.shape(leaves[own.index]) == ()):
            once = of_group or (own.base,)
        else:  # it may be the array of a parameter, which needs no group
            once = (*of_group, own.base) if is_alone(own.held.path) else (own.base, *of_group)
        names, n = once, 1
        while names[0] in keys:  # as of parameters whose names have a slash
            names, n = tuple(f"{name}#{n + 1}" for name in once), n + 1
        keys.add(names[0])
        found.append(own._replace(names=names))
    return found


def is_alone(path: str) -> bool:
    """Whether it is a field and no array in the tree of one."""
    first, _, rest = path.partition("/")
    return not rest or (first in RESERVED and "/" not in rest)


def quantities_of(node: Node, seen: Seen, place: Around) -> Iterator[Quantity]:
    """Those of a transformation and all that it is made of, in whose state the leaves are their indices."""
    parts = parts_of(node.tx)
    if node.rule is None:
        yield from quantities_of_foreign(name_of(node.tx), node.state, seen, place)
        return
    require_own_state(node)
    own = node.state
    for part in parts.values():
        own = with_state_at(own, part.keys, None)
    yield from number_part(name_of(node.tx), list(rows_of_part(node, own, place.clock)), seen, place)
    in_step = node.tx.recipe in IN_STEP or is_transparent(node)
    places = name_groups(node, place) if node.tx.recipe is partition else narrow_arrays(node, place)
    before, after = dict(seen), seen
    for name, part in parts.items():
        inside = Node(f"{node.path}.{name}", part.tx, (), state_at(node.state, part.keys))
        there = places.get(name, place)
        seen = dict(before) if node.tx.recipe is partition else after  # its groups share no array, and so the names
        yield from quantities_of(inside, seen, there if in_step else there._replace(clock=inside.path))
        after |= {name: max(n, after.get(name, 0)) for name, n in seen.items()}


def number_part(name: str, rows: list[Kept], seen: Seen, place: Around) -> Iterator[Quantity]:
    """The quantities of one part, which is numbered if it is not the first of its name."""
    if rows:
        seen[name] = seen.get(name, 0) + 1
        part = name if seen[name] == 1 else f"{name}#{seen[name]}"
        for row in rows:
            yield Quantity(f"{part}/{row.path}" if row.path else part, row, part, place.groups)


def rows_of_part(node: Node, own: Any, clock: str) -> Iterator[Kept]:
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
        yield Kept(name, index, clock if keys in counts else None)
        own = with_state_at(own, keys, None)
    windows = f"{node.path}.tx" if node.tx.recipe is accumulate else None
    for row in rows_of_tree(own.inner_state if is_scheduled else own):
        yield row._replace(tells=windows if row.path == "count" else None)


def rows_of_tree(own: Any) -> Iterator[Kept]:
    """The arrays of a state by its fields."""
    measured = getattr(type(own), "only_measured", ())
    for path, index in paths_and_leaves(own):
        if index is not None:
            first = path.partition("/")[0]
            ahead = f"{MEASURED}/" if first in measured else "state/" if first in RESERVED else ""
            yield Kept(ahead + path, index)


def require_own_state(node: Node) -> None:
    """Refuse a state of another optimizer, as far as it shows."""
    if isinstance(node.rule, PerArray):
        check.require_state(node.state, node.rule.state_type)
    if isinstance(node.rule, Series):
        check.require_states(node.state, node.rule.named or node.rule.unnamed)
    by_index = [part for part in parts_of(node.tx).values() if part.keys and isinstance(part.keys[0], int)]
    if by_index and hasattr(node.state, "_fields"):
        got = type(node.state).__name__
        problem = f"the state is a {got}, expected a tuple of {len(by_index)}"
        raise Refusal(TypeError, f"{problem}: {origin_of(type(node.state), tuple)}")


def name_of(tx: Any) -> str:
    if isinstance(tx, Transformation):
        return tx.recipe.__name__
    return text_of(tx).strip("<>").rpartition(".")[2]


# ---- Optax's own ----


def quantities_of_foreign(name: str, state: Any, seen: Seen, place: Around) -> Iterator[Quantity]:
    """Those of a plain pair, of whose parts all that is known is the kinds of their states."""

    def is_inside(x: Any) -> bool:
        return x is not state and is_state_of_part(x)

    if is_state_of_part(state):
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(state).__name__.removesuffix("State")).lower()
    inside = [(keys, x) for keys, x in tree_flatten_with_path(state, is_leaf=is_inside)[0] if is_inside(x)]
    own = jax.tree.map(lambda x: None if is_inside(x) else x, state, is_leaf=is_inside)
    yield from number_part(name, list(rows_of_tree(own)), seen, place)
    before, after = dict(seen), seen
    for keys, part in inside:
        there = place
        if isinstance(state, optax.MultiTransformState):
            label = str(getattr(keys[1], "key", keys[1]))
            there = place._replace(groups=tuple(f"{around} & {label}" for around in place.groups) or (label,))
        seen = dict(before) if there is not place else after
        yield from quantities_of_foreign(name, part, seen, there)
        after |= {name: max(n, after.get(name, 0)) for name, n in seen.items()}


def is_state_of_part(x: Any) -> bool:
    return is_namedtuple(x) and type(x).__name__.endswith("State")
