"""Adafactor's means of rows and of columns, which torch keeps with the axis that the mean goes over."""

from typing import Any

import numpy as np

from gradtx.checkpoints.entries import Entry
from gradtx.checkpoints.fit import Source, fit
from gradtx.checkpoints.members import Member
from gradtx.core.paths import list_some, paths_and_leaves
from gradtx.optimizers.adafactor import axes_to_factor
from gradtx.values.errors import Refusal

FACTORED = ("row_var", "col_var")
WHOLE = ("variance",)
FIELDS = ("v_row", "v_col", "v")


def take_factors(
    member: Member, entries: dict[str, Entry], fresh: frozenset[str], params: Any
) -> tuple[dict[str, Any], set[tuple[str, str]]]:
    """The fields of `scale_by_factored_rms`, and which of torch's arrays are in them."""
    state, used = member.state, set[tuple[str, str]]()
    held = {name: dict(paths_and_leaves(getattr(state, name))) for name in FIELDS}
    arrays = {name: {path: x for path, x in rows.items() if x is not None} for name, rows in held.items()}
    for path, p in paths_and_leaves(params):
        if path not in arrays["v"] or path in fresh:
            continue
        axes, entry = axes_to_factor(np.shape(p), member.tx.min_dim, member.tx.dims), entries.get(path)
        names = WHOLE if axes is None else FACTORED
        if entry is None or not entry.fields.keys() >= {*names}:
            problem = (
                f"torch has no {list_some(names)} of {path}, but {list_some(entry.fields if entry else ()) or 'none'}"
            )
            remedy = "it factors the last two axes of any size, min_dim=1 and dims=(-2, -1)"
            raise Refusal(ValueError, f"{member.name}: {problem}; {remedy}")
        used |= {(path, name) for name in names}
        if axes is None:
            arrays["v"][path] = entry.turn(entry.fields["variance"])
        else:
            arrays["v_row"][path], arrays["v_col"][path] = means_along(entry, axes)
    return {
        name: fit(Source(x, f"{member.name}'s {name}"), getattr(state, name), narrow=True) for name, x in arrays.items()
    }, used


def means_along(entry: Entry, axes: tuple[int, int]) -> list[Any]:
    """The means over the largest axis and over the second one of the array as it lies here."""
    rows, cols = (entry.fields[name] for name in FACTORED)
    shape = (*rows.shape[:-1], cols.shape[-1])
    # The places along torch's last axis, over which the rows' means are.
    place = entry.turn(np.broadcast_to(np.arange(shape[-1]), shape))
    second, largest = axes
    # A last axis of one element is the second here, or as long as that.
    is_largest = shape[-1] > 1 and np.all(np.take(place, 0, second) == np.take(place, -1, second))
    over_largest, over_second = (rows, cols) if is_largest else (cols, rows)
    pairs = ((over_largest, largest), (over_second, second))
    return [np.take(entry.turn(np.broadcast_to(x, shape)), 0, axis) for x, axis in pairs]
