"""Where the parts of arrays lie: on which mesh, along which of its axes, in which memory."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.core import Tracer
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec
from jax.tree_util import keystr, tree_flatten_with_path, tree_map_with_path

from gradtx.core import check
from gradtx.core.factories import require_part
from gradtx.values.errors import Refusal, errors_of

HOST = "pinned_host"  # the kind of memory


def state_shardings(tx: Any, params: Any) -> Any:
    """Where the arrays of a state belong: a tree like `tx.init(params)` with a `NamedSharding` for each of them.

    What `init` makes like a parameter lies like it; what it makes of a parameter (its rows, its blocks) lies as JAX's
    types say; numbers lie whole on every device. Nothing is computed, and no rule declares anything: `init` is traced
    on shapes whose types carry their layout. Where it does what no such type allows, an array of the state lies like
    the parameter whose path it ends with and whose shape it has, any other one whole on every device. A state is made
    where it belongs by `jax.jit(tx.init, out_shardings=state_shardings(tx, params))(params)`.

    **Arguments:** `tx`, of Optax too; `params`, arrays or `jax.ShapeDtypeStruct`s with a `NamedSharding`, on meshes
    with any kind of axes. Single numbers and what no update moves (integers, functions) may be without one.

    **Raises:** `ValueError` for a parameter without a `NamedSharding`, and for parameters on two meshes, `TypeError`
    inside of `jit`.

    >>> import jax, jax.numpy as jnp, gradtx
    >>> from jax.sharding import NamedSharding, PartitionSpec
    >>> mesh = jax.make_mesh((1,), ("data",))
    >>> params = {"w": jax.device_put(jnp.zeros((4, 2)), NamedSharding(mesh, PartitionSpec("data")))}
    >>> tx = gradtx.scale_by_momentum(0.9)
    >>> shardings = gradtx.state_shardings(tx, params)
    >>> shardings.trace["w"].is_equivalent_to(params["w"].sharding, 2)
    True
    >>> state = jax.jit(tx.init, out_shardings=shardings)(params)
    """
    with errors_of("state_shardings"):
        if not callable(getattr(tx, "init", None)):  # Optax's MultiSteps is no transformation, but has one
            require_part("tx", tx)
        rows, structure = tree_flatten_with_path(params)
        leaves = [x for _, x in rows]
        for path, x in rows:
            if isinstance(x, Tracer):
                problem = f"params{keystr(path)} is traced, and inside of jit its layout is not known"
                raise Refusal(TypeError, f"{problem}; call it outside, with arrays or jax.ShapeDtypeStructs")
            if sharding_of(x) is None and needs_sharding(x):
                kind = type(getattr(x, "sharding", None)).__name__
                got = "none" if kind == "NoneType" else f"a {kind}"
                remedy = "put the parameters on a mesh, as by jax.device_put(params, NamedSharding(mesh, spec))"
                raise Refusal(ValueError, f"params{keystr(path)} must have a NamedSharding, got {got}; {remedy}")
        mesh = mesh_of(leaves, lambda i: f"params{keystr(rows[i][0])}")
        if mesh is None:
            raise Refusal(ValueError, "params must hold an array with a NamedSharding, got none")

    def trace(kind: AxisType) -> tuple[Any, list[Any]]:
        """The state's structure and the types of its arrays."""
        typed = AbstractMesh(mesh.axis_sizes, mesh.axis_names, axis_types=(kind,) * len(mesh.axis_names))
        shapes = {i: shape_on(typed, x) for i, x in enumerate(leaves) if sharding_of(x)}

        def init(arrays: dict[int, Any]) -> Any:  # beside them, what else a model holds, such as functions
            return tx.init(structure.unflatten([arrays.get(i, x) for i, x in enumerate(leaves)]))

        # Whatever other mesh is set: from one to another the way is by none.
        with jax.sharding.use_abstract_mesh(AbstractMesh((), ())), jax.sharding.use_abstract_mesh(typed):
            traced = jax.jit(init).trace(shapes)
        return traced.out_info, traced.jaxpr.out_avals

    try:
        state, kinds = trace(AxisType.Explicit)
    except Exception:  # a layout that explicit axes can't follow; what is wrong otherwise comes up again
        state, _ = trace(AxisType.Auto)
        return lay_by_path(state, rows, mesh)
    return jax.tree.structure(state).unflatten([as_named(kind, mesh) for kind in kinds])


def needs_sharding(x: Any) -> bool:
    """Whether a parameter can't do without a layout."""
    return check.can_move(x) and getattr(x, "ndim", 0) > 0


def shape_on(mesh: AbstractMesh, x: Any) -> jax.ShapeDtypeStruct:
    typed = mesh.axis_types[0] is AxisType.Explicit
    kind = x.sharding.memory_kind
    own = NamedSharding(mesh, x.sharding.spec, memory_kind=kind if kind == HOST else None)
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=own if typed else None)


def as_named(kind: Any, mesh: Any) -> NamedSharding:
    """The sharding that the type of an array says, on the mesh that it comes from."""
    spec = spec_of(names_by_dimension(kind.sharding.spec, kind.ndim), mesh)
    return NamedSharding(mesh, spec, memory_kind=HOST if kind.memory_space is jax.memory.Space.Host else None)


def lay_by_path(state: Any, rows: list[Any], mesh: Any) -> Any:
    """Shardings of what has the path and the shape of a parameter."""
    placed = [(path, x) for path, x in rows if sharding_of(x)]

    def like_parameter(path: Sequence[Any], made: Any) -> NamedSharding:
        for own, x in placed:
            if tuple(path[len(path) - len(own) :]) == tuple(own) and x.shape == made.shape:
                return NamedSharding(mesh, x.sharding.spec, memory_kind=x.sharding.memory_kind)
        return NamedSharding(mesh, PartitionSpec())

    return tree_map_with_path(like_parameter, state)


# ---- arrays and meshes ----


def sharding_of(x: Any) -> NamedSharding | None:
    """The layout of an array on a mesh, or what its type knows of it inside of a trace; None without a mesh."""
    own = jax.typeof(x).sharding if isinstance(x, Tracer) else getattr(x, "sharding", None)
    return own if isinstance(own, NamedSharding) and own.mesh.axis_names else None


def mesh_of(arrays: Sequence[Any], name: Callable[[int], str]) -> Any:
    """The one mesh on which arrays lie, None if none does; `name` says what to call the i-th of them in an error."""
    found = [(i, own.mesh) for i, x in enumerate(arrays) if (own := sharding_of(x))]
    for i, mesh in found:
        first, other = found[0]
        if mesh is not other and not is_same_mesh(mesh, other):
            problem = f"{name(i)} lies on the mesh {words_of(mesh)}, {name(first)} on {words_of(other)}"
            raise Refusal(ValueError, f"{problem}; move them to one with jax.device_put")
    meshes = [mesh for _, mesh in found]
    return next((mesh for mesh in meshes if isinstance(mesh, Mesh)), meshes[0] if meshes else None)


def is_same_mesh(one: Any, other: Any) -> bool:
    """Whether two meshes are the same, as far as it is known of which devices they are."""
    known = isinstance(one, Mesh) and isinstance(other, Mesh)
    return one == other if known else one.abstract_mesh == other.abstract_mesh


def words_of(mesh: Any) -> str:
    axes = ", ".join(f"{name}: {size}" for name, size in mesh.shape.items())
    kinds = ", ".join(kind.name for kind in mesh.axis_types)
    return f"({axes}; {kinds})"


def names_by_dimension(spec: Any, ndim: int) -> list[tuple[str, ...]]:
    """The axes over which each dimension of an array is spread."""
    rows = [row if isinstance(row, tuple) else (row,) if isinstance(row, str) else () for row in spec]
    return [*rows, *[()] * (ndim - len(rows))]


def spec_of(rows: Sequence[tuple[str, ...]], mesh: Any) -> PartitionSpec:
    """The inverse, written as `jit` writes it for a mesh: a step that finds another form looks its program up anew."""
    entries = [row if len(row) > 1 else row[0] if row else None for row in rows]
    while entries and entries[-1] is None and not all(kind is AxisType.Explicit for kind in mesh.axis_types):
        entries.pop()
    return PartitionSpec(*entries)
