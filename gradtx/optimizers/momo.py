"""MoMo: Polyak's step for the average of the linear models of past losses, with momentum or with Adam's."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from gradtx.core.count import Count, as_real
from gradtx.core.factories import transformation
from gradtx.core.flow import Flow
from gradtx.core.lift import per_array
from gradtx.core.measurement import as_measurement
from gradtx.core.quantity import Squares
from gradtx.core.reals import dot, reals
from gradtx.core.rule import Rule, going_down
from gradtx.core.transformation import Updates
from gradtx.core.tree import root
from gradtx.optimizers.polyak import ALL_ARRAYS, over_squares
from gradtx.optimizers.whole_tree import (
    AdamStep,
    MomentumStep,
    average_first,
    hold_number,
    spread_row,
    step_by_adam,
    step_by_momentum,
)
from gradtx.transforms.momentum import debias
from gradtx.values.annotations import Decay, NonNegative, Scalar
from gradtx.values.errors import Refusal


class MomoState(NamedTuple):
    """The state of `momo`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx, w = gradtx.momo(), jnp.array([3.0])
    >>> _, state = tx.update(2.0 * w, tx.init(w), w, value=9.0)
    >>> float(state.barf), float(state.gamma), state.exp_avg
    (9.0, 18.0, Array([6.], dtype=float32))
    """

    exp_avg: Updates  # of the gradients
    barf: Array  # of the losses
    gamma: Array  # of the products of gradient and parameters
    lb: Array  # the lower bound of the loss
    count: Count

    @property
    def metrics(self) -> dict[str, Array]:
        return dict(lower_bound=self.lb)


@transformation
def momo(
    learning_rate: NonNegative = 1.0,
    beta: Decay = 0.9,
    lower_bound: Scalar = 0.0,
    weight_decay: NonNegative = 0.0,
    *,
    adapt_lower_bound: bool = False,
):
    r"""Gradient descent with momentum and Polyak's step for the average of the linear models of past losses,
    $w \leftarrow (w - \tau m)/(1 + \alpha\lambda)$ with

    $$\tau = \min(\alpha,\; \max((1 + \alpha\lambda)(\bar f - f_* - \gamma) + m^\top w,\, 0)/\lVert m\rVert^2).$$

    $\bar f$, $m$ and $\gamma$ average the losses $f$, the gradients $g$ and their products $g^\top w$ with
    $\beta$, each from its first value on. Norm and products go over all arrays. The loss is an argument of `update`,
    `value=`. Where $\lVert m\rVert^2 \le 2^{-52}$, $\tau = 0$.

    **Arguments:** `learning_rate` $\alpha \ge 0$, rather too large than too small; `beta` $\beta \in [0, 1)$;
    `lower_bound` $f_*$ of the loss; `weight_decay` $\lambda \ge 0$. With `adapt_lower_bound` the bound is estimated,
    and never falls below `lower_bound`.

    **State:** `exp_avg` $m$, one array per parameter; `count` and three numbers, `barf` $\bar f$, `gamma` $\gamma$ and
    `lb` $f_*$.

    **Raises:** `TypeError` and `ValueError` for a `value` that is missing or no real scalar; `ValueError` where
    `update` is called without the parameters, and where only some arrays are in sight, as in a group of a `partition`.

    **Source:** Schaipp et al., MoMo: Momentum Models for Adaptive Learning Rates (2023). Optax's equals it
    without decay; with one its step is $w/(1 + \alpha\lambda) - \tau m$.

    >>> import gradtx, jax.numpy as jnp
    >>> tx, w = gradtx.momo(), jnp.array([3.0, 4.0])
    >>> tx.update(2.0 * w, tx.init(w), w, value=jnp.sum(w**2))[0]
    Array([-1.5, -2. ], dtype=float32)
    """

    def decay_at(count: Any) -> Any:
        return jnp.where(count == 0, 0.0, beta)  # the first terms start the averages

    def init(p: Array):
        return dict(exp_avg=jnp.zeros_like(p))

    def update(g: Array, state: MomoState):
        own = decay_at(state.count).astype(g.dtype)
        return g, dict(exp_avg=own * state.exp_avg + (1.0 - own) * g)

    averages = average_models(MomoState, init, update, lower_bound)

    def advance_momo(flow: Flow, state: Any, extra: dict[str, Any]) -> MomoState:
        require_whole_tree(flow)
        after, g, w = average_first(averages, flow, state)
        number = state.barf.dtype
        m = reals(after.exp_avg, flow.tree, "the state's exp_avg")
        own = decay_at(state.count).astype(number)
        excess = jnp.asarray(learning_rate * weight_decay, number)
        model = Model(
            loss=own * state.barf + (1.0 - own) * as_measurement("value", extra["value"]).astype(number),
            product=own * state.gamma + (1.0 - own) * dot(g, w).astype(number),
            ahead=dot(m, w).astype(number),
            squares=dot(m, m).astype(number),
            growth=1.0 + excess,
            weight=jnp.ones([], number),
        )
        tau, lb = model.solve(state.lb, lower_bound, learning_rate, adapt_lower_bound)
        row = MomentumStep(after.exp_avg, tau / model.growth, excess / model.growth)
        flow.then(step_by_momentum, spread_row(flow, row), needs_params=True)
        return after._replace(barf=model.loss, gamma=model.product, lb=lb)

    takes = dict(takes=frozenset({"value"}), needs=("value",))
    return going_down(Rule(averages.init, advance_momo, **takes, counts=averages.counts))


class MomoAdamState(NamedTuple):
    """The state of `momo_adam`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx, w = gradtx.momo_adam(b1=0.5), jnp.array([3.0])
    >>> _, state = tx.update(2.0 * w, tx.init(w), w, value=9.0)
    >>> float(state.barf), float(state.gamma), state.exp_avg
    (4.5, 9.0, Array([3.], dtype=float32))
    """

    exp_avg: Updates  # first moment
    exp_avg_sq: Squares  # second moment
    barf: Array  # of the losses
    gamma: Array  # of the products of gradient and parameters
    lb: Array  # the lower bound of the loss
    count: Count

    @property
    def metrics(self) -> dict[str, Array]:
        return dict(lower_bound=self.lb)


@transformation
def momo_adam(
    learning_rate: NonNegative = 1e-2,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    lower_bound: Scalar = 0.0,
    weight_decay: NonNegative = 0.0,
    *,
    adapt_lower_bound: bool = False,
):
    r"""Adam with Polyak's step for the average of the linear models of past losses,
    $w \leftarrow w/(1 + \alpha\lambda) - \tau\,m/D$ with $D = \sqrt{\hat v} + \varepsilon$ and

    $$\tau = \min(\alpha/(1 - \beta_1^t),\; \max((1 + \alpha\lambda)(\bar f - (1 - \beta_1^t) f_* - \gamma) + m^\top w,
    \, 0)/(m^\top(m/D))).$$

    $m$ and $v$ are Adam's moments; $\bar f$ and $\gamma$ average the losses $f$ and the products $g^\top w$ with
    $\beta_1$, from zero. Products go over all arrays. The loss is an argument of `update`, `value=`. Where the
    denominator is at most $2^{-52}$, $\tau = 0$.

    **Arguments:** `learning_rate` $\alpha \ge 0$, rather too large than too small; `b1` $\beta_1$ and `b2`
    $\beta_2 \in [0, 1)$; `eps` $\varepsilon \ge 0$, above 0 where gradients may stay zero; `lower_bound` $f_*$ of the
    loss; `weight_decay` $\lambda \ge 0$. With `adapt_lower_bound` the bound is estimated, and never falls below
    `lower_bound`.

    **State:** `exp_avg` $m$ and `exp_avg_sq` $v$, two arrays per parameter; `count` and three numbers, `barf` $\bar f$,
    `gamma` $\gamma$ and `lb` $f_*$.

    **Raises:** as of `momo`.

    **Source:** Schaipp et al., MoMo: Momentum Models for Adaptive Learning Rates (2023). Equals Optax's.

    >>> import gradtx, jax.numpy as jnp
    >>> tx, w = gradtx.momo_adam(0.5), jnp.array([3.0, -4.0])
    >>> tx.update(2.0 * w, tx.init(w), w, value=jnp.sum(w**2))[0].round(4)
    Array([-0.5,  0.5], dtype=float32)
    """

    def init(p: Array):
        return dict(exp_avg=jnp.zeros_like(p), exp_avg_sq=jnp.zeros_like(p))

    def update(g: Array, state: MomoAdamState):
        mu = b1 * state.exp_avg + (1.0 - b1) * g
        return g, dict(exp_avg=mu, exp_avg_sq=b2 * state.exp_avg_sq + (1.0 - b2) * g**2)

    averages = average_models(MomoAdamState, init, update, lower_bound)

    def advance_momo_adam(flow: Flow, state: Any, extra: dict[str, Any]) -> MomoAdamState:
        require_whole_tree(flow)
        after, g, w = average_first(averages, flow, state)
        number = state.barf.dtype
        t = as_real(state.count).astype(number) + 1.0
        first, second = (1.0 / debias(jnp.ones([], number), b, t) for b in (b1, b2))
        m = reals(after.exp_avg, flow.tree, "the state's exp_avg")
        v = reals(after.exp_avg_sq, flow.tree, "the state's exp_avg_sq")
        over = [x / (root(y / second.astype(y.dtype)) + eps) for x, y in zip(m, v, strict=True)]
        excess = jnp.asarray(learning_rate * weight_decay, number)
        model = Model(
            loss=b1 * state.barf + (1.0 - b1) * as_measurement("value", extra["value"]).astype(number),
            product=b1 * state.gamma + (1.0 - b1) * dot(g, w).astype(number),
            ahead=dot(m, w).astype(number),
            squares=dot(m, over).astype(number),
            growth=1.0 + excess,
            weight=first,
        )
        tau, lb = model.solve(state.lb, lower_bound, learning_rate, adapt_lower_bound)
        beside = jnp.asarray(eps, number)
        row = AdamStep(after.exp_avg, after.exp_avg_sq, tau, beside, second, excess / model.growth)
        flow.then(step_by_adam, spread_row(flow, row), needs_params=True)
        return after._replace(barf=model.loss, gamma=model.product, lb=lb)

    takes = dict(takes=frozenset({"value"}), needs=("value",))
    return going_down(Rule(averages.init, advance_momo_adam, **takes, counts=averages.counts))


# ---- what both do ----


def average_models(state_type: Any, init: Any, update: Any, lower_bound: Any) -> Rule:
    """The rule of the averages alone, with the numbers of the model beside them."""
    starts = dict(barf=0.0, gamma=0.0, lb=lower_bound)
    return per_array(state_type, init, update, {name: (x, hold_number(name)) for name, x in starts.items()})


def require_whole_tree(flow: Flow) -> None:
    if flow.partial:
        raise Refusal(ValueError, f"only some arrays of the tree are in sight here; {ALL_ARRAYS}")


class Model(NamedTuple):
    """The average of linear models of a loss along a direction, in numbers."""

    loss: Array
    product: Array  # of gradients and parameters
    ahead: Array  # the product of the direction's average and the parameters
    squares: Array  # of that average
    growth: Array  # 1 + αλ
    weight: Array  # of the terms in the averages

    def solve(self, lb: Array, lower_bound: Any, alpha: Any, adapt: bool) -> tuple[Array, Array]:
        """How far to go, and the next lower bound."""
        least = jnp.asarray(lower_bound, lb.dtype)
        bound = least
        if adapt:
            cap = self.growth * (self.loss - self.product) + self.ahead
            too_high = cap < self.growth * self.weight * lb
            bound = jnp.where(too_high, jnp.maximum(cap / (2.0 * self.weight * self.growth), least), lb)
        gap = self.growth * (self.loss - self.weight * bound - self.product) + self.ahead
        tau = jnp.minimum(alpha / self.weight, over_squares(jnp.maximum(gap, 0.0), self.squares))
        if adapt:
            seen = (self.loss + self.ahead - self.product - 0.5 * tau * self.squares) / self.weight
            return tau, jnp.maximum(seen, least)
        return tau, least
