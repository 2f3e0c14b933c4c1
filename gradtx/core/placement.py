"""Where arrays lie: those of a state beside their parameters, without being asked."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.core import Tracer
from jax.sharding import NamedSharding, PartitionSpec

from gradtx.core.check import is_key
from gradtx.core.collectives import manual_axes, vary, varying_axes

try:
    from jax.experimental.shard_alike import shard_alike
except ImportError:  # from JAX 0.12 on a program can't ask for it: the compiler decides
    shard_alike: Any = None

reshard: Any = getattr(jax, "reshard", None) or getattr(jax.sharding, "reshard", None)  # its place before JAX 0.9


def lay_like(x: Any, other: Any) -> Any:
    """An array where another one of its shape lies, as far as that one or its type says it."""
    if isinstance(x, Tracer) or isinstance(other, Tracer):
        if manual_axes():
            return vary(x, varying_axes(other))
        x = in_memory_of(x, other)
        here, there = jax.typeof(x), jax.typeof(other)
        known = there.sharding.mesh.explicit_axes  # automatic ones are the compiler's
        return reshard(x, there.sharding) if known and here.sharding != there.sharding else x
    if not isinstance(other, jax.Array) or not other.committed:  # an array that may lie anywhere
        return x
    if x.sharding.is_equivalent_to(other.sharding, x.ndim):
        return x
    if x.is_fully_addressable and not other.is_fully_addressable:
        return make_on_all(x, other.sharding)
    return jax.device_put(x, other.sharding)


def in_memory_of(x: Any, other: Any) -> Any:
    """An array in the memory in which another one is, the device's or the host's."""
    there = jax.typeof(other).memory_space
    return x if jax.typeof(x).memory_space == there else jax.device_put(x, there)


def in_device_memory(x: Any) -> Any:
    """An array in the memory in which there is computed."""
    device = jax.memory.Space.Device
    return x if jax.typeof(x).memory_space == device else jax.device_put(x, device)


def lay_front_like(x: jax.Array, other: jax.Array, depth: int) -> jax.Array:
    """An array whose first dimensions, so many, are those of another one, where that one lies along them."""
    layout = jax.typeof(other).sharding if isinstance(other, Tracer) else other.sharding
    if not isinstance(layout, NamedSharding) or not any(layout.spec[:depth]):
        return x
    names = [*layout.spec[:depth], *[None] * (x.ndim - depth)]
    while names[-1] is None and not layout.mesh.explicit_axes:  # as `jit` writes it
        names.pop()
    own = NamedSharding(layout.mesh, PartitionSpec(*names))
    return reshard(x, own) if isinstance(x, Tracer) else jax.device_put(x, own)


def stay_like(x: Any, other: Any) -> Any:
    """What is next in the place of an array, lying as that one does. Where axes are automatic, the compiler would lay
    it as is best for what it is made of: the mean of each row, as the rows lie.
    """
    if not isinstance(x, Tracer) or manual_axes() or jax.typeof(x).sharding.mesh.explicit_axes:
        return lay_like(x, other)
    return shard_alike(x, other)[0] if shard_alike else x


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
    context = explicit_context((arrays, given))
    if context is None:
        return run(loss, *given)
    with context:
        typed_loss = jax.sharding.explicit_axes(loss, in_sharding=(jax.tree.map(typed_spec, arrays),))
        automatic = jax.sharding.auto_axes(
            lambda *given: run(typed_loss, *given), out_sharding=jax.tree.map(typed_spec, out())
        )
        return automatic(*given)


def run_on_automatic_axes(run: Callable[..., Any], given: Any, like: Any) -> Any:
    """`run(*given)`, in which axes with explicit types are automatic. What is returned lies like `like`."""
    return run_with_specs(run, given, lambda: jax.tree.map(typed_spec, like))


def run_with_specs(run: Callable[..., Any], given: Any, specs: Callable[[], Any]) -> Any:
    """As `run_on_automatic_axes`, with layouts for what is returned."""
    context = explicit_context(given)
    if context is None:
        return run(*given)
    with context:
        return jax.sharding.auto_axes(run, out_sharding=specs())(*given)


def spec_of_front(x: Any, shape: tuple[int, ...]) -> PartitionSpec:
    """A layout for an array of this shape by the type of another one: its first dimensions, as far as they are those
    of the other, lie as they do there.
    """
    same = [a == b for a, b in zip(x.shape, shape, strict=False)]
    n = len(shape) if x.shape == shape else (*same, False).index(False)
    return PartitionSpec(*typed_spec(x)[:n], *[None] * (len(shape) - n))


def explicit_context(arrays: Any) -> Any:
    """A context with the mesh of these arrays, where it has axes with explicit types; elsewhere None."""
    typed = [x for x in jax.tree.leaves(arrays) if jax.typeof(x).sharding.mesh.explicit_axes]
    if not typed:
        return None
    if any(isinstance(x, Tracer) for x in typed):
        return jax.sharding.use_abstract_mesh(jax.typeof(typed[0]).sharding.mesh)
    return jax.set_mesh(typed[0].sharding.mesh)


def typed_spec(x: Any) -> PartitionSpec:
    """The layout of an array by its type."""
    return jax.typeof(x).sharding.spec


def reshape(x: jax.Array, shape: tuple[int, ...], spec: Callable[[], PartitionSpec]) -> jax.Array:
    """The array in another shape and, where its axes have explicit types, in a layout for that."""
    mesh = jax.typeof(x).sharding.mesh
    if not mesh.explicit_axes:
        return x.reshape(shape)
    return jax.lax.reshape(x, shape, out_sharding=NamedSharding(mesh, spec()))


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
