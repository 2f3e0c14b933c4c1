"""The laws of arrays that lie on several devices: states lie like their parameters, and parts make the whole."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

import gradtx as gx
from gradtx.core.walk import walk
from gradtx.testing.examples import Example, array
from gradtx.testing.excuses import draws_noise, holds_codes, on_one_device, plain_pair
from gradtx.testing.law import Broken, exact, law, leaves_by_path, same
from gradtx.testing.subject import Subject

AXIS = "data"


def divisible(subject: Subject) -> Sequence[Example]:
    n = len(jax.devices())
    tree = {"w": array(2 * n, 3), "deep": array(3, n, 2), "number": array(), "frozen": None}
    return [Example(tree, tree)]


def spec_for(x: Any, kind: AxisType = AxisType.Auto) -> PartitionSpec:
    """An array in parts along its first dimension that divides; whole where none does. Written as JAX writes it for
    these axes: its cache takes another way to write the same for another program.
    """
    front = next((i for i, size in enumerate(x.shape) if size and size % len(jax.devices()) == 0), None)
    names = [] if front is None else [*[None] * front, AXIS]
    return PartitionSpec(*names, *[None] * (len(x.shape) - len(names) if kind is AxisType.Explicit else 0))


def mesh_with(kind: AxisType) -> Mesh:
    return jax.make_mesh((len(jax.devices()),), (AXIS,), axis_types=(kind,))


@law(
    on=divisible,
    excuse=lambda subject: on_one_device(subject) or lays_itself(subject),
    remedy="make it like its parameter: jnp.zeros_like(p), several as jnp.stack([jnp.zeros_like(p)] * n)",
)
def state_lies_like_its_parameters(subject: Subject, example: Example) -> None:
    """The arrays of a state lie on the devices of their parameters, each in parts as its parameter is, numbers on all
    of them; so do the parameters, after three donated steps. The step compiles once.
    """
    for kind in (AxisType.Auto, AxisType.Explicit):
        mesh = mesh_with(kind)

        def lay(tree: Any, mesh: Mesh = mesh, kind: AxisType = kind) -> Any:
            return jax.tree.map(lambda x: jax.device_put(x, NamedSharding(mesh, spec_for(x, kind))), tree)

        with jax.set_mesh(mesh) if kind is AxisType.Explicit else nullcontext():
            params, gradients = example.filled(3)
            params, gradients = lay(params), [lay(g) for g in gradients]
            state = subject.tx.init(params)
            words = f"under {kind.name.lower()} axes"
            lie(params, state, "state", f"{words}, after init", mesh)

            def step(params: Any, state: Any, g: Any) -> Any:
                u, state = subject.update(g, state, params)
                return gx.apply_updates(params, u), state

            compiled = jax.jit(step, donate_argnums=(0, 1))
            first = {path: kind_of_argument(before) for path, before in leaves_by_path((params, state)).items()}
            for g in gradients:
                params, state = compiled(params, state, g)
            lie(params, state, "state", f"{words}, after three steps", mesh)
            lie(params, params, "params", f"{words}, after three steps", mesh)
            for path, after in leaves_by_path((params, state)).items():
                if (found := kind_of_argument(after)) != first[path]:
                    raise Broken(f"(params, state){path} as before, {first[path]}, {words}", f"{found}")


def kind_of_argument(x: jax.Array) -> Any:
    """By what `jit` tells programs apart; two ways to write one layout are two."""
    return x.sharding, x.committed, x.weak_type


def lie(params: Any, tree: Any, name: str, when: str, mesh: Mesh) -> None:
    """Every array lies like the parameter of its shape, or as one whose last dimensions are a parameter's; codes of
    another shape, and scales of any, lie where they are made.
    """
    specs = {x.shape: spec_for(x) for x in jax.tree.leaves(params)}
    for path, x in leaves_by_path(tree).items():
        fronts = [k for k in range(x.ndim) if x.shape[k:] in specs]
        spec = PartitionSpec(*[None] * fronts[0], *specs[x.shape[fronts[0] :]]) if fronts else PartitionSpec()
        expected = NamedSharding(mesh, spec, memory_kind=x.sharding.memory_kind)  # wherever in a device
        may_differ = is_scale(path) or (fronts == [] and is_code(path))
        if not x.sharding.is_equivalent_to(expected, x.ndim) and not may_differ:
            raise Broken(f"{name}{path} {when} {spec} of the mesh", f"{x.sharding}")


@law(
    on=divisible,
    excuse=lambda subject: on_one_device(subject) or excuse_of_parts(subject),
    remedy="sum by gradtx.total, and count elements by gradtx.total(jnp.ones_like(g)), for g.size is that of a part",
)
def parts_make_the_whole(subject: Subject, example: Example) -> None:
    """Inside of `shard_map`, `across(tx, axes)` on the parts of arrays equals the transformation on the whole, or
    refuses. Without it, what reduces an array in parts is an error that names the remedy.
    """
    params, gradients = example.filled(2)
    extras = [subject.extra(g, params) for g in gradients]
    updates = run_some(subject.tx, params, gradients, extras)
    for tx, said in ((gx.across(subject.value, AXIS), "across"), (subject.value, "without it")):
        try:
            found = in_parts(tx, params, gradients, extras)
        except ValueError as refusal:
            if "in parts along" in str(refusal) or (said != "across" and "across(tx, axes)" in str(refusal)):
                continue
            raise
        same(updates, found, "updates", "on the whole", f"on the parts, {said}", 1e-5, exact(1e-5, 1e-6))


def run_some(tx: Any, params: Any, gradients: list[Any], extras: list[Any]) -> tuple[list[Any], list[Any]]:
    """The updates of some steps, and the numbers of the last state."""
    state, out = tx.init(params), []
    for g, extra in zip(gradients, extras, strict=True):
        u, state = tx.update(g, state, params, **extra)
        params = gx.apply_updates(params, u)
        out.append(u)
    return out, [x for x in jax.tree.leaves(state) if not np.ndim(x)]


def in_parts(tx: Any, params: Any, gradients: list[Any], extras: list[Any]) -> Any:
    """The same on the parts of the arrays, each on its device."""
    specs = jax.tree.map(spec_for, params)
    run = jax.shard_map(
        lambda *args: run_some(tx, *args),
        mesh=mesh_with(AxisType.Auto),
        in_specs=(specs, [specs] * len(gradients), PartitionSpec()),
        out_specs=([specs] * len(gradients), PartitionSpec()),
    )
    return jax.jit(run)(params, gradients, extras)


def lays_itself(subject: Subject) -> str:
    for node in walk(subject.tx):
        own = node.tx.arguments if isinstance(node.tx, gx.Transformation) else {}
        if node.rule and (node.tx.recipe is gx.zero_redundancy or own.get("axes", AXIS) not in (AXIS, (AXIS,), ())):
            return "it names the axes of a mesh"
    return ""


def is_scale(path: str) -> bool:
    return path.endswith(".scale")


def is_code(path: str) -> bool:
    return path.endswith((".codes", ".scale"))


def excuse_of_parts(subject: Subject) -> str:
    params, (g,) = divisible(subject)[0].filled(1)
    own = "it takes a function of whole arrays" if subject.takes_functions(g, params) else ""
    coded = "each device rounds its own part" if holds_codes(subject) else ""
    noisy = "each device draws noise of its own" if draws_noise(subject) else ""
    return plain_pair(subject) or lays_itself(subject) or own or coded or noisy
