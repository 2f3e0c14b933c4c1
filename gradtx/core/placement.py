"""Where arrays lie: those of a state beside their parameters, without being asked."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.core import Tracer
from jax.sharding import NamedSharding, PartitionSpec

from gradtx.core.check import is_key
from gradtx.core.collectives import manual_axes, vary, varying_axes

reshard: Any = getattr(jax, "reshard", None) or getattr(jax.sharding, "reshard", None)  # its place before JAX 0.9


def lay_like(x: Any, other: Any) -> Any:
    """An array where another one of its shape lies, as far as that one or its type says it."""
    if isinstance(x, Tracer) or isinstance(other, Tracer):
        if manual_axes():
            return vary(x, varying_axes(other))
        here, there = jax.typeof(x), jax.typeof(other)
        if here.memory_space != there.memory_space:
            x = jax.device_put(x, there.memory_space)
        known = there.sharding.mesh.explicit_axes  # automatic ones are the compiler's
        return reshard(x, there.sharding) if known and here.sharding != there.sharding else x
    if not isinstance(other, jax.Array) or not other.committed:  # an array that may lie anywhere
        return x
    if x.sharding.is_equivalent_to(other.sharding, x.ndim):
        return x
    if x.is_fully_addressable and not other.is_fully_addressable:
        return make_on_all(x, other.sharding)
    return jax.device_put(x, other.sharding)


def make_on_all(x: jax.Array, layout: Any) -> jax.Array:
    """An array that each process has made for itself, as one of all of them: nothing is sent, or compared."""
    return jax.make_array_from_callback(x.shape, layout, lambda index: np.asarray(x)[index])


def lay_tree_like(tree: Any, other: Any) -> Any:
    """The arrays of a tree where those of another one lie, if they are of one structure."""
    leaves, structure = jax.tree.flatten(tree)
    if structure != jax.tree.structure(other):
        return tree
    pairs = zip(leaves, jax.tree.leaves(other), strict=True)
    return structure.unflatten([lay_like(x, y) if isinstance(x, jax.Array) else x for x, y in pairs])


def vary_like(updates: list[Any], params: list[Any]) -> list[Any]:
    """Updates as ones that may differ wherever their parameters do, of which some may be None."""
    if not manual_axes():
        return updates
    pairs = zip(updates, params, strict=True)
    return [lay_like(u, p) if isinstance(u, jax.Array) and p is not None else u for u, p in pairs]


def is_traced() -> bool:
    """Whether what is computed here goes into a program."""
    return isinstance(jax.lax.full((), 0.0), Tracer)


def with_automatic_axes(
    run: Callable[..., Any], loss: Callable[[Any], Any], arrays: Any, given: Any, out: Callable[[], Any]
) -> Any:
    """`run(loss, *given)`, in which axes with explicit types are automatic: for what reshapes arrays, as a layout in a
    type does not let it. The loss, a function of what is like `arrays`, sees them. What is returned lies like `out()`.
    """
    typed = [x for x in jax.tree.leaves((arrays, given)) if jax.typeof(x).sharding.mesh.explicit_axes]
    if not typed:
        return run(loss, *given)
    inside = jax.typeof(typed[0]).sharding.mesh if any(isinstance(x, Tracer) for x in typed) else None

    def spec_of(x: Any) -> PartitionSpec:
        return jax.typeof(x).sharding.spec

    with jax.sharding.use_abstract_mesh(inside) if inside else jax.set_mesh(typed[0].sharding.mesh):
        typed_loss = jax.sharding.explicit_axes(loss, in_sharding=(jax.tree.map(spec_of, arrays),))
        automatic = jax.sharding.auto_axes(
            lambda *given: run(typed_loss, *given), out_sharding=jax.tree.map(spec_of, out())
        )
        return automatic(*given)


def put_beside(params: Any, state: Any) -> Any:
    """The state with what may lie anywhere beside its parameters, numbers on all devices of their mesh: a step then
    compiles once, and several processes can save it.
    """
    placed = [x for x in jax.tree.leaves(params) if is_concrete(x) and x.committed]
    places = {getattr(x.sharding, "mesh", x.sharding) for x in placed}
    if len(places) != 1:
        return state
    layouts = {x.shape: x.sharding for x in placed}

    def put(x: Any) -> Any:
        if not is_concrete(x) or x.committed or isinstance(x.sharding, NamedSharding):
            return x
        if is_key(x):
            return jax.random.wrap_key_data(put(jax.random.key_data(x)), impl=jax.random.key_impl(x))
        return make_on_all(x, layout_behind(x.shape, layouts))

    return jax.tree.map(put, state)


def is_concrete(x: Any) -> bool:
    return isinstance(x, jax.Array) and not isinstance(x, Tracer)


def layout_behind(shape: tuple[int, ...], layouts: dict[tuple[int, ...], Any]) -> Any:
    """The layout of an array whose last dimensions are those of a parameter, or one of a number."""
    some = next(iter(layouts.values()))
    if not isinstance(some, NamedSharding):
        return some
    front = next((k for k in range(len(shape)) if shape[k:] in layouts), None)
    spec = () if front is None else (*[None] * front, *layouts[shape[front:]].spec)
    return NamedSharding(some.mesh, PartitionSpec(*spec))
