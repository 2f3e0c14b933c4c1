"""Clipping by what norms were before: spikes are cut, whatever size a gradient has. The rules are three blocks."""

from typing import Annotated, Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from gradtx.core import check
from gradtx.core.count import Count, as_real, increment
from gradtx.core.factories import transformation
from gradtx.core.flow import Flow
from gradtx.core.lift import multiply, per_array, scaling
from gradtx.core.rule import Rule
from gradtx.core.tree import joint_norm, norm, root
from gradtx.transforms.clip import ClipState, init_clip, next_state, shrinkage
from gradtx.values.annotations import Bound, Check, Decay, Natural, NonNegative, Number, Positive, Steps
from gradtx.values.errors import require_whole
from gradtx.values.ranges import Range


class ZclipState(NamedTuple):
    """The state of `zclip`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.zclip()
    >>> _, state = tx.update(jnp.array([0.6, 0.8]), tx.init(jnp.zeros(2)))
    >>> round(float(state.mean), 4), float(state.variance), bool(state.last.clipped)
    (1.0, 0.0, False)
    """

    count: Count
    mean: Array  # of the norms
    variance: Array
    last: ClipState  # what it did in the last update


@transformation
def zclip(
    max_norm: Bound = 1.0,
    threshold: Positive = 2.5,
    *,
    decay: Decay = 0.97,
    warmup_steps: Steps = 25,
    eps: NonNegative = 1e-6,
):
    r"""ZClip: all arrays as one vector to a norm of at most $c$ and, where its norm $n = \lVert g\rVert_2$ is a spike
    beside those before, to $n^*$:

    $$\zeta = \frac{n - \mu}{\sigma + \varepsilon}, \quad n^* = \mu + \frac{z^2 \sigma}{\zeta} \text{ for } \zeta > z,
    \quad \mu \leftarrow \alpha\mu + (1 - \alpha)\,n', \quad
    \sigma^2 \leftarrow \alpha\sigma^2 + (1 - \alpha)(n' - \mu)^2$$

    with $n' = \min(n, n^*)$: the larger the spike, the shorter the update. $\mu$ and $\sigma^2$ start as the mean and
    the variance of the first norms, which are bounded by $c$ alone. The arrays are those in sight. A norm that is not
    finite is not remembered; `skip_nonfinite` leaves such a step out.

    **Arguments:** `max_norm` $c > 0$, in the units of the gradient, `inf` for no such bound; `threshold` $z > 0$;
    `decay` $\alpha \in [0, 1)$; `warmup_steps` $\ge 1$, the first norms; `eps` $\varepsilon \ge 0$, which is also added
    to the norm that the gradient is divided by.

    **State:** `count`, `mean` $\mu$ and `variance` $\sigma^2$, and in `last` a `ClipState`, for `metrics`.

    **Source:** Kumar et al., ZClip (2025), the authors' default, `adaptive_scaling`; their `max_grad_norm=None` is
    `max_norm=inf`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.zclip(float("inf"), warmup_steps=3)
    >>> state = tx.init(None)
    >>> for g in (1.0, 1.5, 0.5, 5.0):
    ...     updates, state = tx.update(jnp.array([g]), state)
    ...     print(updates.round(2))
    [1.]
    [1.5]
    [0.5]
    [1.26]
    """

    def init(params: Any) -> ZclipState:
        zero = jnp.zeros([], jnp.result_type(float))
        return ZclipState(jnp.zeros([], jnp.int32), zero, jnp.copy(zero), init_clip(params))

    def factor(state: ZclipState, updates: Any) -> tuple[Array, ZclipState]:
        check.require_state(state, ZclipState)
        dtype, t = state.mean.dtype, as_real(state.count) + 1.0
        z, alpha, bound, small = (jnp.asarray(x, dtype) for x in (threshold, decay, max_norm, eps))
        size = joint_norm(updates).astype(dtype)
        sigma = root(state.variance)
        score = (size - state.mean) / jnp.where(sigma + small > 0.0, sigma + small, 1.0)
        warm = t <= warmup_steps
        is_spike = ~warm & (state.variance > 0.0) & (score > z)  # norms that were all alike tell nothing
        kept = jnp.where(is_spike, state.mean + z**2 * sigma / jnp.where(is_spike, score, 1.0), size)
        share = jnp.where(warm, 1.0 / t, 1.0 - alpha)
        mean = state.mean + share * (kept - state.mean)
        # Of the first norms the variance itself: the distances to the mean before and to the one after.
        square = (kept - mean) * (kept - jnp.where(warm, state.mean, mean))
        variance = state.variance + share * (square - state.variance)
        known = jnp.isfinite(size)
        mean, variance = jnp.where(known, mean, state.mean), jnp.where(known, variance, state.variance)
        limit = jnp.minimum(kept, bound)
        is_long = size > limit
        last = next_state(state.last, size, jnp.where(is_long, limit, size), limit)
        after = ZclipState(jnp.where(known, increment(state.count), state.count), mean, variance, last)
        return jnp.where(is_long, limit / jnp.where(is_long, size + small, 1.0), 1.0), after

    return scaling(init, factor)


class PercentileClipState(NamedTuple):
    """The state of `percentile_clip`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.percentile_clip(window=3)
    >>> state = tx.init(None)
    >>> for g in (3.0, 4.0):
    ...     _, state = tx.update(jnp.array([g]), state)
    >>> state.norms
    Array([3., 4., 3.], dtype=float32)
    """

    count: Count
    norms: Array  # the last ones, of which the next takes the place of the oldest
    last: ClipState  # what it did in the last update


Percentile = Annotated[Number, Range(0, 100, "[]")]


def as_window_size(name: str, value: Any) -> int:
    require_whole(name, value)
    return value


@transformation
def percentile_clip(percentile: Percentile = 5, *, window: Annotated[int, Check(as_window_size)] = 100):
    r"""All arrays as one vector to a norm of at most a percentile of the last norms,
    $g\,\min(1,\ n_{(k)}/\lVert g\rVert_2)$ with $k = \lfloor pN/100 \rfloor$ and $n_{(0)} \le n_{(1)} \le \dots$ the
    last $N$ norms, that of $g$ among them.

    At 5, then, all but the shortest steps have the length of a short one; at 95 spikes alone are cut. The first norm
    stands for all before it. The arrays are those in sight. A norm that is not finite is not remembered.

    **Arguments:** `percentile` $p$, from 0 to 100, which is the largest; `window` $N \ge 1$.

    **State:** `count`, `norms`, $N$ numbers, and in `last` a `ClipState`, for `metrics`.

    **Raises:** `TypeError` and `ValueError` for another `window`.

    **Source:** bitsandbytes' `percentile_clipping`, which keeps norms of each array by itself:
    `partition` does that. Seetharaman et al., AutoClip (2020), keeps all norms.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.percentile_clip(50, window=3)
    >>> state = tx.init(None)
    >>> for g in (1.0, 2.0, 3.0, 4.0):
    ...     updates, state = tx.update(jnp.array([g]), state)
    ...     print(updates)
    [1.]
    [1.]
    [2.]
    [3.]
    """

    def init(params: Any) -> PercentileClipState:
        norms = jnp.zeros(window, jnp.result_type(float))
        return PercentileClipState(jnp.zeros([], jnp.int32), norms, init_clip(params))

    def factor(state: PercentileClipState, updates: Any) -> tuple[Array, PercentileClipState]:
        check.require_state(state, PercentileClipState)
        size = joint_norm(updates).astype(state.norms.dtype)
        known = jnp.isfinite(size)
        here = (jnp.arange(window, dtype=jnp.int32) == state.count % window) | (state.count == 0)
        norms = jnp.where(known & here, size, state.norms)
        k = jnp.asarray(percentile, norms.dtype) * window // 100.0
        rank = jnp.clip(k, 0.0, window - 1.0).astype(jnp.int32)
        limit = jnp.take(jnp.sort(norms), rank)
        is_long = known & (size > limit)
        last = next_state(state.last, size, jnp.where(is_long, limit, size), limit)
        after = PercentileClipState(jnp.where(known, increment(state.count), state.count), norms, last)
        return jnp.where(is_long, limit / jnp.where(is_long, size, 1.0), 1.0), after

    return scaling(init, factor)


class AdagcState(NamedTuple):
    """The state of `adagc`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.adagc()
    >>> tx.update(jnp.array([3.0, 4.0]), tx.init(jnp.zeros(2)))[1].norm.round(4)
    Array(1., dtype=float32)
    """

    count: Count
    norm: Any  # the average norm of each array; zero until it had one


@transformation
def adagc(max_ratio: Positive = 1.05, *, decay: Decay = 0.98, max_norm: Bound = 1.0, warmup_steps: Natural = 100):
    r"""AdaGC: each array by itself to a norm of at most $\lambda$ times its own average,
    $\hat g = g\,\min(1,\ \lambda\gamma/\lVert g\rVert_2)$ with
    $\gamma \leftarrow \beta\gamma + (1 - \beta)\lVert\hat g\rVert_2$.

    In the first steps all arrays in sight, as one vector, have a norm of at most $c$, and $\gamma$ is the smallest norm
    so far. Norms of zero are passed over until there was another one: $\gamma = 0$ would hold an array for ever.

    **Arguments:** `max_ratio` $\lambda > 0$; `decay` $\beta \in [0, 1)$; `max_norm` $c > 0$, in the units of the
    gradient, `inf` for none; `warmup_steps` $\ge 0$, the first steps.

    **State:** `count`, and `norm` $\gamma$, one number per array.

    **Source:** Wang et al., AdaGC (2025). In pytorch_optimizer, which adds 1e-8 to the norm of all, the
    first steps are one fewer than its `warmup_steps`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.adagc(2.0, warmup_steps=1)
    >>> _, state = tx.update(jnp.array([0.5]), tx.init(jnp.zeros(1)))
    >>> tx.update(jnp.array([9.0]), state)[0]
    Array([1.], dtype=float32)
    """

    def init(p: Array):
        return dict(norm=jnp.zeros([], p.dtype))

    def update(g: Array, state: AdagcState):
        size, warm, known = norm(g), state.count < warmup_steps, state.norm > 0.0
        bounded = known & ~warm
        # Not `shrinkage`: where the average is not known there is no bound.
        limit = jnp.where(bounded, max_ratio * state.norm, 1.0)
        factor = jnp.where(bounded, limit / jnp.maximum(size, limit), 1.0)
        out = size * factor
        average = jnp.where(warm, jnp.minimum(state.norm, out), decay * state.norm + (1.0 - decay) * out)
        seen = known & ((out > 0.0) | ~warm)
        after = jnp.where(seen, average, jnp.where(known, state.norm, out))
        return g * factor, dict(norm=jnp.where(jnp.isfinite(size), after, state.norm))

    rule = per_array(AdagcState, init, update)

    def advance(flow: Flow, state: AdagcState, extra: dict[str, Any]) -> Any:
        check.require_state(state, AdagcState)
        size = joint_norm(flow.updates())
        factor = jnp.where(as_real(state.count) < warmup_steps, shrinkage(size, max_norm), 1.0)
        flow.then(multiply, [factor] * len(flow.leaves))
        return rule.advance(flow, state, extra)

    return Rule(rule.init, advance, counts=(("count",),))
