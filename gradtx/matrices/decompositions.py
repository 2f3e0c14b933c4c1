"""Decompositions and solutions, of which a CPU makes one after the other."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular


def one_by_one(decompose: Callable[..., Any]) -> Callable[..., Any]:
    """A function of one matrix as one of stacks of them, without a derivative. On a CPU it goes through a batch in a
    loop.

    jaxlib shares a batch out among the threads of XLA's pool from inside one of these threads, which waits for the
    others. As many batches at once as there are threads wait for each other for ever: on two cores the two sides of
    SOAP are enough.
    """
    alone = jax.custom_batching.custom_vmap(decompose)

    @alone.def_vmap
    def batched(n: int, is_batched: Any, *xs: jax.Array) -> Any:
        def loop(*xs: jax.Array) -> Any:
            return jax.lax.map(lambda row: alone(*row), xs)

        whole = [x if own else jnp.broadcast_to(x, (n, *x.shape)) for x, own in zip(xs, is_batched, strict=True)]
        out = jax.lax.platform_dependent(*whole, cpu=loop, default=jax.vmap(decompose))
        return out, jax.tree.map(lambda _: True, out)

    def of_stacks(*xs: jax.Array) -> Any:
        run = alone
        for _ in range(xs[0].ndim - 2):
            run = jax.vmap(run)
        return run(*jax.lax.stop_gradient(xs))

    return of_stacks


eigen = one_by_one(lambda s: tuple(jnp.linalg.eigh(s)))
"""The eigenvalues of symmetric matrices, the smallest first, and their vectors as columns."""

orthonormal = one_by_one(lambda x: jnp.linalg.qr(x)[0])
"""Orthonormal columns that span those of each matrix, one after the other."""

singular = one_by_one(lambda x: tuple(jnp.linalg.svd(x, full_matrices=False)))
"""Left singular vectors as columns, singular values, the largest first, and right singular vectors as rows."""

solve_transposed = one_by_one(lambda q, x: solve_triangular(q, x, trans=1))
"""$Q^{-T} X$ for upper triangular matrices $Q$."""
