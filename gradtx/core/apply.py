"""The last step: adding the updates to the parameters."""

from typing import Any, TypeVar

import jax

from gradtx.core import check
from gradtx.core.placement import lay_like
from gradtx.values.errors import errors_of

T = TypeVar("T")


def apply_updates(params: T, updates: Any) -> T:
    """The parameters plus the updates, $p + u$, each computed in the wider dtype and kept in the parameter's own.

    Its layout over devices stays as well: outside of `jit`, and on axes with explicit types. Where the updates hold
    None, the parameter stays as it is, whatever it is.

    **Raises:** `ValueError` where structures or shapes differ, `TypeError` for an update of an integer parameter.

    >>> import gradtx
    >>> gradtx.apply_updates({"w": 1.0, "frozen": 7}, {"w": 0.5, "frozen": None})
    {'frozen': 7, 'w': Array(1.5, dtype=float32)}
    """
    with errors_of("apply_updates"):
        changes, structure, leaves = check.align(updates, params)
        check.require_arrays(changes)
    moving = [i for i, u in enumerate(changes) if u is not None]
    laid = [lay_like(changes[i], leaves[i]) for i in moving]
    for i, p in zip(moving, add_leaves([leaves[i] for i in moving], laid), strict=True):
        leaves[i] = p
    return structure.unflatten(leaves)


@jax.jit
def add_leaves(params: Any, updates: Any) -> Any:
    def add(p: jax.Array, u: jax.Array) -> jax.Array:  # with lax, since for hundreds of arrays jnp traces for long
        wide = jax.lax.add(jax.lax.convert_element_type(p, u.dtype), u)
        return jax.lax.convert_element_type(wide, p.dtype)

    return jax.tree.map(add, params, updates)
