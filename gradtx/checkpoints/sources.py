"""From which entries of a flat dict the arrays of a state are taken, and which entries nothing takes."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from gradtx.checkpoints.fit import is_raw
from gradtx.checkpoints.quantities import GROUP, MEASURED, SCHEDULE, Quantity, is_for_rounding

Sources = dict[Quantity, str]


def find_sources(taken: list[Quantity], held: dict[str, Any], leaves: list[Any]) -> Sources:
    """The key in the dict for each array of the state for which there is one."""
    of_groups: dict[str, list[str]] = defaultdict(list)
    for key in held:
        of_groups[base_of(key)].append(key)
    found = {own: key for own in taken if (key := key_of_same(own, held, of_groups, leaves)) is not None}
    return found | {own: key for own in taken if own not in found and (key := key_of_count(own, held, found))}


def key_of_same(own: Quantity, held: dict[str, Any], of_groups: dict[str, list[str]], leaves: list[Any]) -> str | None:
    """The key of the array itself; of a number also that of a whole that was no partition, or of all groups where they
    agree. What one group alone has may mean something else for others, unless it is the count of updates.
    """
    if there := [name for name in own.names if name in held]:
        return there[0]
    keys = of_groups.get(own.base, [])
    if np.shape(leaves[own.index]) != ():
        return keys[0] if len(keys) == 1 and not own.groups else None
    if own.base in held:
        return own.base
    is_enough = len(keys) > (1 if own.held.clock is None else 0)
    return keys[0] if is_enough and all(are_one(own, held[key], held[keys[0]]) for key in keys) else None


def key_of_count(own: Quantity, held: dict[str, Any], found: Sources) -> str | None:
    """For a count of updates the key of another one in the same step, if these agree; else that of the windows."""
    clock = own.held.clock
    if clock is None:
        return None
    beside = [key for x, key in found.items() if x.held.clock == clock]
    around = [key for x, key in found.items() if x.held.tells == clock]
    keys = beside or around
    return keys[0] if keys and all(agree(held[key], held[keys[0]]) for key in keys) else None


def base_of(key: str) -> str:
    """The key of a group's number without its group."""
    return key.partition(GROUP)[0]


def agree(a: Any, b: Any) -> bool:
    """Whether two numbers are equal; of their shapes alone nobody can tell, nor of what `jit` traces."""
    if holds_no_value(a) or holds_no_value(b):
        return True
    if is_raw(a) or is_raw(b):  # which NumPy compares with nothing else
        return is_raw(a) and is_raw(b) and a.tobytes() == b.tobytes()
    return bool(np.array_equal(a, b))


def are_one(own: Quantity, a: Any, b: Any) -> bool:
    """Whether two groups have the same number. Counts of updates usually are; any other one, `jit` can't know."""
    traced = isinstance(a, Tracer) or isinstance(b, Tracer)
    return a is b or (agree(a, b) and (own.held.clock is not None or not traced))


def holds_no_value(x: Any) -> bool:
    return isinstance(x, jax.ShapeDtypeStruct | Tracer)


def left_over(held: dict[str, Any], found: Sources, fresh: Collection[str]) -> list[str]:
    """The keys that are nobody's, but for those that may be."""
    used = set(found.values())
    same = {base_of(key): own for own, key in found.items()}

    def may_go(key: str) -> bool:
        base = base_of(key)
        rest = base.partition("/")[2]
        is_own_count = rest == f"{SCHEDULE}/count" or is_for_rounding(base)
        if starts_anew(key, fresh) or rest.startswith(f"{MEASURED}/") or is_own_count:
            return True
        if (own := same.get(base)) is None:
            return False
        x, one = held[key], held[found[own]]  # the same number of another group
        return np.shape(x) == np.shape(one) == () and are_one(own, x, one)

    return [key for key in held if key not in used and not may_go(key)]


# ---- what starts anew ----


def starts_anew(key: str, fresh: Collection[str]) -> bool:
    """Whether a key, or what it or its base begins with, is among the names."""
    return not {*beginnings(key), *beginnings(base_of(key))}.isdisjoint(fresh)


def beginnings(key: str) -> Iterator[str]:
    """`a`, `a/b` and `a/b/c` of `a/b/c`."""
    steps = key.split("/")
    return ("/".join(steps[: i + 1]) for i in range(len(steps)))


def shortest_names(lacking: Iterable[Quantity], found: Sources) -> list[str]:
    """What the keys of the lacking begin with and those of the found do not."""
    kept = {x for own in found for x in beginnings(own.base)}
    names = (next((x for x in beginnings(own.base) if x not in kept), own.key) for own in lacking)
    return list(dict.fromkeys(names))
