"""The checks of arguments, of trees and of states, and the wording of their errors. None costs anything at run time."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr, tree_flatten_with_path

from gradtx.values.errors import Refusal
from gradtx.values.printing import name_apart, origin_of

# ---- arguments ----


def require_extra(missing: list[str], purpose: str = "") -> None:
    """Refuse an update without the extra arguments that it can't do without."""
    if missing:
        call = ", ".join(f"{name}=…" for name in missing)
        needs = f"update needs {', '.join(missing)}{purpose}"
        raise Refusal(TypeError, f"{needs}: call update(updates, state, params, {call})")


# ---- trees ----


def is_none(x: Any) -> bool:
    return x is None


def path_to(tree: Any, index: int) -> str:
    """The path of a tree's leaf (`None` counts as one), written as Python would index it."""
    return keystr(tree_flatten_with_path(tree, is_leaf=is_none)[0][index][0])


def as_array(leaf: Any, name: str, tree: Any, index: int) -> jax.Array:
    """A leaf as a floating-point or complex array, or an error that says how to leave it out."""
    if isinstance(leaf, jax.Array) and is_inexact(leaf.dtype):
        return leaf
    remedy = "to freeze it, put None in its place or use only(tx, where)"
    where = f"{name}{path_to(tree, index)}"
    try:
        dtype = jnp.result_type(leaf)
    except TypeError:
        raise Refusal(TypeError, f"{where} must be an array, got {type(leaf).__name__}; {remedy}") from None
    if not is_inexact(dtype):
        raise Refusal(TypeError, f"{where} must be floating-point or complex, got {dtype}; {remedy}")
    return jnp.asarray(leaf)


@functools.cache
def is_inexact(dtype: Any) -> bool:
    return jnp.issubdtype(dtype, jnp.inexact)


def promote(a: Any, b: Any = jnp.float32) -> Any:
    """The wider of two dtypes, whatever JAX does by itself."""
    with jax.numpy_dtype_promotion("standard"):
        return jnp.promote_types(a, b)


def match(updates: Any, other: Any, name: str, what: str = "updates") -> list[Any]:
    """The other tree's part at each leaf of the updates; where they hold None, the other may hold anything."""
    structure = jax.tree.structure(updates, is_leaf=is_none)
    try:
        return structure.flatten_up_to(other)
    except ValueError:
        default = f"{what} and {name} differ in the static fields of their nodes"
        raise Refusal(ValueError, first_difference(updates, other, name, what) or default) from None


def first_difference(updates: Any, other: Any, name: str, what: str, path: str = "") -> str | None:
    """The first place where the updates, or what else it is, part from another tree, in words."""
    if updates is None:
        return None
    mine, theirs = children(updates), children(other)
    if mine.keys() == {""}:
        return None  # a leaf, above whatever the other tree has there
    if type(updates) is not type(other):
        here = f"{what}{path}" if path else f"the tree of {what}"
        mine_named, theirs_named = name_apart(type(updates), type(other))
        return f"{here} is of type {mine_named}, in {name} it is {theirs_named}"
    for key in mine:  # in their order
        if key not in theirs:
            return f"{what}{path}{key} has no counterpart in {name}"
    for key in theirs:
        if key not in mine:
            return f"{what} lack {path}{key}, which is in {name}"
    parts = (first_difference(part, theirs[key], name, what, path + key) for key, part in mine.items())
    return next((part for part in parts if part), None)


def children(tree: Any) -> dict[str, Any]:
    """A tree's parts one level down by their keys; a leaf has itself under the empty key, None has none."""
    rows, _ = tree_flatten_with_path(tree, is_leaf=lambda x: x is not tree)
    return {keystr(path): part for path, part in rows}


def movable(params: Any) -> Any:
    """The parameters with None in the places of what no update can move: integers, keys, functions."""
    for p in jax.tree.leaves(params):
        if not can_move(p):
            return jax.tree.map(lambda p: p if can_move(p) else None, params)
    return params


def can_move(p: Any) -> bool:
    dtype = getattr(p, "dtype", None)
    return is_inexact(dtype) if isinstance(dtype, np.dtype) else isinstance(p, float | complex)


def is_float0(u: Any) -> bool:
    """Whether it is the derivative by an integer, which JAX makes where it is allowed to."""
    return getattr(u, "dtype", None) == jax.dtypes.float0


def is_key(x: Any) -> bool:
    """Whether it is an array of JAX's random keys."""
    dtype = getattr(x, "dtype", None)
    return dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)


class Unfit:
    """What stands in a flow for an update that is no array of numbers, or one of each example: an error as soon as it
    is used by a rule that is not made for it.
    """

    def __init__(self, leaf: Any, refusal: Refusal):
        self.leaf, self.refusal = leaf, refusal
        self.of_examples = refusal.kind is not TypeError


def align(updates: Any, params: Any) -> tuple[list[Any], Any, list[Any]]:
    """The updates as arrays like their parameters, each in the wider of the two dtypes, their structure, and the
    parameters beside them. None counts as a leaf.
    """
    leaves, structure = jax.tree.flatten(updates, is_leaf=is_none)
    try:
        weights: list[Any] = [None] * len(leaves) if params is None else match(updates, params, "params")
    except Refusal as refusal:
        if children(updates).keys() & children(params).keys():
            raise
        raise Refusal(ValueError, f"{refusal}; {CALL}") from None  # two trees of two kinds, in one another's place
    for i, u in enumerate(leaves):
        if u is not None:
            p = weights[i]
            arrays = isinstance(u, jax.Array) and isinstance(p, jax.Array)
            if arrays and u.shape == p.shape and u.dtype == p.dtype and is_inexact(u.dtype):
                continue  # the usual case
            if is_float0(u):
                leaves[i] = None
                continue
            try:
                x = as_array(u, "updates", updates, i)
                leaves[i] = x if params is None else fit_to_param(x, p, updates, i)
            except Refusal as refusal:
                if refusal.kind is not TypeError and not has_examples(u, p):
                    raise
                leaves[i] = Unfit(u, refusal)
    return leaves, structure, weights


CALL = "the call is `updates, state = tx.update(updates, state, params)`"


def has_examples(u: Any, p: Any) -> bool:
    """Whether it is like its parameter but for one more axis in front, along which an update may have examples."""
    return can_move(p) and np.ndim(u) == np.ndim(p) + 1 and np.shape(u)[1:] == np.shape(p)


def require_arrays(leaves: list[Any]) -> None:
    """Refuse what is no array of numbers."""
    for u in leaves:
        if isinstance(u, Unfit):
            raise u.refusal


def fit_to_param(u: jax.Array, p: Any, updates: Any, index: int) -> jax.Array:
    """An update that fits its parameter, in the wider of the two dtypes."""
    if p is None:
        where = f"updates{path_to(updates, index)}"
        raise Refusal(ValueError, f"{where} has no counterpart in params, which hold None there")
    if not isinstance(p, jax.Array) and children(p).keys() != {""}:
        where, kind = f"updates{path_to(updates, index)}", type(p).__name__
        raise Refusal(ValueError, f"{where} is an array, in params it is of type {kind}")
    p = as_array(p, "params", updates, index)
    if u.shape != p.shape:
        where = f"updates{path_to(updates, index)}"
        raise Refusal(ValueError, f"{where} has shape {u.shape}, its parameter has {p.shape}")
    if u.dtype == p.dtype:
        return u
    if jnp.iscomplexobj(u) != jnp.iscomplexobj(p):
        where = f"updates{path_to(updates, index)}"
        raise Refusal(TypeError, f"{where} is {u.dtype}, its parameter is {p.dtype}: both must be real or both complex")
    return u.astype(promote(u.dtype, p.dtype))


def require_params(params: Any) -> None:
    if params is None:
        raise Refusal(ValueError, "update needs the parameters: call update(updates, state, params)")


def match_params(made: Any, params: Any, what: str) -> list[Any]:
    """The parameters beside a tree that was made of such parameters; where it holds None, they may hold anything."""
    weights = match(made, params, "params", what)
    for i, x in enumerate(jax.tree.leaves(made, is_leaf=is_none)):
        if x is not None:
            weights[i] = p = as_array(weights[i], "params", made, i)
            if p.shape != x.shape or jnp.iscomplexobj(p) != jnp.iscomplexobj(x):
                got, want = f"{p.dtype}{list(p.shape)}", f"{x.dtype}{list(x.shape)}"
                remedy = "call init with the parameters that are updated"
                raise Refusal(ValueError, f"params{path_to(made, i)} is {got}, in {what} it is {want}; {remedy}")
    return weights


def require_state(state: Any, expected: type) -> None:
    if not isinstance(state, expected):
        got, want = name_apart(type(state), expected)
        article = "an" if got[:1] in "AEIOU" else "a"
        problem = f"the state is {'an array' if isinstance(state, jax.Array) else f'{article} {got}'}, expected {want}"
        raise Refusal(TypeError, f"{problem}: {origin_of(type(state), expected)}")


def require_states(state: Any, parts: tuple[Any, ...] | dict[str, Any]) -> None:
    """Refuse what does not hold one state per part."""
    if isinstance(parts, dict):
        if isinstance(state, dict) and state.keys() == parts.keys():
            return
        want, got = f"a dict of {list(parts)}", list(state) if isinstance(state, dict) else type(state).__name__
    else:
        if isinstance(state, tuple) and len(state) == len(parts):
            return
        want = f"a tuple of {len(parts)}"
        got = f"{len(state)} states" if isinstance(state, tuple) else type(state).__name__
    origin = guess_origin(state, isinstance(state, type(parts)))
    raise Refusal(ValueError, f"the state must be {want}, got {got}: {origin}")


def guess_origin(state: Any, is_kind: bool) -> str:
    """Where a state of another form than that of `init` may come from, and what helps."""
    if is_kind:
        return "it was made by another optimizer; to_flat and from_flat carry it over"
    if isinstance(state, list):  # as it comes from a file without a template
        return "it was restored without its form; restore it into tx.init(params)"
    return f"it is not what init returned; {CALL}"


def require_names(held: dict[str, Any], expected: list[str]) -> None:
    """Refuse a state that holds other hyperparameters."""
    if sorted(held) != sorted(expected):
        problem = f"the state holds {', '.join(held)}, expected {', '.join(expected)}"
        raise Refusal(ValueError, f"{problem}: it was made by another optimizer")


def require_fields(
    columns: dict[str, list[Any]],
    leaves: list[Any],
    expected: Callable[[Any], dict[str, Any]],
    updates: Callable[[], Any],
) -> None:
    """Refuse a state whose arrays were made for other shapes than those of the updates."""
    for name, column in columns.items():
        for i, (u, field) in enumerate(zip(leaves, column, strict=True)):
            if u is None or (field is not None and field.shape == u.shape):
                continue  # the usual case, without asking what shapes the rule expects
            shape = expected(u)[name].shape
            if field is None or field.shape != shape:
                where = f"updates{path_to(updates(), i)}"
                made = "None" if field is None else f"shape {field.shape}, expected {shape}"
                remedy = "call init with the parameters that are updated"
                problem = f"{where} does not fit the state, whose {name} has {made} there"
                raise Refusal(ValueError, f"{problem}; {remedy}")
