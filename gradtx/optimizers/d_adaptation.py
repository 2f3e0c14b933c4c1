"""D-Adaptation: AdamW that finds its learning rate by a bound on the distance to the solution."""

from typing import Annotated, Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from gradtx.core.count import Count, as_real
from gradtx.core.factories import transformation
from gradtx.core.flow import Flow
from gradtx.core.lift import per_array
from gradtx.core.quantity import Slow, Squares
from gradtx.core.reals import dot, reals
from gradtx.core.rule import Rule, going_down
from gradtx.core.transformation import Updates
from gradtx.core.tree import root
from gradtx.optimizers.whole_tree import (
    AdamStep,
    GrowthRate,
    average_first,
    avoid_zero,
    decay_some,
    hold_number,
    spread_row,
    step_by_adam,
    sum_absolutes,
)
from gradtx.selectors import Mask
from gradtx.transforms.momentum import debias
from gradtx.values.annotations import Decay, Initial, NonNegative, Positive


class DAdaptAdamwState(NamedTuple):
    """The state of `dadapt_adamw`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx, w = gradtx.dadapt_adamw(d0=0.5), jnp.array([3.0])
    >>> _, state = tx.update(jnp.array([4.0]), tx.init(w), w)
    >>> {name: float(x) for name, x in gradtx.metrics(state).items()}
    {'distance': 0.5}
    """

    exp_avg: Updates  # first moment, of gradients times rates
    exp_avg_sq: Squares  # second moment
    grad_sum: Slow  # the average of gradients times rates
    estim_lr: Array  # the estimate of the distance to the solution
    numerator_weighted: Array
    count: Count

    @property
    def metrics(self) -> dict[str, Array]:
        return dict(distance=self.estim_lr)


@transformation
def dadapt_adamw(
    learning_rate: NonNegative = 1.0,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0.0,
    *,
    mask: Mask | None = None,
    d0: Annotated[Positive, Initial] = 1e-6,
    growth_rate: GrowthRate | None = None,
):
    r"""AdamW with a lower bound on the distance $d$ to the solution in the place of a tuned learning rate,
    $w \leftarrow w - m/(\sqrt v + \varepsilon) - \ell\lambda w$ with
    $\ell = \eta\,d\,\sqrt{1 - \beta_2^t}/(1 - \beta_1^t)$. Ahead of it, with $\beta = \sqrt{\beta_2}$, in this order:

    $$N \leftarrow \beta N + (1 - \beta)\,\ell\,g^\top(s/(\sqrt v + \varepsilon)), \quad
    m \leftarrow \beta_1 m + (1 - \beta_1)\,\ell g, \quad v \leftarrow \beta_2 v + (1 - \beta_2)\,g^2,$$

    $$s \leftarrow \beta s + (1 - \beta)\,\ell g, \quad
    d \leftarrow \max(d,\; N/((1 - \beta)\lVert s\rVert_1)).$$

    Product and norm go over all arrays. $d$ never falls. Inside of `only` and `partition` the distance is that of the
    arrays of the group.

    **Arguments:** `learning_rate` $\eta \ge 0$, a schedule around 1; `b1` $\beta_1$ and `b2` $\beta_2 \in [0, 1)$;
    `eps` $\varepsilon \ge 0$, above 0 where gradients may stay zero; `weight_decay` $\lambda \ge 0$; `mask`, which
    arrays decay, as in `add_decayed_weights`; `d0` $d_0 > 0$, where $d$ starts, smaller than the distance;
    `growth_rate` $\ge 1$, by which $d$ is multiplied at most in a step, by default without bound: 1.02 makes it grow
    as in a warmup.

    **State:** `exp_avg` $m$, `exp_avg_sq` $v$ and `grad_sum` $s$, three arrays per parameter; `count`, `estim_lr` $d$
    and `numerator_weighted` $N$.

    **Raises:** `ValueError` where `update` is called without the parameters; (`init`) where no array decays.

    **Source:** Defazio & Mishchenko, Learning-Rate-Free Learning by D-Adaptation (2023). Equals Optax's.

    >>> import gradtx, jax.numpy as jnp
    >>> tx, w = gradtx.dadapt_adamw(d0=0.5), jnp.array([3.0, -4.0])
    >>> tx.update(jnp.array([8.0, -0.1]), tx.init(w), w)[0].round(4)
    Array([-0.5,  0.5], dtype=float32)
    """

    def decay_of_sums() -> Any:  # no sooner than in an update: outside it would move a number to the device
        return b2**0.5

    def rate_at(d: Array, count: Array) -> Array:
        t = count + 1.0
        one = jnp.ones_like(t)
        return learning_rate * d * root(1.0 / debias(one, b2, t)) * debias(one, b1, t)

    def init(p: Array):
        zeros = jnp.zeros_like(p)
        return dict(exp_avg=zeros, exp_avg_sq=zeros, grad_sum=zeros)

    def update(g: Array, state: DAdaptAdamwState):
        slow, step = decay_of_sums(), rate_at(state.estim_lr, state.count) * g
        fields = dict(
            exp_avg=b1 * state.exp_avg + (1.0 - b1) * step,
            exp_avg_sq=b2 * state.exp_avg_sq + (1.0 - b2) * g**2,
            grad_sum=slow * state.grad_sum + (1.0 - slow) * step,
        )
        return g, fields

    numbers = dict(estim_lr=d0, numerator_weighted=0.0)
    averages = per_array(DAdaptAdamwState, init, update, {name: (x, hold_number(name)) for name, x in numbers.items()})

    def advance_dadapt(flow: Flow, state: Any, extra: dict[str, Any]) -> DAdaptAdamwState:
        after, g, _ = average_first(averages, flow, state)
        d, slow = state.estim_lr, decay_of_sums()
        rate = rate_at(d, as_real(state.count).astype(d.dtype))
        sums = reals(state.grad_sum, flow.tree, "the state's grad_sum")
        squares = reals(state.exp_avg_sq, flow.tree, "the state's exp_avg_sq")
        # Before the first gradient of an element its sum is zero, and so may be its root.
        scaled = [s / avoid_zero(root(v) + eps) for s, v in zip(sums, squares, strict=True)]
        numerator = slow * state.numerator_weighted + (1.0 - slow) * rate * dot(g, scaled).astype(d.dtype)
        sizes = sum_absolutes(reals(after.grad_sum, flow.tree, "the state's grad_sum")).astype(d.dtype)
        estimate = numerator / avoid_zero((1.0 - slow) * sizes)
        farther = jnp.maximum(d, estimate if growth_rate is None else jnp.minimum(estimate, growth_rate * d))
        one, beside = jnp.ones_like(d), jnp.asarray(eps, d.dtype)
        row = AdamStep(after.exp_avg, after.exp_avg_sq, one, beside, one, weight_decay * rate)
        flow.then(step_by_adam, spread_row(flow, row, mask), needs_params=True)
        return after._replace(estim_lr=farther, numerator_weighted=numerator)

    return going_down(decay_some(Rule(averages.init, advance_dadapt, counts=averages.counts), mask))
