"""States, and the arithmetic of a step, spread over devices that all hold the same parameters."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.core import Tracer
from jax.sharding import AbstractMesh, AxisType, NamedSharding, PartitionSpec

from gradtx.core import check
from gradtx.core.factories import transformation
from gradtx.core.flow import Flow
from gradtx.core.placement import is_traced, reshard
from gradtx.core.transformation import advance, start
from gradtx.devices.layout import mesh_of, names_by_dimension, sharding_of, spec_of
from gradtx.values.errors import Refusal
from gradtx.wrappers.branch import rule_around


@transformation
def zero_redundancy(tx: optax.GradientTransformation, axis: str):
    r"""The transformation, $T(u)$, computed in $n$ parts by the $n$ devices along an axis of the mesh, each of which
    keeps one part of the state (ZeRO-1). The parameters stay as they are, and the updates come out laid like them.

    Each array is spread along its first dimension whose size divides by $n$, beyond what is spread already; where none
    does it stays whole. The state has the structure and the numbers of that of `tx`, so a checkpoint of one is one of
    the other.

    The mesh is that of the arrays, or else the one of `jax.set_mesh(mesh)`. Where there is none the arrays lie on one
    device, and this is $T(u)$ as it is. Inside of `jit` JAX knows the mesh of arrays that are given as arguments, but
    not of those that only `in_shardings` place: then set it.

    With explicit axes all layouts are known. With automatic ones the parameters are taken to be whole along `axis`, and
    where other axes have several devices too, the arithmetic lies as the state does. So make the state where it
    belongs: outside of `jit`, or by `jax.jit(tx.init, out_shardings=state_shardings(tx, params))(params)`.

    **Arguments:** `tx`, an Optax transformation too; `axis`, the name of an axis of the mesh.

    **State:** that of `tx`; of its bytes per parameter a device has $1/n$.

    **Raises:** `ValueError` where the mesh has no such axis, or axes of both kinds, for arrays on two meshes, and
    inside of a `shard_map` over this axis, where each device has its part already.

    **Source:** Rajbhandari et al., ZeRO: Memory Optimizations Toward Training Trillion Parameter Models (2020),
    section 5.1, the partitioning of optimizer states.

    >>> import jax, jax.numpy as jnp, gradtx
    >>> from jax.sharding import AxisType, NamedSharding, PartitionSpec
    >>> mesh = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Explicit,))
    >>> w = jax.device_put(jnp.zeros(4), NamedSharding(mesh, PartitionSpec()))
    >>> tx = gradtx.zero_redundancy(gradtx.scale_by_momentum(0.9), "data")
    >>> updates, state = tx.update(w + 1.0, tx.init(w), w)
    >>> updates, state.trace.sharding.spec[0], updates.sharding.is_fully_replicated
    (Array([1., 1., 1., 1.], dtype=float32), 'data', True)
    """

    def init(params: Any) -> Any:
        leaves, structure = jax.tree.flatten(params, is_leaf=check.is_none)
        places = [i for i, p in enumerate(leaves) if check.can_move(p)]
        arrays = [leaves[i] for i in places]
        devices = find_devices(arrays, lambda i: f"params{check.path_to(params, places[i])}", axis)
        if devices:
            for i, part in zip(places, spread(arrays, arrays, devices), strict=True):
                leaves[i] = part
        return start(tx, structure.unflatten(leaves))

    def advance_spread(flow: Flow, state: Any, extra: dict[str, Any], ok: Any = None) -> Any:
        places = [i for i, u in enumerate(flow.run()) if isinstance(u, jax.Array)]
        updates = [flow.leaves[i] for i in places]
        params = [] if flow.params is None else [jnp.asarray(flow.weights[i]) for i in places]

        def name(i: int) -> str:
            return f"{'updates' if i < len(places) else 'params'}{check.path_to(flow.tree, places[i % len(places)])}"

        devices = find_devices(updates + params, name, axis)
        if not devices:
            return advance(tx, flow, state, extra, "tx", ok)
        own, likes = flow.fork(), params or updates
        own.set(dict(zip(places, spread(updates, likes, devices), strict=True)))
        if params:
            parts = dict(zip(places, spread(params, params, devices), strict=True))
            own.weights = [parts.get(i, p) for i, p in enumerate(own.weights)]
            own.params = own.structure.unflatten(own.weights)
        after = advance(tx, own, state, extra, "tx", ok)
        # What was unfit may be None now.
        out = {i: u for i, u in enumerate(own.run(last=True)) if flow.leaves[i] is not None}
        moved = {i: like for i, like in zip(places, likes, strict=True) if out[i] is not None}
        # A copy, since a state may hold the updates, and has to stay in parts where these are gathered.
        copies = jax.lax.optimization_barrier([out[i] for i in moved])
        whole = gather(copies, list(moved.values()), devices)
        flow.set(out | dict(zip(moved, whole, strict=True)))
        flow.frozen.update(own.frozen)
        return own.settle(after)

    return rule_around(tx, init, advance_spread)


# ---- the devices along an axis ----


class Devices(NamedTuple):
    """The devices along an axis of a mesh."""

    mesh: Any
    axis: str
    typed: bool  # whether the types of arrays say how they are spread over it
    alone: bool  # whether no other axis, of which no type tells, has several devices


def find_devices(arrays: list[Any], name: Callable[[int], str], axis: str) -> Devices | None:
    """The devices along an axis of the mesh of these arrays; None without a mesh."""
    mesh = mesh_of(arrays, name) or jax.sharding.get_abstract_mesh()
    if not mesh.axis_names:
        return None
    if axis not in mesh.axis_names:
        have = ", ".join(map(repr, mesh.axis_names))
        raise Refusal(ValueError, f"axis must be one of those of the mesh, {have}, got {axis!r}")
    current = jax.sharding.get_abstract_mesh()
    kinds = dict(zip(mesh.axis_names, mesh.axis_types, strict=True))
    kinds |= dict(zip(current.axis_names, current.axis_types, strict=True))
    if kinds[axis] is AxisType.Manual:
        problem = f"inside of a shard_map over {axis!r} each device has its own arrays"
        remedy = f"take parts by jax.lax.psum_scatter and update them by across(tx, {axis!r}), or call it outside"
        raise Refusal(ValueError, f"{problem}; {remedy}")
    others = [name for name, size in mesh.shape.items() if name != axis and size > 1]
    if {kinds[name] for name in (axis, *others)} >= {AxisType.Auto, AxisType.Explicit}:
        problem = "the mesh has axes of both kinds, of which types tell only how arrays lie along the explicit ones"
        raise Refusal(ValueError, f"{problem}; make all of them AxisType.Auto, or all AxisType.Explicit")
    return Devices(mesh, axis, kinds[axis] is AxisType.Explicit, all(kinds[x] is not AxisType.Auto for x in others))


def spread(arrays: list[Any], likes: list[Any], devices: Devices) -> list[Any]:
    """Arrays, each like another one, with their first dimension that divides spread over the devices."""
    rows = [spread_rows(like, devices) for like in likes]
    if not devices.typed and is_in_program(arrays):
        # First where they are: what is asked of a part reaches back to the whole, and would move it in a loop.
        arrays = gather(arrays, likes, devices)
        if not devices.alone:
            return arrays
    return lay(arrays, rows, devices)


def spread_rows(like: Any, devices: Devices) -> list[tuple[str, ...]]:
    """The axes over which each dimension of an array is to be spread, beyond what is known of it."""
    rows = known_rows(like)
    if not any(devices.axis in row for row in rows):
        for i, (size, row) in enumerate(zip(jnp.shape(like), rows, strict=True)):
            if size and size % math.prod([devices.mesh.shape[name] for name in (*row, devices.axis)]) == 0:
                rows[i] = (*row, devices.axis)
                break
    return rows


def gather(arrays: list[Any], likes: list[Any], devices: Devices) -> list[Any]:
    """Arrays where those lie that they are like."""
    if devices.typed or not is_in_program(arrays):
        return lay(arrays, [known_rows(like) for like in likes], devices)
    # An identity over this axis alone: along it the arrays are whole, along the others they lie as they did.
    whole = PartitionSpec()
    identity = jax.shard_map(lambda x: x, mesh=devices.mesh, in_specs=whole, out_specs=whole, axis_names={devices.axis})
    return identity(arrays)


def is_in_program(tree: Any) -> bool:
    """Whether nothing moves yet where arrays are asked to lie elsewhere."""
    return is_traced() or any(isinstance(x, Tracer) for x in jax.tree.leaves(tree))


def known_rows(x: Any) -> list[tuple[str, ...]]:
    """The axes over which each dimension of an array is spread, as far as that is known."""
    own = sharding_of(x)
    return names_by_dimension(own.spec if own else (), jnp.ndim(x))


def lay(arrays: list[Any], rows: list[list[tuple[str, ...]]], devices: Devices) -> list[Any]:
    """The arrays with their dimensions spread over these axes."""
    mesh = devices.mesh
    if not is_in_program(arrays):
        specs = [spec_of(own, mesh) for own in rows]
        return jax.device_put(arrays, specs if isinstance(mesh, AbstractMesh) else place(specs, mesh))
    kind = AxisType.Explicit if devices.typed else AxisType.Auto
    names = {name for name, own in zip(mesh.axis_names, mesh.axis_types, strict=True) if own is kind}
    specs = [spec_of([tuple(name for name in row if name in names) for row in own], mesh) for own in rows]
    move = reshard if devices.typed else jax.lax.with_sharding_constraint
    return move(arrays, place(specs, mesh))


def place(specs: list[PartitionSpec], mesh: Any) -> list[NamedSharding]:
    return [NamedSharding(mesh, spec) for spec in specs]
