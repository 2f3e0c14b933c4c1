"""Norms and other reductions over arrays that are in parts on several devices."""

from typing import Any

import jax
import optax

from gradtx.core.collectives import AXES, axes_of_any, join_names, manual_axes, vary
from gradtx.core.factories import transformation
from gradtx.core.flow import Flow
from gradtx.core.measurement import require_alike
from gradtx.core.transformation import advance, start
from gradtx.values.errors import Refusal
from gradtx.values.printing import excerpt
from gradtx.wrappers.branch import rule_around


@transformation
def across(tx: optax.GradientTransformation, axes: str | tuple[str, ...]):
    r"""The transformation inside of `jax.shard_map`, $T(g)$ with what varies over these axes taken for parts of one
    array: $T$ on the parts equals $T$ on the whole.

    A norm, a dot product, a maximum, a test for NaN reach over the axes along which JAX's types say that an array
    varies, with one collective for all arrays that vary alike; what is the same on all devices counts once. Rules for
    single elements do as ever, and send nothing. Gradients of examples that vary where their parameters do not are of
    other examples, which `per_example_clip` and `private` sum. Under `jit` alone arrays are whole, wherever their parts
    lie, and `across` changes nothing.

    Inside of `shard_map` what sums, compares or sorts the elements of an array that varies is an error without it; so
    it is within, in a formula of yours and in a part of Optax, unless `total` or a collective of JAX takes all parts.
    What no program shows goes unseen: a size (`g.size`), a place (`g[0]`), random numbers, which are the same on all
    devices. A sum along a dimension that is whole on each device is refused too, since types don't tell; `across(part,
    ())` lets it pass.

    **Arguments:** `tx`; `axes`, names of the mesh's, one or several. Along others that an array varies over each
    device has a model of its own, as it has with `()`.

    **State:** that of `tx`.

    **Raises:** `TypeError` for what are no names. In `update`, `ValueError` for an axis that the mesh lacks, where
    `check_vma=False` hides what varies, and for what can't be told of parts: the norm of a unit, a line search.

    >>> import gradtx, jax, jax.numpy as jnp
    >>> from jax.sharding import AxisType, PartitionSpec as P
    >>> mesh = jax.make_mesh((len(jax.devices()),), ("data",), axis_types=(AxisType.Auto,))
    >>> tx, g = gradtx.across(gradtx.clip_by_global_norm(1.0), "data"), jnp.ones(len(jax.devices()))
    >>> def update(g):
    ...     return tx.update(g, tx.init(g))[0]
    >>> in_parts = jax.shard_map(update, mesh=mesh, in_specs=P("data"), out_specs=P("data"))
    >>> gradtx.global_norm(in_parts(g)).round(4)
    Array(1., dtype=float32)
    """
    names = (axes,) if isinstance(axes, str) else axes
    if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
        raise Refusal(TypeError, f"axes must be the name of an axis or a tuple of names, got {excerpt(axes)}")

    def own_axes(arrays: list[Any]) -> frozenset[str]:
        """Those over which each device has a model of its own."""
        return axes_of_any(arrays) - frozenset(names)

    def init(params: Any) -> Any:
        own = own_axes([p for p in jax.tree.leaves(params) if isinstance(p, jax.Array)])
        state = start(tx, params)  # whose numbers are those of a device
        return jax.tree.map(lambda x: vary(x, own), state) if own else state

    def advance_across(flow: Flow, state: Any, extra: dict[str, Any], ok: Any = None) -> Any:
        if manual_axes():
            have = jax.sharding.get_abstract_mesh().axis_names
            if missing := frozenset(names) - frozenset(have):
                raise Refusal(ValueError, f"the mesh has no axis {join_names(missing)}, but {', '.join(have)}")
            given = [x for x in (*flow.leaves, *flow.weights) if isinstance(x, jax.Array)]
            if own := own_axes(given):  # with one array all that a device has may become its own
                flow.put(jax.tree.map(lambda u: vary(u, own), flow.updates()))
        with AXES(names):
            for x in jax.tree.leaves(tx):
                if isinstance(x, jax.Array):
                    require_alike("a number of the transformation", x)
            return advance(tx, flow, state, extra, "tx", ok)

    return rule_around(tx, init, advance_across)
