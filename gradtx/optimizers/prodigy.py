"""Prodigy: AdamW that finds its learning rate by how far it has come."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from gradtx.core.collectives import require_whole_arrays
from gradtx.core.count import Count, as_real
from gradtx.core.factories import transformation
from gradtx.core.flow import Flow
from gradtx.core.lift import per_array
from gradtx.core.placement import run_on_automatic_axes, stay_like
from gradtx.core.quantity import Anchor, Slow, Squares
from gradtx.core.reals import dot
from gradtx.core.rule import Rule, going_down
from gradtx.core.transformation import Updates
from gradtx.core.tree import root
from gradtx.optimizers.whole_tree import (
    AdamStep,
    GrowthRate,
    arrays_of,
    average_first,
    avoid_zero,
    decay_some,
    hold_number,
    spread_row,
    step_by_adam,
    sum_absolutes,
)
from gradtx.selectors import Mask
from gradtx.transforms.momentum import debias as correct
from gradtx.values.annotations import Decay, NonNegative, Positive
from gradtx.values.errors import require_whole


class ProdigyState(NamedTuple):
    """The state of `prodigy`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx, w = gradtx.prodigy(d0=0.5), jnp.array([3.0])
    >>> _, state = tx.update(jnp.array([4.0]), tx.init(w), w)
    >>> {name: float(x) for name, x in gradtx.metrics(state).items()}
    {'distance': 0.5}
    """

    exp_avg: Updates  # first moment
    exp_avg_sq: Squares  # second moment
    grad_sum: Slow  # the weighted sum of gradients
    params0: Anchor  # the parameters of init
    estim_lr: Array  # the estimate of the distance from these to the solution
    numerator_weighted: Array
    count: Count
    d_max: Array | None = None  # the largest estimate so far, where `growth_rate` holds `estim_lr` back

    @property
    def metrics(self) -> dict[str, Array]:
        return dict(distance=self.estim_lr)


@transformation
def prodigy(
    learning_rate: NonNegative = 1.0,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    b3: Decay | None = None,
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0.0,
    *,
    mask: Mask | None = None,
    d0: Positive = 1e-6,
    coef: Positive = 1.0,
    debias: bool = False,
    safeguard: bool = False,
    growth_rate: GrowthRate | None = None,
    slice_p: int = 1,
):
    r"""AdamW with an estimate of the distance $d$ to the solution in the place of a tuned learning rate,
    $w \leftarrow w - \ell\,(m/(\sqrt v + d'\varepsilon) + \lambda w)$ with $\ell = \eta\,d$. Optax's default is
    `debias=True`.

    The distance is estimated by how far the parameters have come:

    $$m \leftarrow \beta_1 m + (1 - \beta_1)\,d g, \quad v \leftarrow \beta_2 v + (1 - \beta_2)\,d^2 g^2,$$

    $$s \leftarrow \beta_3 s + \ell g\,d/d_0, \quad N \leftarrow \beta_3 N + \ell\,g^\top(w_0 - w)\,d/d_0, \quad
    d' = \max(d,\; c N/\lVert s\rVert_1), \quad d \leftarrow d'.$$

    Product and norm go over all arrays. $d$ never falls: it grows as long as the gradients lead away from $w_0$.
    Inside of `only` and `partition` the distance is that of the arrays of the group.

    **Arguments:** `learning_rate` $\eta \ge 0$, a schedule around 1; `b1` $\beta_1$, `b2` $\beta_2$ and `b3` $\beta_3
    \in [0, 1)$, by default $\sqrt{\beta_2}$; `eps` $\varepsilon \ge 0$, above 0 where gradients may stay zero;
    `weight_decay` $\lambda \ge 0$; `mask`, which arrays decay, as in `add_decayed_weights`; `d0` $d_0 > 0$, smaller
    than the distance; `coef` $c > 0$. With `debias` $\ell = \eta\,d\sqrt{1 - \beta_2^t}/(1 - \beta_1^t)$. With
    `safeguard` $d$ takes the place of $\ell$ in $s$: for a warmup of the rate. `growth_rate` $\gamma \ge 1$, by which
    $d$ is multiplied at most in a step once it has left $d_0$, $d' = \min(d_\text{max}, \gamma d)$ with the largest
    estimate so far, by default without bound: 1.02 makes it grow as in a warmup. `slice_p` $p$: $s$, the product and
    the norm are those of every $p$-th element of each array, in the order of rows, about 11 to save memory.

    **State:** `exp_avg` $m$ and `exp_avg_sq` $v$, two arrays per parameter, `grad_sum` $s$ and `params0` $w_0$, two of
    $1/p$ of its elements; `count`, `estim_lr` $d$, `numerator_weighted` $N$ and with `growth_rate` `d_max`.

    **Raises:** `ValueError` where `update` is called without the parameters, and for arrays that are in parts inside of
    `shard_map` with `slice_p`; (`init`) where no array decays; `TypeError` and `ValueError` for a `slice_p` that is no
    whole number from 1 on.

    **Source:** Mishchenko & Defazio, Prodigy (2023), the Adam form.

    >>> import gradtx, jax.numpy as jnp
    >>> tx, w = gradtx.prodigy(d0=0.5, debias=True), jnp.array([3.0, -4.0])
    >>> tx.update(jnp.array([8.0, -0.1]), tx.init(w), w)[0].round(4)
    Array([-0.5,  0.5], dtype=float32)
    """

    require_whole("slice_p", slice_p)

    def decay_of_sums() -> Any:  # no sooner than in an update: outside it would move a number to the device
        return b2**0.5 if b3 is None else b3

    def rate_at(d: Array, count: Array) -> Array:
        t, rate = count + 1.0, learning_rate * d
        return (
            rate * root(1.0 / correct(jnp.ones_like(t), b2, t)) * correct(jnp.ones_like(t), b1, t) if debias else rate
        )

    def some(x: Array) -> Array:
        return x if slice_p == 1 else take_every(x, slice_p)

    def init(p: Array):
        zeros = jnp.zeros_like(p)
        return dict(exp_avg=zeros, exp_avg_sq=zeros, grad_sum=some(zeros), params0=some(p))

    def update(g: Array, state: ProdigyState):
        d = state.estim_lr
        weight = d / d0 * (d if safeguard else rate_at(d, state.count))
        sums = decay_of_sums() * state.grad_sum + weight * some(g)
        fields = dict(
            exp_avg=b1 * state.exp_avg + (1.0 - b1) * d * g,
            exp_avg_sq=b2 * state.exp_avg_sq + (1.0 - b2) * (d * g) ** 2,
            grad_sum=sums if slice_p == 1 else stay_like(sums, state.grad_sum),
            params0=state.params0,
        )
        return g, fields

    numbers = dict(estim_lr=d0, numerator_weighted=0.0) | ({} if growth_rate is None else dict(d_max=d0))
    averages = per_array(ProdigyState, init, update, {name: (x, hold_number(name)) for name, x in numbers.items()})

    def advance_prodigy(flow: Flow, state: Any, extra: dict[str, Any]) -> ProdigyState:
        after, g, w = average_first(averages, flow, state)
        d = state.estim_lr
        rate = rate_at(d, as_real(state.count).astype(d.dtype))
        start = arrays_of(flow, state.params0, "the state's params0")
        sums = arrays_of(flow, after.grad_sum, "the state's grad_sum")
        back = [x.astype(p.dtype) - some(p) for x, p in zip(start, w, strict=True)]
        along = dot([some(x) for x in g], back).astype(d.dtype)
        numerator = decay_of_sums() * state.numerator_weighted + d / d0 * rate * along
        sizes = sum_absolutes(sums).astype(d.dtype)
        estimate = coef * numerator / avoid_zero(sizes)  # where the sum is zero so is the numerator
        farther, d_max = jnp.maximum(d, estimate), None
        if growth_rate is not None:
            d_max = jnp.maximum(state.d_max, estimate)
            first = d == jnp.asarray(d0, d.dtype)  # it grows from the first estimate
            farther = jnp.minimum(d_max, growth_rate * jnp.where(first, farther, d))
        one = jnp.ones_like(d)
        row = AdamStep(after.exp_avg, after.exp_avg_sq, rate, farther * eps, one, weight_decay * rate)
        flow.then(step_by_adam, spread_row(flow, row, mask), needs_params=True)
        return after._replace(estim_lr=farther, numerator_weighted=numerator, d_max=d_max)

    return going_down(decay_some(Rule(averages.init, advance_prodigy, counts=averages.counts), mask))


def take_every(x: Array, p: int) -> Array:
    """Every so many elements of an array, in the order of rows."""
    require_whole_arrays([x], "which elements count needs it whole: use jit, which shards it by itself")
    like = jnp.zeros(-(-x.size // p), x.dtype)
    return run_on_automatic_axes(lambda x: jnp.ravel(x)[::p], (x,), like)
