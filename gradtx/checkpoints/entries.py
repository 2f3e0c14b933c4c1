"""torch's state of each array, found by the user's map of names."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from gradtx.checkpoints.rows_of_torch import TorchGroup
from gradtx.core.paths import list_some, paths_and_leaves
from gradtx.values.errors import Refusal

TorchName = int | str  # of a parameter of torch's: its place in the optimizer, or its name there
TorchNames = Mapping[str, TorchName | tuple[TorchName, Callable[[Any], Any]]]


class Entry(NamedTuple):
    """What torch keeps for one array."""

    name: TorchName
    fields: dict[str, Any]  # NumPy arrays
    group: TorchGroup
    turn: Callable[[Any], Any]  # from the array as it lies in torch to that of the parameters


def entries_of(
    params: Any, state_dict: Mapping[str, Any], names: TorchNames, fresh: frozenset[str]
) -> dict[str, Entry]:
    """torch's state by the paths of the parameters."""
    if not isinstance(state_dict, Mapping) or not {"state", "param_groups"} <= state_dict.keys():
        got = list(state_dict) if isinstance(state_dict, Mapping) else type(state_dict).__name__
        remedy = "give what optimizer.state_dict() returns"
        raise Refusal(TypeError, f"state_dict must be a dict with state and param_groups, got {got}; {remedy}")
    if not isinstance(names, Mapping):
        remedy = "give torch's parameter for each array by its path"
        raise Refusal(TypeError, f"names must be a dict, got {type(names).__name__}; {remedy}")
    known = [path for path, x in paths_and_leaves(params) if x is not None]
    unknown = [path for path in (*names, *fresh) if path not in known]
    if unknown:
        problem = f"there is no array in params at {list_some(unknown)}"
        raise Refusal(ValueError, f"{problem}; they have {list_some(known)}")
    places = places_of_groups(state_dict["param_groups"])
    entries: dict[str, Entry] = {}
    for path, value in names.items():
        pair = value if isinstance(value, tuple) else (value, np.asarray)
        if len(pair) != 2 or not callable(pair[1]):
            problem = f"names[{path!r}] must be a name, a place, or a pair (name, function)"
            raise Refusal(TypeError, f"{problem}, got {value!r}")
        name, turn = pair
        place, group = find_place(path, name, places)
        fields = {key: as_numpy(x) for key, x in state_dict["state"].get(place, {}).items() if x is not None}
        entries[path] = Entry(name, fields, group, turn)
    require_each_once(entries, state_dict["state"], places)
    return entries


class PlaceInGroups(NamedTuple):
    place: int
    name: str | None
    group: TorchGroup


def places_of_groups(groups: list[TorchGroup]) -> list[PlaceInGroups]:
    several = [(group, group.get("param_names", [None] * len(group["params"]))) for group in groups]
    return [
        PlaceInGroups(i, name, group) for group, own in several for i, name in zip(group["params"], own, strict=True)
    ]


def find_place(path: str, name: TorchName, places: list[PlaceInGroups]) -> tuple[int, TorchGroup]:
    for one in places:
        if name in (one.place, one.name) and type(name) is not bool:
            return one.place, one.group
    own = [one.name for one in places if one.name is not None]
    known = list_some(own) if own else "no names; give places"
    problem = f"names[{path!r}] is {name!r}, which the optimizer does not have"
    raise Refusal(ValueError, f"{problem}: it has {known}, places 0 to {len(places) - 1}")


def require_each_once(entries: dict[str, Entry], state: Mapping[Any, Any], places: list[PlaceInGroups]) -> None:
    used = [find_place(path, entry.name, places)[0] for path, entry in entries.items()]
    twice = sorted({i for i in used if used.count(i) > 1})
    if twice:
        raise Refusal(ValueError, f"names has {list_some(map(str, twice))} of torch's parameters at several paths")
    left = [one for one in places if state.get(one.place) and one.place not in used]
    if left:
        words = list_some(str(one.place if one.name is None else one.name) for one in left)
        raise Refusal(ValueError, f"names lacks {words} of torch's parameters, of which the optimizer has a state")


def as_numpy(x: Any) -> Any:
    """A tensor as an array; bfloat16, which NumPy lacks, as float32. A list, as L-BFGS has them, stays one."""
    if not hasattr(x, "detach"):
        return x if isinstance(x, list) else np.asarray(x)
    x = x.detach().cpu()
    return np.asarray(x.float() if str(x.dtype) == "torch.bfloat16" else x)
