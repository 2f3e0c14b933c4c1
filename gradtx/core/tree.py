"""The few functions of whole trees that two or more files need."""

from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from gradtx.core.check import is_float0, is_inexact
from gradtx.core.collectives import fold, mean_parts, sum_parts
from gradtx.values.errors import Refusal, errors_of

T = TypeVar("T")


def widen(x: jax.Array) -> jax.Array:
    """The array in at least float32, a complex one as its real and imaginary part stacked in front."""
    if x.dtype.kind == "c":
        return jnp.stack([x.real, x.imag])
    return x.astype(jnp.float32) if x.dtype.itemsize < 4 and is_inexact(x.dtype) else x


def narrow(x: jax.Array, dtype: Any) -> jax.Array:
    """The inverse of `widen`."""
    if x.dtype == dtype and not getattr(x, "weak_type", True):
        return x
    return (jax.lax.complex(x[0], x[1]) if dtype.kind == "c" else x).astype(dtype)


@jax.custom_jvp
def root(x: jax.Array) -> jax.Array:
    """The square root, with gradient zero at zero: what is squared below the root has no kink there worth infinity."""
    return jnp.sqrt(x)


@root.defjvp
def root_jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    y = root(*primals)
    return y, tangents[0] / jnp.where(y > 0, 2.0 * y, jnp.inf)


def norm(x: jax.Array) -> jax.Array:
    """The L2 norm of a real array; its gradient at zero is zero."""
    return root(sum_parts(jnp.square(x)))


def root_mean_square(x: jax.Array) -> jax.Array:
    """The root of the mean square of a real array; its gradient at zero is zero."""
    return root(mean_parts(jnp.square(x)))


@jax.jit
def add_squares(total: jax.Array, x: jax.Array) -> jax.Array:
    return total + jnp.sum(jnp.square(widen(x)))


def find_state_of(kind: type[T], state: Any) -> T:
    """The one state of a kind, wherever it stands inside of a state."""
    leaves = jax.tree.leaves(state, is_leaf=lambda x: isinstance(x, kind))
    found = [x for x in leaves if isinstance(x, kind)]
    if len(found) != 1:
        remedy = "; hand in the one that is meant" if found else ""
        raise Refusal(ValueError, f"the state must hold one {kind.__name__}, got {len(found) or 'none'}{remedy}")
    return found[0]


def global_norm(tree: Any) -> jax.Array:
    r"""The L2 norm of all the arrays of a tree as one vector, $\sqrt{\sum_i |x_i|^2}$, accumulated in at least float32.

    Half-precision arrays never overflow; a float32 norm does above 1.8e19. An empty tree and zeros have norm zero,
    and the gradient there is zero. A complex array counts by its absolute values.

    >>> import gradtx, jax.numpy as jnp
    >>> float(gradtx.global_norm({"w": jnp.array([3.0]), "b": jnp.array([4.0])}))
    5.0
    """
    with errors_of("global_norm"):
        return joint_norm(tree)


def joint_norm(tree: Any) -> jax.Array:
    """As `global_norm`, whose errors are those of the transformation that asks."""
    arrays = [jnp.asarray(x) for x in jax.tree.leaves(tree) if not is_float0(x)]
    return root(fold(add_squares, arrays, jnp.zeros([], jnp.float32)))
