"""The scale of an optimizer's steps, learned on the way."""

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
from gradtx.core.reals import dot
from gradtx.core.rule import Part, Rule
from gradtx.core.stage import Fields
from gradtx.core.transformation import advance, start
from gradtx.core.tree import joint_norm, root, widen
from gradtx.core.walk import require_no_writing
from gradtx.values.annotations import NonNegative, Positive
from gradtx.values.errors import require_whole
from gradtx.wrappers.kept import match_kept, promise_kept


class MechanizeState(NamedTuple):
    """The state of `mechanize`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.mechanize(gradtx.sgd(1.0), s_init=0.25, num_betas=2)
    >>> state = tx.init(jnp.zeros(1))
    >>> state.s, float(gradtx.metrics(state)["learned_scale"])
    (Array([0.25, 0.25], dtype=float32), 0.5)
    """

    count: Count
    r: jax.Array  # these four have one number per decay: the reward
    m: jax.Array  # the largest gain
    v: jax.Array  # the sum of squares of gains
    s: jax.Array  # the scales, whose sum is that of the steps
    x0: Anchor  # the parameters at the first update
    inner_state: Any

    @property
    def metrics(self) -> dict[str, jax.Array]:
        return {"learned_scale": jnp.sum(self.s)}


class FromTheStart(NamedTuple):
    x0: jax.Array
    first: jax.Array
    before: jax.Array  # the scale of the way so far
    scale: jax.Array


@transformation
def mechanize(
    tx: optax.GradientTransformation,
    weight_decay: NonNegative = 0.01,
    eps: Positive = 1e-8,
    s_init: Positive = 1e-6,
    num_betas: int = 6,
):
    r"""The steps of an optimizer, $u = T(g)$, times a scale $S = \sum_i s_i$ that is learned:
    $w = w_0 + S \sum u$, also of the steps before.

    With $\Delta = (w_0 - w)/(S + \varepsilon)$, the gradient and a decay
    $g' = g + \lambda S \lVert g\rVert\,w/(\lVert w\rVert + \varepsilon)$ give the gain
    $h = \langle g', \Delta\rangle$ over all arrays, and for each $\beta_i = 1 - 10^{-i}$

    $$\hat h = \min(\max(h, -m), m), \quad m \leftarrow \max(\beta m, |h| + \varepsilon), \quad
    v \leftarrow \beta^2 v + h^2, \quad r \leftarrow \beta r + \hat h\,s, \quad
    s \leftarrow \frac{\frac{s_0}{n}\,m + \max(r, 0)}{\sqrt v + \varepsilon}, \quad
    w \leftarrow w_0 - S\,(\Delta - u).$$

    **Arguments:** `tx` $T$, a whole optimizer, an Optax one too, with a learning rate of 1 or a schedule from there;
    `weight_decay` $\lambda \ge 0$, only in the gain; `eps` $\varepsilon > 0$; `s_init` $s_0 > 0$, each scale at first;
    `num_betas` $n$.

    **State:** `count`; `r`, `m`, `v` and `s`, $n$ numbers each; `x0`, the parameters at the first update, one array
    per parameter in at least float32; that of `tx`. `metrics` has $S$.

    **Raises:** `ValueError` for a `tx` that writes parameters, and where `update` is called without them.

    **Source:** Cutkosky, Defazio & Mehta, Mechanic (2023), algorithm 1. Equals Optax's `contrib.mechanize`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx, w = gradtx.mechanize(gradtx.sgd(1.0), s_init=0.001), jnp.array([4.0])
    >>> state = tx.init(w)
    >>> for _ in range(20):
    ...     updates, state = tx.update(w, state, w)
    ...     w = gradtx.apply_updates(w, updates)
    >>> w.round(2), gradtx.metrics(state)["learned_scale"].round(3)
    (Array([0.02], dtype=float32), Array(0.068, dtype=float32))
    """
    require_no_writing(tx, "mechanize")
    require_whole("num_betas", num_betas)

    def init(params: Any) -> MechanizeState:
        dtype = jnp.result_type(float)
        numbers = {name: jnp.zeros(num_betas, dtype) for name in ("r", "m", "v")}
        s = jnp.full(num_betas, jnp.asarray(s_init, dtype), dtype)
        count, x0, inner_state = jnp.zeros([], jnp.int32), copy_params(params), start(tx, params)
        return MechanizeState(count=count, **numbers, s=s, x0=x0, inner_state=inner_state)

    def advance_scaled_steps(flow: Flow, state: Any, extra: dict[str, Any]) -> MechanizeState:
        check.require_state(state, MechanizeState)
        flow.updates()
        came = list(flow.leaves)
        inner_state = advance(tx, flow, state.inner_state, extra, "tx")
        column = match_kept(flow, state.x0, "x0")
        first, total, dtype = state.count == 0, jnp.sum(state.s), state.s.dtype

        g = [widen(u) for u in came if u is not None]
        w = [widen(jnp.asarray(flow.weights[i])).astype(x.dtype) for i, x in zip(places_of(came), g, strict=True)]
        start_of = [widen(column[i]).astype(x.dtype) for i, x in zip(places_of(came), g, strict=True)]
        way = [jnp.where(first, jnp.zeros_like(p), x - p) for x, p in zip(start_of, w, strict=True)]
        norms = [joint_norm(x).astype(dtype) for x in (g, w)]
        decay = weight_decay * total * norms[0] / (norms[1] + eps)
        gain = (dot(g, way).astype(dtype) + decay * dot(w, way).astype(dtype)) / (total + eps)

        betas = 1.0 - 0.1 ** jnp.arange(1, num_betas + 1, dtype=dtype)
        m = jnp.maximum(betas * state.m, jnp.abs(gain) + eps)
        v = betas**2 * state.v + gain**2
        r = betas * state.r + jnp.clip(gain, -state.m, state.m) * state.s
        s = (s_init / num_betas * m + jnp.maximum(r, 0.0)) / (root(v) + eps)
        numbers = {name: x.astype(dtype) for name, x in dict(r=r, m=m, v=v, s=s).items()}

        rows = [FromTheStart(x, first, total + eps, jnp.sum(s)) for x in column]
        x0: Any = promise_kept(flow, "x0", column, flow.then(step_in_scale, rows, ["x0"], needs_params=True))
        return MechanizeState(count=increment(state.count), **numbers, x0=x0, inner_state=inner_state)

    return Rule(init, advance_scaled_steps, parts={"tx": Part(tx, ("inner_state",))}, counts=(("count",),))


def places_of(leaves: list[Any]) -> list[int]:
    return [i for i, u in enumerate(leaves) if u is not None]


def step_in_scale(u: jax.Array, row: Any, w: jax.Array) -> tuple[jax.Array, Fields]:
    """From where the parameters are to where they would be if all steps had had the new scale."""
    before, scale, w = row.before.astype(u.dtype), row.scale.astype(u.dtype), w.astype(u.dtype)
    x0 = jnp.where(row.first, w, row.x0.astype(u.dtype))
    return (x0 - w) * (1.0 - scale / before) + scale * u, dict(x0=x0)
