"""The curvature of a loss at its parameters, and the learning rates that it allows."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.flatten_util import ravel_pytree
from jax.tree_util import keystr, tree_leaves_with_path

from gradtx.core import check
from gradtx.core.collectives import require_whole_arrays
from gradtx.core.placement import with_automatic_axes
from gradtx.core.reals import put_back, reals
from gradtx.values.errors import Refusal, errors_of, require_whole

Loss = Callable[[Any], Any]


def hvp(loss: Loss, params: Any, vector: Any) -> Any:
    r"""The Hessian-vector product $\nabla^2 L(w)\,v$, for about twice the cost of a gradient, without the Hessian.

    **Arguments:** `loss`, a real scalar function of the parameters alone; `vector` $v$, a tree like `params`. For
    complex parameters the product is the derivative of JAX's gradient along $v$.

    **Raises:** `TypeError` for a loss that is not a real scalar and for leaves that are neither floating-point nor
    complex; `ValueError` for a vector of another structure or other shapes than the parameters.

    **Source:** Pearlmutter, Fast exact multiplication by the Hessian (1994), forward over reverse.

    >>> import gradtx, jax.numpy as jnp
    >>> gradtx.hvp(lambda w: w[0] ** 2 * w[1], jnp.array([1.0, 3.0]), jnp.array([1.0, 0.0]))
    Array([6., 2.], dtype=float32)
    """
    with errors_of("hvp"):
        params = arrays(params, "params")
        vector = like(arrays(vector, "vector"), params)
        scalar(loss, params)
    return jax.jvp(jax.grad(loss), (params,), (vector,))[1]


def largest_eigenvalue(
    loss: Loss, params: Any, *, rtol: float = 1e-5, max_steps: int = 200, key: jax.Array | None = None
) -> jax.Array:
    r"""The algebraically largest eigenvalue of the Hessian, $\max_{\lVert v\rVert=1} v^\top \nabla^2 L(w)\,v$, from
    Hessian-vector products (Lanczos' method), one per step.

    It stops when the residual $\lVert\nabla^2 L\,v - \lambda v\rVert$ is at most `rtol` $|\lambda|$ or as small as
    rounding allows, and at the latest after `max_steps` steps or as many as there are parameters. Stopped early, the
    result is too small, never too large. Where the eigenvalue is simple, its gradient is that of
    $v^\top \nabla^2 L\,v$. At many points, `jax.lax.map` is faster than `vmap`, under which every step has to check
    whether it may stop.

    **Arguments:** `loss`, a function of the parameters alone; `rtol` $\ge 0$, which bounds the relative error; `key` of
    the random start, always the same by default. The steps keep `max_steps` copies of the parameters, in at least
    float32.

    **Raises:** as `hvp` does, and `ValueError` for parameters without a single element and for `max_steps` below 1.

    **Source:** Golub & Van Loan, Matrix Computations (2013), algorithm 10.1.1, with full reorthogonalization.

    >>> import gradtx, jax.numpy as jnp
    >>> gradtx.largest_eigenvalue(lambda w: w["x"] ** 2 / 64 + w["y"] ** 2, {"x": 1.0, "y": 1.0}).round(4)
    Array(2., dtype=float32)
    """
    with errors_of("largest_eigenvalue"):
        return top(loss, params, rtol, max_steps, key)


def smallest_eigenvalue(
    loss: Loss, params: Any, *, rtol: float = 1e-5, max_steps: int = 200, key: jax.Array | None = None
) -> jax.Array:
    r"""The algebraically smallest eigenvalue of the Hessian, $\min_{\lVert v\rVert=1} v^\top \nabla^2 L(w)\,v$, found
    as `largest_eigenvalue` of the negative loss. Stopped early, the result is too large.

    Where it is tiny beside the largest, as in an ill-conditioned problem, it takes many steps: up to as many as there
    are parameters. A negative one means a direction of negative curvature.

    >>> import gradtx, jax.numpy as jnp
    >>> gradtx.smallest_eigenvalue(lambda w: w["x"] ** 2 / 64 + w["y"] ** 2, {"x": 1.0, "y": 1.0}).round(4)
    Array(0.0312, dtype=float32)
    """
    with errors_of("smallest_eigenvalue"):
        params = arrays(params, "params")
        scalar(loss, params)
        return -top(lambda p: -loss(p), params, rtol, max_steps, key)


def condition_number(loss: Loss, params: Any) -> jax.Array:
    r"""The condition number of the Hessian, $\max_i|\lambda_i| / \min_i|\lambda_i|$; infinite for a singular one.

    For small problems: it forms the Hessian of $n$ parameters, $n^2$ numbers, and takes all its eigenvalues. The result
    is right while it is well below one over the dtype's precision, 8e6 in float32; beyond that, only rounding is left
    of the smallest eigenvalue. Gradient descent at its best constant rate shrinks the error by
    $(\kappa - 1)/(\kappa + 1)$ a step.

    **Raises:** as `largest_eigenvalue` does.

    >>> import gradtx, jax.numpy as jnp
    >>> gradtx.condition_number(lambda w: w["x"] ** 2 / 64 + w["y"] ** 2, {"x": 1.0, "y": 1.0})
    Array(64., dtype=float32)
    """
    with errors_of("condition_number"):
        sizes = jnp.abs(of_one_vector(lambda loss, x: jnp.linalg.eigvalsh(jax.hessian(loss)(x)), loss, params))
        least = jnp.min(sizes)
        return jnp.where(least > 0.0, jnp.max(sizes) / jnp.where(least > 0.0, least, 1.0), jnp.inf)


def max_learning_rate(
    loss: Loss, params: Any, *, rtol: float = 1e-5, max_steps: int = 200, key: jax.Array | None = None
) -> jax.Array:
    r"""The bound on the learning rate of gradient descent, $2/\lambda_{\max}$: on a quadratic it converges below the
    bound and diverges above. For other losses this holds near a minimum, with the Hessian there.

    **Arguments:** those of `largest_eigenvalue`.

    **Raises:** as `largest_eigenvalue` does, and `ValueError` where $\lambda_{\max} \le 0$, since there is no bound. In
    `jit`, where values can't be checked, the quotient is then negative or infinite.

    >>> import gradtx, jax.numpy as jnp
    >>> gradtx.max_learning_rate(lambda w: w["x"] ** 2 / 64 + w["y"] ** 2, {"x": 1.0, "y": 1.0}).round(4)
    Array(1., dtype=float32)
    """
    with errors_of("max_learning_rate"):
        largest = top(loss, params, rtol, max_steps, key)
        if not isinstance(largest, Tracer) and largest <= 0.0:
            remedy = "take the Hessian at a minimum, or at parameters where the loss curves upward"
            raise Refusal(ValueError, f"the largest eigenvalue is {largest:g}, so no rate is too large; {remedy}")
        return 2.0 / largest


def convergence_factor(learning_rate: Any, eigenvalue: Any) -> jax.Array:
    r"""The factor by which a step of gradient descent multiplies the error along an eigenvector, $|1 - \eta\lambda|$:
    below 1 this part converges, above 1 it diverges.

    **Arguments:** the learning rate $\eta$ and the Hessian's eigenvalue $\lambda$ along that vector, numbers or arrays.

    >>> import gradtx, jax.numpy as jnp
    >>> gradtx.convergence_factor(1.0, jnp.array([1 / 32, 2.0]))
    Array([0.96875, 1.     ], dtype=float32)
    """
    return jnp.abs(1.0 - jnp.asarray(learning_rate) * jnp.asarray(eigenvalue))


# ---- Lanczos' method ----


def top(loss: Loss, params: Any, rtol: float, max_steps: int, key: jax.Array | None) -> jax.Array:
    require_whole("max_steps", max_steps)

    def quotient(loss: Loss, x: jax.Array) -> jax.Array:
        def product(v: jax.Array) -> jax.Array:
            return jax.jvp(jax.grad(loss), (x,), (v,))[1]

        start = jax.random.normal(jax.random.key(0) if key is None else key, x.shape, x.dtype)
        v = jax.lax.stop_gradient(ritz_vector(product, start, rtol, min(x.size, max_steps)))
        return v @ product(v) / (v @ v)

    return of_one_vector(quotient, loss, params)


def ritz_vector(product: Callable[[jax.Array], jax.Array], start: jax.Array, rtol: float, max_steps: int) -> jax.Array:
    """The best approximation to the top eigenvector in the Krylov space of a symmetric matrix."""
    eps = 8.0 * jnp.finfo(start.dtype).eps
    steps = jnp.arange(max_steps)

    def best(k: jax.Array, diagonal: jax.Array, beside: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The top eigenvector of the tridiagonal matrix after k steps, and whether that is it."""
        scale = jnp.max(jnp.abs(diagonal) + jnp.abs(beside))
        below = -jnp.where(scale > 0.0, 3.0 * scale, 1.0)  # steps to come stand apart, below all eigenvalues
        inside = jnp.where(steps < k - 1, beside, 0.0)[:-1]
        matrix = jnp.diag(jnp.where(steps < k, diagonal, below)) + jnp.diag(inside, 1) + jnp.diag(inside, -1)
        values, vectors = jnp.linalg.eigh(matrix)
        residual = jnp.abs(beside[k - 1] * vectors[k - 1, -1])
        return vectors[:, -1], residual <= jnp.maximum(rtol * jnp.abs(values[-1]), eps * scale)

    def step(carry: Any) -> Any:
        k, q, basis, diagonal, beside, _, _ = carry
        basis = basis.at[k].set(q)
        w = product(q)
        diagonal = diagonal.at[k].set(q @ w)
        for _ in range(2):  # once leaves the rounding of the part that is taken out
            w -= jnp.matmul(jnp.matmul(basis, w, precision="highest"), basis, precision="highest")
        length = jnp.linalg.norm(w)
        beside = beside.at[k].set(length)
        k += 1
        exhausted = length <= eps * jnp.max(jnp.abs(diagonal) + jnp.abs(beside))
        look = (k % 8 == 0) | (k == max_steps) | exhausted
        vector, found = jax.lax.cond(
            look, lambda: best(k, diagonal, beside), lambda: (jnp.zeros_like(diagonal), jnp.array(False))
        )
        return k, w / jnp.where(exhausted, 1.0, length), basis, diagonal, beside, vector, found | exhausted

    none = jnp.zeros(max_steps, start.dtype)
    carry = 0, start / jnp.linalg.norm(start), jnp.zeros((max_steps, start.size), start.dtype), none, none, none, False
    carry = jax.tree.map(jnp.asarray, carry)
    _, _, basis, _, _, vector, _ = jax.lax.while_loop(lambda c: ~c[-1] & (c[0] < max_steps), step, carry)
    return jnp.matmul(vector, basis, precision="highest")


# ---- checks ----


def of_one_vector(run: Callable[[Loss, jax.Array], jax.Array], loss: Loss, params: Any) -> jax.Array:
    """`run(loss, x)` with the loss as a function of one real vector, and the parameters as that vector."""
    params = arrays(params, "params")
    scalar(loss, params)
    parts = reals(params, params, "params")
    if not sum(part.size for part in parts):
        raise Refusal(ValueError, "params hold no array with elements, so there is no Hessian")
    require_whole_arrays(parts, "a Hessian needs them whole: ask for it outside of shard_map")

    def flat(loss: Loss, *parts: jax.Array) -> jax.Array:
        x, restored = ravel_pytree(list(parts))
        return run(lambda x: loss(restored(x)), x)

    return with_automatic_axes(
        flat, lambda parts: loss(put_back(parts, params, params)), parts, parts, lambda: jnp.zeros([])
    )


def arrays(tree: Any, name: str) -> Any:
    leaves, structure = jax.tree.flatten(tree)
    return structure.unflatten([check.as_array(leaf, name, tree, i) for i, leaf in enumerate(leaves)])


def scalar(loss: Loss, params: Any) -> None:
    value = jax.eval_shape(loss, params)
    kind = f"{value.dtype}{list(value.shape)}" if isinstance(value, jax.ShapeDtypeStruct) else type(value).__name__
    if not isinstance(value, jax.ShapeDtypeStruct) or value.shape or not jnp.issubdtype(value.dtype, jnp.floating):
        remedy = "take the mean or the sum, and drop what is beside it"
        raise Refusal(TypeError, f"the loss must return a real scalar, got {kind}; {remedy}")


def like(vector: Any, params: Any) -> Any:
    """The vector in the parameters' dtypes, or an error where it is no such tree."""
    mine, theirs = ({keystr(path): x for path, x in tree_leaves_with_path(tree)} for tree in (vector, params))
    for path in sorted(theirs.keys() - mine.keys()):
        raise Refusal(ValueError, f"vector lacks {path or 'the array'}, which is in params")
    for path in sorted(mine.keys() - theirs.keys()):
        raise Refusal(ValueError, f"vector{path} has no counterpart in params")
    for path, x in mine.items():
        if x.shape != theirs[path].shape:
            shape = theirs[path].shape
            raise Refusal(ValueError, f"vector{path} has shape {x.shape}, its parameter has {shape}")
        if jnp.iscomplexobj(x) and not jnp.iscomplexobj(theirs[path]):
            raise Refusal(TypeError, f"vector{path} is {x.dtype}, its parameter is {theirs[path].dtype}")
    if jax.tree.structure(vector) != jax.tree.structure(params):
        raise Refusal(ValueError, "vector is not of the same tree type as params")
    return jax.tree.map(lambda x, p: x.astype(p.dtype), vector, params)
