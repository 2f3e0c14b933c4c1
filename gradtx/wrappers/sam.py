"""Gradients from where the loss is larger: flat minima in the place of sharp ones."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gradtx.core import check
from gradtx.core.count import Count, increment
from gradtx.core.factories import transformation
from gradtx.core.flow import Flow
from gradtx.core.lift import copy_params
from gradtx.core.quantity import Anchor
from gradtx.core.rule import Part, Rule
from gradtx.core.stage import Fields
from gradtx.core.transformation import advance, start
from gradtx.core.tree import joint_norm, narrow, widen
from gradtx.core.walk import writes
from gradtx.transforms.evaluation import evaluated, in_place_of
from gradtx.values.annotations import NonNegative
from gradtx.values.errors import Refusal, require_whole
from gradtx.values.printing import excerpt
from gradtx.wrappers.branch import advance_where
from gradtx.wrappers.kept import match_kept, promise_kept


class SamState(NamedTuple):
    """The state of `sam(…, transparent=True)`; without, it is that of the transformation in it.

    >>> import gradtx, jax.numpy as jnp
    >>> tx, w = gradtx.sam(gradtx.sgd(1.0), 0.5, transparent=True), jnp.array([4.0])
    >>> updates, state = tx.update(jnp.array([1.0]), tx.init(w), w)
    >>> updates, int(state.steps_since_sync), state.cache
    (Array([0.5], dtype=float32), 1, Array([4.], dtype=float32))
    """

    steps_since_sync: Count  # up, since the last one down
    cache: Anchor  # the parameters from where these started
    inner_state: Any

    def for_evaluation(self, params: Any) -> Any:
        away = self.steps_since_sync > 0
        true = in_place_of(params, self.cache, "the state's cache", lambda a, p: jnp.where(away, a.astype(p.dtype), p))
        return evaluated(self.inner_state, true)  # an average inside is one of these


class Moved(NamedTuple):
    cache: jax.Array
    down: jax.Array  # the step of the transformation
    factor: jax.Array
    first: jax.Array
    last: jax.Array


@transformation
def sam(
    tx: optax.GradientTransformation,
    radius: NonNegative = 0.05,
    steps: int = 1,
    *,
    adaptive: bool = False,
    transparent: bool = False,
):
    r"""The transformation of the gradient where the loss is larger, $T(\nabla L(w + \rho\,g/\lVert g\rVert))$, with the
    norm over all arrays: it looks for minima that are flat.

    `update` takes `grad_fn`, JAX's gradient of the loss as a function of the parameters, and calls it `steps` times,
    each time a radius farther up; inside of `accumulate` it has to be that of the whole window. Where the loop has to
    see each gradient, as with statistics of batches, `transparent` needs no function: so many updates lead up, the next
    one goes back to the parameters from where these started and takes there the step of $T$, with the gradient that it
    is given. Meanwhile `evaluation_parameters(tx, state, params)` are those.

    **Arguments:** `tx` $T$, an Optax transformation too; `radius` $\rho \ge 0$, in the units of the parameters;
    `steps`; `adaptive`, the step up is $\rho\,w^2 g/\lVert |w|\,g\rVert$ (with a larger radius, about 0.5), which does
    not turn on how parameters are scaled.

    **State:** that of `tx`. Where it is transparent `steps_since_sync`, `cache`, one array per parameter in at least
    float32, and that of `tx`, whose schedules count its own steps.

    **Raises:** `TypeError` without `grad_fn`, `ValueError` where `update` is called without the parameters.

    **Source:** Foret et al., Sharpness-Aware Minimization (2020), algorithm 1; Kwon et al., ASAM (2021), without the
    constant beside $|w|$. Optax's `contrib.sam` with `adv_optimizer=chain(contrib.normalize(), sgd(radius))`, whose
    zero gradients are NaN. Complex parameters want `conjugate()` ahead of it.

    >>> import gradtx, jax, jax.numpy as jnp
    >>> grad, w = jax.grad(lambda w: jnp.sum(w**2)), jnp.array([3.0, -4.0])
    >>> tx = gradtx.sam(gradtx.sgd(0.5), radius=5.0)
    >>> tx.update(grad(w), tx.init(w), w, grad_fn=grad)[0]
    Array([-6.,  8.], dtype=float32)
    >>> tx = gradtx.sam(gradtx.sgd(0.5), radius=5.0, transparent=True)
    >>> state = tx.init(w)
    >>> for _ in range(2):
    ...     updates, state = tx.update(grad(w), state, w)
    ...     w = gradtx.apply_updates(w, updates)
    ...     print(w, gradtx.evaluation_parameters(tx, state, w))
    [ 6. -8.] [ 3. -4.]
    [-3.  4.] [-3.  4.]
    """
    require_whole("steps", steps)

    def advance_opaque(flow: Flow, state: Any, extra: dict[str, Any]) -> Any:
        check.require_params(flow.params)
        grad_fn = extra["grad_fn"]
        if not callable(grad_fn):
            got = f"{type(grad_fn).__name__} {excerpt(grad_fn)}"
            raise Refusal(TypeError, f"grad_fn must be a function of the parameters, got {got}")
        flow.updates()
        moved = {i: widen(jnp.asarray(flow.weights[i])) for i, u in enumerate(flow.leaves) if u is not None}
        for _ in range(steps):
            moved = move_up(flow.leaves, moved, radius, adaptive)
            flow.put(gradients_at(grad_fn, moved, flow))
        return advance(tx, flow, state, extra, "tx")

    def init(params: Any) -> SamState:
        return SamState(jnp.zeros([], jnp.int32), copy_params(params), start(tx, params))

    def advance_transparent(flow: Flow, state: Any, extra: dict[str, Any]) -> SamState:
        check.require_state(state, SamState)
        flow.updates()
        column = match_kept(flow, state.cache, "cache")
        first, last = state.steps_since_sync == 0, state.steps_since_sync == steps
        own = flow.fork()
        own.weights = list(own.weights)
        for i, u in enumerate(own.leaves):
            if u is not None:
                p = jnp.asarray(flow.weights[i])
                own.weights[i] = jnp.where(first, p, column[i].astype(p.dtype))
        own.params = own.structure.unflatten(own.weights)
        inner_state = advance_where(last, tx, own, state.inner_state, extra, "tx")
        down, inner_state = own.run(), own.settle(inner_state)
        flow.set({i: None for i, u in enumerate(down) if u is None})
        weights = {i: widen(jnp.asarray(flow.weights[i])) for i, u in enumerate(flow.leaves) if u is not None}
        factor = factor_up(flow.leaves, weights, radius, adaptive)
        rows = [Moved(a, u, factor, first, last) for a, u in zip(column, down, strict=True)]

        def formula(g: jax.Array, row: Any, w: jax.Array) -> tuple[jax.Array, Fields]:
            w = w.astype(g.dtype)
            kept = jnp.where(row.first, w, row.cache.astype(g.dtype))
            up = row.factor.astype(g.dtype) * (w * w * g if adaptive else g)
            return jnp.where(row.last, kept - w + row.down.astype(g.dtype), up), dict(cache=kept)

        fields = flow.then(formula, rows, ["cache"], needs_params=True, exact=writes(tx))
        cache: Any = promise_kept(flow, "cache", column, fields)
        return SamState(jnp.where(last, 0, increment(state.steps_since_sync)), cache, inner_state)

    if transparent:
        return Rule(init, advance_transparent, parts={"tx": Part(tx, ("inner_state",))})
    return Rule(
        lambda params: start(tx, params),
        advance_opaque,
        takes=frozenset({"grad_fn"}),
        needs=("grad_fn",),
        parts={"tx": Part(tx, ())},
    )


def move_up(leaves: list[Any], weights: dict[int, jax.Array], radius: Any, adaptive: bool) -> dict[int, jax.Array]:
    """The parameters, as real arrays, a step along the gradients farther."""
    factor, moved = factor_up(leaves, weights, radius, adaptive), {}
    for i, w in weights.items():
        if leaves[i] is None:  # what has no gradient there stays
            moved[i] = w
            continue
        g = widen(leaves[i])
        w = w.astype(g.dtype)
        moved[i] = w + factor.astype(g.dtype) * (w * w * g if adaptive else g)
    return moved


def factor_up(leaves: list[Any], weights: dict[int, jax.Array], radius: Any, adaptive: bool) -> jax.Array:
    """The number by which gradients become a step of this radius; 0 where they are zeros."""
    arrays = [widen(leaves[i]) for i in weights if leaves[i] is not None]
    if adaptive:
        own = [w for i, w in weights.items() if leaves[i] is not None]
        arrays = [jnp.abs(w).astype(g.dtype) * g for w, g in zip(own, arrays, strict=True)]
    size = joint_norm(arrays)
    return jnp.asarray(radius, size.dtype) / jnp.where(size > 0, size, jnp.inf)


def gradients_at(grad_fn: Any, moved: dict[int, jax.Array], flow: Flow) -> Any:
    """What the function returns at these parameters, as the updates came: conjugate, and in their dtypes."""
    at = [narrow(moved[i], jnp.result_type(p)) if i in moved else p for i, p in enumerate(flow.weights)]
    returned = flow.match(grad_fn(flow.structure.unflatten(at)), "what grad_fn returned")
    leaves: list[Any] = [None] * len(at)
    for i, u in enumerate(flow.leaves):
        if u is not None and returned[i] is not None:
            g = check.as_array(returned[i], "what grad_fn returned", flow.tree, i)
            leaves[i] = jnp.conj(g).astype(u.dtype)
    return flow.structure.unflatten(leaves)
