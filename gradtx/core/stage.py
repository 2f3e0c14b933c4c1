"""One rule's formula on its way to be applied to each array, and what applies several of them at once."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from gradtx.core import check
from gradtx.core.chunks import run_in_chunks
from gradtx.core.collectives import Axes, manual_axes
from gradtx.core.held import Held, is_held
from gradtx.core.locality import run_in_parts
from gradtx.core.returned import note_count, require_result
from gradtx.core.tree import narrow, widen
from gradtx.values.errors import Refusal

Fields = dict[str, jax.Array]
PartNames = tuple[str, ...]  # the names of parts, from the transformation that is updated down to one inside
LEFT_OUT = object()  # the row of an array to which a stage is not applied


class Stage(NamedTuple):
    """One rule's formula `(g, row[, p]) -> (update, fields)`, to be applied to each array with its own row."""

    formula: Callable[..., tuple[jax.Array, Fields]]
    rows: list[Any]  # what it is given of the state for each array, LEFT_OUT where it is not applied
    names: list[str]  # of the fields that it returns
    needs_params: bool
    name: str  # of the transformation that it belongs to, for errors
    place: PartNames
    axes: Axes | None  # over which arrays are in parts
    results: list[Fields | None]  # what the formula returned, once it has run
    exact: bool = False  # whether its update must not be narrowed: it is what makes a parameter another one to the bit


def compose_stages(stages: list[Stage], wide: bool) -> Callable[..., tuple[jax.Array, list[Fields]]]:
    """The stages as one function of arrays as they are stored."""

    def run_once(g: jax.Array, rows: list[Any], p: jax.Array | None) -> tuple[jax.Array, list[Fields]]:
        u = widen(g)
        weight = None if p is None else widen(p)
        results: list[Fields] = []
        for stage, row in zip(stages, rows, strict=True):
            u, fields = apply(stage, u, row, weight)
            stored: dict[str, Any] = {}
            for name in stage.names:
                old = getattr(row, name)
                stored[name] = old.hold(fields[name]) if type(old) is Held else narrow(fields[name], old.dtype)
            results.append(stored)
        if wide:
            return u, results
        return narrow(u, check.promote(g.dtype) if True in [stage.exact for stage in stages] else g.dtype), results

    def run(g: jax.Array, rows: list[Any], p: jax.Array | None) -> tuple[jax.Array, list[Fields]]:
        if Held in [type(x) for row in rows if isinstance(row, tuple) for x in row]:
            return run_in_chunks(run_once, g, rows, p)
        return run_once(g, rows, p)

    return run


def apply(stage: Stage, u: jax.Array, row: Any, weight: jax.Array | None) -> tuple[jax.Array, Fields]:
    if isinstance(row, tuple) and Held in map(type, row):
        row = jax.tree.map(lambda x: widen_row(x, u.dtype), row, is_leaf=is_held)
    else:
        row = jax.tree.map(widen, row)
    try:
        given = (u, row, weight) if stage.needs_params else (u, row)
        returned = run_in_parts(stage.formula, stage.axes, *given) if manual_axes() else stage.formula(*given)
        require_result(u, returned, row, stage.names)
    except Refusal as refusal:
        raise locate(refusal.kind(f"{stage.name}: {refusal}"), stage.place) from None
    except Exception as error:
        note_count(error, row)
        locate(error, stage.place)
        raise
    return returned


def widen_row(x: Any, dtype: Any) -> jax.Array:
    """An array of a state as a formula sees it; what was in codes in the dtype in which it computes."""
    return widen(x.decode()).astype(dtype) if isinstance(x, Held) else widen(x)


def locate(error: Exception, place: PartNames) -> Exception:
    """The error with the place of the part that it comes from, unless it has one."""
    if "place" not in error.__dict__:
        error.__dict__["place"] = place
    return error
