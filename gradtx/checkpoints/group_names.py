"""The groups of partitions, by names that say nothing of where a group stands in its partition."""

import zlib
from typing import Any, NamedTuple

from gradtx.core.paths import keep, paths_and_leaves
from gradtx.core.walk import Node, parts_of
from gradtx.selectors import Selector
from gradtx.values.value import text_of


class Around(NamedTuple):
    """What is around a part."""

    clock: str = ""
    groups: tuple[str, ...] = ()  # the names of the group of a partition that it is in
    where: Selector | None = None  # what takes the arrays of this group
    params: Any = None  # those that come there, if they are known


def narrow_arrays(node: Node, place: Around) -> dict[str, Around]:
    """The places of those parts that have some of the arrays."""
    rule: Any = node.rule
    if place.params is None or rule.routes is None:
        return {}
    routes = [route for route in rule.routes(place.params) if route.part]
    return {route.part: place._replace(params=keep(place.params, route.where)) for route in routes}


def name_groups(node: Node, place: Around) -> dict[str, Around]:
    """The places of the groups of a partition, whose names say nothing of where a group stands in it."""
    own, around = narrow_arrays(node, place), place.where
    places: dict[str, Around] = {}
    before: Selector | None = None
    selectors = [where for where, _ in node.tx.arguments["rules"]]
    for name, one in zip(parts_of(node.tx), [*selectors, None], strict=False):
        where = all_of(around, one, None if before is None else ~before)
        before = one if before is None or one is None else before | one
        there = own.get(name, place)._replace(where=where)
        places[name] = there._replace(groups=names_of_group(there))
    return places


def all_of(*selectors: Selector | None) -> Selector | None:
    """What all of them take, of those that there are."""
    both: Selector | None = None
    for one in selectors:
        both = one if both is None else both if one is None else both & one
    return both


def names_of_group(place: Around) -> tuple[str, ...]:
    """A group by its arrays, if they are known, and by what takes them."""
    rows = [] if place.params is None else paths_and_leaves(place.params)
    paths = sorted(path for path, x in rows if x is not None and path)
    texts = [",".join(paths)] if paths else []
    texts.append("all" if place.where is None else text_of(place.where))
    return tuple([x if len(x) <= 80 else f"{x[:60]}…{zlib.crc32(x.encode()):08x}" for x in texts])
