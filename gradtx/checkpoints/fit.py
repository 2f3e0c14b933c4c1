"""Arrays that come from elsewhere, laid into the places of a state."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from gradtx.core.check import is_none
from gradtx.core.paths import list_some, paths_and_leaves
from gradtx.values.errors import Refusal

WITHOUT_PATH = "an array without a path"  # which is no part of a tree


class Source(NamedTuple):
    """Arrays by their paths in the parameters, and what they are called in errors."""

    arrays: dict[str, Any]
    name: str


def source_of(tree: Any, name: str) -> Source:
    """The arrays of a tree, in whatever nodes a checkpoint has put them: names and places alone count."""
    rows = [(path, x) for path, x in paths_and_leaves(tree) if x is not None]
    arrays = dict(rows)
    if len(arrays) < len(rows):
        twice = list_some(path for path in arrays if [p for p, _ in rows].count(path) > 1)
        raise Refusal(ValueError, f"{name} has two arrays at {twice}")
    return Source(arrays, name)


def fit(source: Source, held: Any, narrow: bool = False) -> Any:
    """The tree with the source's arrays in the places of its own, in their dtypes and lying as they do. All that is
    missing, left over or of another form is listed. With `narrow` an array may be rounded to a narrower dtype.
    """
    rows = paths_and_leaves(held)
    wanted = {path: x for path, x in rows if x is not None}
    missing, more = wanted.keys() - source.arrays.keys(), source.arrays.keys() - wanted.keys()
    wrong = [
        f"{path or 'it'} is {form_of(x)}, expected {form_of(wanted[path])}"
        for path, x in source.arrays.items()
        if path in wanted and not is_fit(x, wanted[path], narrow)
    ]
    problems = [f"it lacks {list_some(x or WITHOUT_PATH for x in sorted(missing))}"] * bool(missing)
    problems += [f"it has {list_some(x or WITHOUT_PATH for x in sorted(more))} beside these"] * bool(more)
    problems += [list_some(wrong)] * bool(wrong)
    if problems:
        remedy = "give the parameters that it was made for, in these dtypes"
        raise Refusal(ValueError, f"{source.name} does not fit: {'; '.join(problems)}; {remedy}")
    new = [None if x is None else as_held(source.arrays[path], x) for path, x in rows]
    return jax.tree.structure(held, is_leaf=is_none).unflatten(new)


def is_fit(x: Any, held: Any, narrow: bool) -> bool:
    dtype, own = dtype_of(x), dtype_of(held)
    narrow = narrow or not jnp.issubdtype(dtype, jnp.inexact)  # a count has room enough
    has_room = narrow or dtype.itemsize <= own.itemsize
    return np.shape(x) == np.shape(held) and kind_of(dtype) == kind_of(own) and has_room


def kind_of(dtype: Any) -> Any:
    """What numbers of a dtype are; of these, dtypes are converted."""
    kinds = (jnp.bool_, jnp.integer, jnp.floating, jnp.complexfloating)
    return next((kind for kind in kinds if jnp.issubdtype(dtype, kind)), dtype)


def as_held(x: Any, held: Any) -> jax.Array:
    """An array in a buffer of its own, with the dtype and the place of another one."""
    new = jnp.array(x, dtype_of(held))
    placed = isinstance(held, jax.Array) and not isinstance(held, Tracer) and held.committed
    return jax.device_put(new, held.sharding, may_alias=True) if placed else new


def on_device(tree: Any) -> Any:
    """The tree with what `offload` has put on the host, where nothing is computed, on the device."""

    def one(x: Any) -> Any:
        is_away = isinstance(x, jax.Array) and jax.typeof(x).memory_space is jax.memory.Space.Host
        return jax.device_put(x, jax.memory.Space.Device) if is_away else x

    return jax.tree.map(one, tree)


def form_of(x: Any) -> str:
    return f"{dtype_of(x)}{list(np.shape(x))}"


def dtype_of(x: Any) -> np.dtype[Any]:
    return x.dtype if hasattr(x, "dtype") else np.asarray(x).dtype


def is_raw(x: Any) -> bool:
    """Whether it is an array of a dtype that NumPy has no name for, such as bfloat16, as `np.savez` gives it back."""
    return isinstance(x, np.ndarray) and x.dtype.type is np.void and x.dtype.names is None


def with_lost_dtype(x: Any, start: Any) -> Any:
    """Such an array in its dtype: the one that the state has there, or the only one of two bytes."""
    if is_raw(x):
        known = [jnp.dtype(kind) for kind in (start.dtype, jnp.bfloat16) if jnp.dtype(kind).kind == "V"]
        return next((x.view(kind) for kind in known if kind.itemsize == x.dtype.itemsize), x)
    return x
