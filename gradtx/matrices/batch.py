"""From the formula for one matrix to a transformation of a tree, in which equal matrices are one batch."""

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from gradtx.core import check
from gradtx.core.collectives import manual_axes, require_whole_arrays
from gradtx.core.flow import Flow
from gradtx.core.lift import PerArray, Result
from gradtx.core.placement import lay_front_like, run_on_automatic_axes, stay_like
from gradtx.core.stage import Fields, Stage, apply
from gradtx.core.tree import narrow, widen
from gradtx.values.errors import Refusal

S = TypeVar("S", bound=NamedTuple)
AT_ONCE = 2**25  # elements of matrices: 128 MB in float32


def per_matrix(
    state_type: type[S],
    init: Callable[[jax.Array], dict[str, Any]],
    update: Callable[[jax.Array, S], Result] | Callable[[jax.Array, S, jax.Array], Result],
    shared: dict[str, tuple[Any, Callable[[S], Any]]] | None = None,
) -> PerArray:
    """The pair whose rule for one matrix is `init(p) -> fields`, `update(g, state, p) -> (update, fields)`.

    As `per_array`, with matrices of $n_{in}$ rows and $n_{out}$ columns in the places of arrays. An array of more
    dimensions is a stack of matrices, in its last two, as in `jax.numpy.linalg`; `over(matrices(…), tx)` shows others
    so. All matrices of one shape and dtype are one batch of the program (`jax.vmap`), whichever arrays they come from,
    so that the program does not grow with the number of layers. A complex matrix is two real ones. An array without
    elements passes as it is.

    On a CPU, batches of decompositions that run at once may wait for each other for ever (jaxlib 0.10). So write
    `jax.custom_batching.sequential_vmap(lambda x: tuple(jnp.linalg.qr(x)))` in the place of `jnp.linalg.qr`; gradtx's
    own rules go through one matrix after the other there, too.

    **Raises:** `ValueError` for an array of less than two dimensions; inside of `shard_map` for one in parts.

    >>> import gradtx, jax.numpy as jnp
    >>> from typing import NamedTuple
    >>> class NoState(NamedTuple): ...
    >>> @gradtx.transformation
    ... def whiten_rows():
    ...     def update(g, state):
    ...         return jnp.linalg.solve(jnp.linalg.cholesky(g @ g.T), g), {}
    ...
    ...     return gradtx.per_matrix(NoState, lambda p: {}, update)
    >>> tx = whiten_rows()
    >>> tx.update(jnp.array([[3.0, 0.0], [0.0, -2.0]]), tx.init(jnp.zeros((2, 2))))[0]
    Array([[ 1.,  0.],
           [ 0., -1.]], dtype=float32)
    """
    return PerMatrix.of(state_type=state_type, init_one=init_of_stack(init), update_one=update, shared=shared or {})


class PerMatrix(PerArray):
    """The rule of a formula for one matrix."""

    least = (1, 1)

    def init(self, params: Any) -> Any:
        require_matrices(jax.tree.leaves(params, is_leaf=check.is_none), params, "params")
        return super().init(params)

    def put_in(self, flow: Flow, stage: Stage) -> None:
        arrays, places = matrices_in(flow)
        common = {name: getattr(stage.rows[places[0]], name) for name in self.scalars()} if places else {}

        def formula(common: Fields, g: jax.Array, fields: Fields, p: jax.Array | None) -> tuple[jax.Array, Fields]:
            row = self.state_type(**dict.fromkeys(self.state_type._fields) | common | fields)
            return apply(stage, g, row, p)

        given: list[Any] = []
        for i in places:
            fields = {name: as_wide_as(arrays[i], getattr(stage.rows[i], name)) for name in stage.names}
            given.append((arrays[i], fields, widen(jnp.asarray(flow.weights[i])) if stage.needs_params else None))
        made = in_batches(formula, common, given, like=lambda g, fields, p: (g, fields), axis=flow.axis)
        for i, (u, fields) in zip(places, made, strict=True):
            arrays[i] = u
            before = {name: getattr(stage.rows[i], name) for name in fields}
            stage.results[i] = {
                name: stay_like(narrow(x, before[name].dtype), before[name]) for name, x in fields.items()
            }
        put_wide(flow, arrays)


def as_wide_as(g: jax.Array, field: jax.Array) -> jax.Array:
    """A field of real numbers in the dtype of the arithmetic: one that was saved as a number of Python's is wider."""
    field = widen(field)
    return field.astype(g.dtype) if field.dtype.kind == "f" else field


def init_of_stack(init: Callable[[jax.Array], Fields]) -> Callable[[jax.Array], Fields]:
    """The fields of a matrix as those of a stack of them, which lie where it lies along the stack."""

    def of_stack(p: jax.Array) -> Fields:
        depth, mapped = p.ndim - 2, init
        for _ in range(depth):
            mapped = jax.vmap(mapped)
        return {name: lay_front_like(jnp.asarray(x), p, depth) for name, x in mapped(p).items()}

    return of_stack


def in_batches(
    function: Callable[..., Any], common: Any, rows: list[Any], like: Callable[..., Any], axis: str | None = None
) -> list[Any]:
    """`function(common, *row)` for every matrix of each row: a stack of matrices, and trees of what belongs to each.

    All matrices of one shape and dtype are one batch. What is returned has the shapes and layouts of `like(*row)`,
    which is also what becomes of a stack without elements. With the name of an axis of the mesh, its devices share the
    matrices of a batch among them.
    """
    found: list[Any] = [None] * len(rows)
    groups: dict[Any, list[int]] = {}
    for i, row in enumerate(rows):
        if not row[0].size:
            found[i] = like(*row)
            continue
        depth = row[0].ndim - 2
        forms = tuple([(x.shape[depth:], x.dtype) for x in jax.tree.leaves(row)])
        groups.setdefault(forms, []).append(i)
    for places in groups.values():
        own = [rows[i] for i in places]
        run = functools.partial(in_one_batch, function, devices_along(axis, jax.tree.leaves(own)))
        for i, made in zip(places, run_on_automatic_axes(run, (common, own), [like(*row) for row in own]), strict=True):
            found[i] = made
    return found


def in_one_batch(
    function: Callable[..., Any], devices: NamedSharding | None, common: Any, rows: list[Any]
) -> list[Any]:
    """As `in_batches`, of rows that are alike."""
    fronts = [row[0].shape[:-2] for row in rows]
    sizes = [math.prod(front) for front in fronts]
    flat = [
        jax.tree.map(lambda x, front=front, size=size: x.reshape(size, *x.shape[len(front) :]), row)
        for row, front, size in zip(rows, fronts, sizes, strict=True)
    ]
    batch = jax.tree.map(lambda *parts: parts[0] if len(parts) == 1 else jnp.concatenate(parts), *flat)

    def run(batch: Any) -> Any:
        return jax.vmap(lambda row: function(common, *row))(batch)

    if devices:
        out = run_shared_out(run, batch, devices)
    elif any(fronts):  # a stack may be spread along its layers, which a loop would gather
        out = run(batch)
    else:
        out = run_some_at_once(run, batch, len(rows))
    if len(rows) == 1:
        return [jax.tree.map(lambda x: x.reshape(*fronts[0], *x.shape[1:]), out)]
    made: list[Any] = []
    for front, size, start in zip(fronts, sizes, starts_of(sizes), strict=True):

        def part(x: jax.Array, front: Any = front, size: int = size, start: Any = start) -> jax.Array:
            return jax.lax.dynamic_slice_in_dim(x, start, size).reshape(*front, *x.shape[1:])

        made.append(jax.tree.map(part, out))
    return made


def starts_of(sizes: list[int]) -> list[Any]:
    """Where the parts of a batch begin.

    XLA compiles what reads a part for each constant that it begins at, though it is the same but for that. On CPUs the
    numbers come out of a branch, where it does not see them: for 48 matrices that saves half of the compilation.
    """

    def numbers() -> list[Any]:
        return [jnp.int32(start) for start in itertools.accumulate(sizes[:-1], initial=0)]

    def unseen() -> list[Any]:
        return jax.lax.cond(jax.lax.optimization_barrier(jnp.array(True)), numbers, numbers)

    return jax.lax.platform_dependent(cpu=unseen, default=numbers)


def run_some_at_once(run: Callable[[Any], Any], batch: Any, n: int) -> Any:
    """A function of a batch of n, run for as many matrices at once as are large enough to be fast: what it needs on its
    way is then no multiple of all that there are.
    """
    most = max(1, AT_ONCE // max(1, math.prod(jax.tree.leaves(batch)[0].shape[1:])))
    if n <= most:
        return run(batch)
    size = next((k for k in range(most, most // 2, -1) if n % k == 0), most)  # equal parts are one program
    parts = jax.tree.map(lambda x: x[: n // size * size].reshape(n // size, size, *x.shape[1:]), batch)
    out = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), jax.lax.map(run, parts))
    if n % size:
        rest = run(jax.tree.map(lambda x: x[n // size * size :], batch))
        out = jax.tree.map(lambda x, y: jnp.concatenate([x, y]), out, rest)
    return out


# ---- the devices that share a batch ----


def devices_along(axis: str | None, arrays: list[Any]) -> NamedSharding | None:
    """The layout of a batch along an axis of the mesh of these arrays, or of the one that is set; None without one."""
    found = [mesh for x in arrays if (mesh := jax.typeof(x).sharding.mesh).axis_names]
    mesh = found[0] if found else jax.sharding.get_abstract_mesh()
    if axis is None or not mesh.axis_names:
        return None
    if axis not in mesh.axis_names:
        have = ", ".join(map(repr, mesh.axis_names))
        raise Refusal(ValueError, f"axis must be one of those of the mesh, {have}, got {axis!r}")
    if axis in manual_axes():
        remedy = "leave axis out there, or call it outside, under jit"
        raise Refusal(ValueError, f"inside of a shard_map over {axis!r} each device has its own arrays; {remedy}")
    return NamedSharding(mesh, PartitionSpec(axis))


def run_shared_out(run: Callable[[Any], Any], batch: Any, devices: NamedSharding) -> Any:
    """A function of a batch that these devices share, with zeros at its end where they would not get equally many."""
    current = jax.sharding.get_abstract_mesh()  # in which axes with explicit types are automatic here
    layout = NamedSharding(current if current.axis_names else devices.mesh, devices.spec)

    def share(x: jax.Array) -> jax.Array:
        more = -x.shape[0] % devices.mesh.shape[devices.spec[0]]
        x = jnp.concatenate([x, jnp.zeros((more, *x.shape[1:]), x.dtype)]) if more else x
        return jax.lax.with_sharding_constraint(x, layout)

    return jax.lax.with_sharding_constraint(run(jax.tree.map(share, batch)), layout)


# ---- the matrices of a flow ----


def matrices_in(flow: Flow) -> tuple[list[Any], list[int]]:
    """The arrays of a flow, as wide as they were computed, and the places of those that are updated."""
    arrays = flow.wide()
    places = [i for i, u in enumerate(arrays) if u is not None and i not in flow.frozen]
    check.require_arrays([arrays[i] for i in places])
    require_matrices(flow.leaves, flow.tree, "updates")
    require_whole_arrays([arrays[i] for i in places], "a matrix is needed whole: use jit, which shards it by itself")
    return arrays, places


def unstacked(flow: Flow) -> list[Any]:
    """The arrays of a flow, as wide as they were computed, complex ones as such."""
    stored = list(flow.leaves)
    return [
        narrow(u, check.promote(x.dtype)) if isinstance(u, jax.Array) else u
        for u, x in zip(flow.wide(), stored, strict=True)
    ]


def put_wide(flow: Flow, arrays: list[Any], exact: bool = False) -> None:
    """Go on with these arrays, as they were computed."""
    flow.then(lambda g, row: (row, {}), arrays, exact=exact)


def require_matrices(leaves: list[Any], tree: Any, name: str) -> None:
    """Refuse arrays of less than two dimensions."""
    for i, x in enumerate(leaves):
        if isinstance(x, jax.Array) and x.ndim < 2:
            where, remedy = f"{name}{check.path_to(tree, i)}", "partition((by_ndim(at_least=2), …), default=…)"
            problem = f"{where} has shape {x.shape}, and a rule for matrices needs two dimensions"
            raise Refusal(ValueError, f"{problem}; give it to another one, as {remedy} or muon(where=…) does")
