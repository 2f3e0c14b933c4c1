"""Reductions over arrays that are in parts on several devices, inside of `shard_map`. Anywhere else an array is whole,
wherever its parts lie.
"""

import functools
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp

from gradtx.values.errors import Refusal, errors_of

Axes = tuple[str, ...]

# The axes over which what varies is part of one array, as `across` says; None where nothing does. JAX's caches of
# traces know of it, since what is traced under one is no use under another.
AXES: Any = jax.make_user_context(None)


def manual_axes() -> Axes:
    """The axes of the `shard_map` around it, none elsewhere."""
    return jax.sharding.get_abstract_mesh().manual_axes


def varying_axes(x: Any) -> frozenset[str]:
    """The axes over which a value differs from device to device, by its type."""
    return axes_of_type(jax.typeof(x))


def axes_of_any(values: Iterable[Any]) -> frozenset[str]:
    """The axes over which at least one of these differs."""
    return frozenset().union(*map(varying_axes, values))


def axes_of_type(kind: Any) -> frozenset[str]:
    return kind.vma if hasattr(kind, "vma") else kind.manual_axis_type.varying  # its name before JAX 0.10


def vary(x: Any, axes: Iterable[str]) -> Any:
    """The value as one that may differ over these axes too."""
    more = tuple(frozenset(axes) - varying_axes(x))
    if not more:
        return x
    pcast: Any = getattr(jax.lax, "pcast", None)  # before JAX 0.9, its forerunner
    return pcast(x, more, to="varying") if pcast else jax.lax.pvary(x, more)  # pyright: ignore[reportAttributeAccessIssue]


def fold(
    add: Callable[[jax.Array, Any], jax.Array],
    arrays: list[Any],
    start: jax.Array,
    reduce: Callable[[Any, Axes], Any] = jax.lax.psum,
    merge: Callable[[Any, Any], Any] = jnp.add,
) -> jax.Array:
    """One number of all arrays: `add(number, array)` from one to the next on each device, then `reduce` over the
    devices, once for each set of axes over which some of them are in parts.

    **Raises:** `ValueError` where an array differs over an axis, and nothing says what that means.
    """
    if not (manual := manual_axes()):
        return functools.reduce(add, arrays, start)
    groups: dict[Axes, jax.Array] = {}
    for x, axes in zip(arrays, axes_of_parts(arrays, manual, AXES.value), strict=True):
        groups[axes] = add(groups.get(axes, start), x)
    totals = [reduce(vary(number, axes), axes) if axes else number for axes, number in groups.items()]
    return functools.reduce(merge, totals) if totals else start


def axes_of_parts(arrays: list[Any], manual: Axes, axes: Axes | None) -> list[Axes]:
    """For each of the arrays the axes over which it is in parts; it may be several beside each other."""
    if axes == ():
        return [()] * len(arrays)
    seen = [axes_of_any(jax.tree.leaves(x)) for x in arrays]
    if not has_types(manual):
        if axes:
            raise Refusal(ValueError, f"{HIDDEN}, and across needs to know; leave check_vma at True")
        warnings.warn(f"{HIDDEN}. {TAKEN_FOR_WHOLE}", stacklevel=3)
    elif axes is None and (over := frozenset().union(*seen)):
        raise Refusal(ValueError, f"it reduces over an array that differs along {join_names(over)}; {REMEDY}")
    return [tuple(name for name in manual if name in (axes or ()) and name in own) for own in seen]


REMEDY = (
    "across(tx, axes) around the transformation, or around record(name, function) for a measurement, takes what "
    "differs along these axes for parts of one array, across(tx, ()) for an array that each device has to itself"
)
HIDDEN = "Inside of shard_map with check_vma=False, and of pmap, JAX does not say which arrays are in parts"
TAKEN_FOR_WHOLE = (
    "They are taken for whole, which is right where all devices do the same; across(tx, ()) says so. Where they are in "
    "parts, leave check_vma at True and put across(tx, axes) around the transformation."
)


def has_types(manual: Axes) -> bool:
    """Whether JAX's types say what varies."""
    return bool(varying_axes(jax.lax.axis_index(manual[0])))


def join_names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def total(x: Any) -> jax.Array:
    r"""The sum of all elements, $\sum_i x_i$, of an array that may be in parts: what formulas sum with.

    Under `jit` an array is whole wherever its parts lie, and this is `jnp.sum`. Inside of `jax.shard_map` each device
    has a part, and the sum reaches over those axes of the mesh that `across` names and over which the array varies.

    **Raises:** `ValueError` inside of `shard_map` where the array varies and no `across` says what that means.

    >>> import gradtx, jax.numpy as jnp
    >>> @gradtx.transformation
    ... def normalized():
    ...     return gradtx.stateless(lambda g: g / jnp.sqrt(gradtx.total(g**2)))
    >>> tx = normalized()
    >>> tx.update(jnp.array([3.0, 4.0]), tx.init(None))[0]
    Array([0.6, 0.8], dtype=float32)
    """
    with errors_of("total"):
        return sum_parts(jnp.asarray(x))


def sum_parts(x: jax.Array) -> jax.Array:
    return fold(lambda number, x: jnp.sum(x), [x], jnp.zeros([], x.dtype))


def mean_parts(x: jax.Array) -> jax.Array:
    """The mean of all elements of an array that may be in parts, 0 without elements."""
    size = fold(lambda number, x: number + x.size, [x], jnp.zeros([], x.dtype)) if manual_axes() else x.size
    return sum_parts(x) / jnp.maximum(size, 1.0)


def largest(x: jax.Array) -> jax.Array:
    """The largest element of an array without negative ones, 0 without elements."""
    return fold(lambda number, x: jnp.max(x, initial=0.0), [x], jnp.zeros([], x.dtype), jax.lax.pmax)


def require_whole_arrays(arrays: list[Any], why: str) -> None:
    """Refuse arrays that are in parts, or may be."""
    if not (manual := manual_axes()):
        return
    axes = AXES.value
    unsaid = axes is None and has_types(manual)
    if over := frozenset().union(*axes_of_parts(arrays, manual, manual if unsaid else axes)):
        own = ", or put across(tx, ()) around it where each device has arrays to itself" if unsaid else ""
        raise Refusal(ValueError, f"an array is in parts along {join_names(over)}; {why}{own}")
