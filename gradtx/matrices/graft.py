"""Grafting: the direction of one transformation, as long as that of another."""

import jax
import jax.numpy as jnp
import optax

from gradtx.core.combine import parallel
from gradtx.core.factories import composition
from gradtx.core.tree import norm, root
from gradtx.core.walk import require_no_writing


@composition
def graft(
    direction: optax.GradientTransformation, magnitude: optax.GradientTransformation, *, each_matrix: bool = False
):
    r"""One transformation's direction $s$ with the norm of another one's, $d$, array by array,
    $s\,\|d\|/(\|s\| + 10^{-16})$.

    So a rule whose steps have a size of their own moves with the learning rates that suit another one.

    **Arguments:** two transformations of the same updates, Optax's too; `each_matrix`, whether the norms are those of
    each matrix of a stack, an array's last two dimensions, and not of the array.

    **State:** a tuple of both states.

    **Raises:** `ValueError` for one that writes parameters.

    **Source:** Agarwal et al., Learning rate grafting (2022); Anil et al. (2020) for Shampoo.

    >>> import gradtx as gx, jax.numpy as jnp
    >>> tx = gx.graft(gx.scale_by_sign(), gx.identity())
    >>> tx
    graft(direction=scale_by_sign(), magnitude=identity())
    >>> tx.update(jnp.array([7.0, -1.0]), tx.init(jnp.zeros(2)))[0].round()
    Array([ 5., -5.], dtype=float32)
    """
    require_no_writing(direction, "graft", "direction")
    require_no_writing(magnitude, "graft", "magnitude")
    return parallel(direction, magnitude, join=resize_matrices if each_matrix else resize)


def resize(out: jax.Array, like: jax.Array) -> jax.Array:
    """An array with the norm of another one."""
    return out * (norm(like) / (norm(out) + 1e-16))


def resize_matrices(out: jax.Array, like: jax.Array) -> jax.Array:
    """Each matrix of a stack with the norm of that of another one."""

    def norms(x: jax.Array) -> jax.Array:
        return root(jnp.sum(jnp.square(x), axis=(-2, -1), keepdims=True))

    return out * (norms(like) / (norms(out) + 1e-16))
