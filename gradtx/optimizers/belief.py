"""AdaBelief and ACProp: steps over how far gradients are from what was expected of them."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from gradtx.core.combine import chain
from gradtx.core.count import Count
from gradtx.core.factories import composition, transformation
from gradtx.core.lift import per_array
from gradtx.core.quantity import Squares
from gradtx.core.transformation import Updates
from gradtx.core.tree import root
from gradtx.transforms.momentum import debias
from gradtx.transforms.rate import scale_by_learning_rate
from gradtx.values.annotations import Decay, NonNegative


class ScaleByBeliefState(NamedTuple):
    """The state of `scale_by_belief` and of `scale_by_acprop`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.adabelief(1e-3, b1=0.5, b2=0.75)
    >>> _, state = tx.update(jnp.array([2.0]), tx.init(jnp.zeros(1)))
    >>> gradtx.find(state, "mu"), gradtx.find(state, "nu")
    (Array([1.], dtype=float32), Array([0.25], dtype=float32))
    """

    count: Count
    mu: Updates  # what is expected of the gradient: the average of gradients
    nu: Squares  # the average of squared surprises


def start_belief(p: Array) -> dict[str, Array]:
    zeros = jnp.zeros_like(p)
    return dict(mu=zeros, nu=zeros)


@transformation
def scale_by_belief(
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-16,
    eps_root: NonNegative = 1e-16,
    *,
    nesterov: bool = False,
):
    r"""AdaBelief's direction, $\hat m/(\sqrt{\hat s} + \varepsilon)$, with
    $m \leftarrow \beta_1 m + (1 - \beta_1)\,g$, $s \leftarrow \beta_2 s + (1 - \beta_2)(g - m)^2 + \varepsilon_r$ of
    the new $m$, and $\hat m = m/(1 - \beta_1^t)$, $\hat s = s/(1 - \beta_2^t)$. Where gradients are as expected, the
    steps are long, however large or small the gradients are.

    **Arguments:** `b1` $\beta_1$ and `b2` $\beta_2 \in [0, 1)$; `eps` $\varepsilon$ and `eps_root`
    $\varepsilon_r \ge 0$, which stays in $s$, not both 0 where gradients may stay the same (0/0). With `nesterov`,
    $\beta_1 m/(1 - \beta_1^{t+1}) + (1 - \beta_1)\,g/(1 - \beta_1^t)$ takes the place of $\hat m$.

    **State:** `count`, `mu` $m$, `nu` $s$: two arrays per parameter.

    **Source:** Zhuang et al., AdaBelief (2020), algorithm 2. Equals Optax; the authors' code, whose default is to
    rectify as RAdam does, with `rectify=False`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.scale_by_belief()
    >>> tx.update(jnp.array([4.0, -0.5]), tx.init(jnp.zeros(2)))[0].round(1)
    Array([ 1.1, -1.1], dtype=float32)
    """

    def update(g: Array, state: ScaleByBeliefState):
        t = state.count + 1.0
        mu = b1 * state.mu + (1.0 - b1) * g
        nu = b2 * state.nu + (1.0 - b2) * (g - mu) ** 2 + eps_root
        ahead = b1 * debias(mu, b1, t + 1.0) + (1.0 - b1) * debias(g, b1, t) if nesterov else debias(mu, b1, t)
        return ahead / (root(debias(nu, b2, t)) + eps), dict(mu=mu, nu=nu)

    return per_array(ScaleByBeliefState, start_belief, update)


@composition
def adabelief(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-16,
    *,
    eps_root: NonNegative = 1e-16,
    nesterov: bool = False,
):
    r"""AdaBelief, $w \leftarrow w - \eta\,\hat m/(\sqrt{\hat s} + \varepsilon)$: `scale_by_belief` times the learning
    rate.

    **Arguments:** `learning_rate` $\eta \ge 0$; the others, the state and the source are those of `scale_by_belief`.

    >>> import gradtx
    >>> gradtx.adabelief(1e-3)
    adabelief(learning_rate=0.001)
    """
    direction = scale_by_belief(b1, b2, eps, eps_root=eps_root, nesterov=nesterov)
    return chain(direction, scale_by_learning_rate(learning_rate))


@transformation
def scale_by_acprop(b1: Decay = 0.9, b2: Decay = 0.999, eps: NonNegative = 1e-16, *, eps_root: NonNegative = 1e-16):
    r"""ACProp's direction, $g/(\sqrt{\hat s} + \varepsilon)$, over the $\hat s = s/(1 - \beta_2^{t-1})$ of the step
    before, 1 at first; then $s \leftarrow \beta_2 s + (1 - \beta_2)(g - m)^2 + \varepsilon_r$ and
    $m \leftarrow \beta_1 m + (1 - \beta_1)\,g$. No gradient is divided by what it is a part of.

    **Arguments:** `b1` $\beta_1$ and `b2` $\beta_2 \in [0, 1)$; `eps` $\varepsilon$ and `eps_root`
    $\varepsilon_r \ge 0$, which stays in $s$, not both 0 where gradients may stay the same (0/0).

    **State:** `count`, `mu` $m$, `nu` $s$: two arrays per parameter. $m$ serves $s$ alone.

    **Source:** Zhuang et al., Momentum Centering and Asynchronous Update for Adaptive Gradient Methods (2021),
    algorithm 1. Equals `scale_by_acprop` in Optax's `contrib`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.scale_by_acprop()
    >>> g = jnp.array([4.0, -0.5])
    >>> tx.update(g, tx.update(g, tx.init(g))[1])[0]
    Array([ 1., -1.], dtype=float32)
    """

    def update(g: Array, state: ScaleByBeliefState):
        spread = root(debias(state.nu, b2, jnp.maximum(state.count, 1.0)))  # which there is not yet at first
        surprise = g - state.mu
        mu = b1 * state.mu + (1.0 - b1) * g
        nu = b2 * state.nu + (1.0 - b2) * surprise**2 + eps_root
        return g / (jnp.where(state.count > 0.0, spread, 1.0) + eps), dict(mu=mu, nu=nu)

    return per_array(ScaleByBeliefState, start_belief, update)


@composition
def acprop(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-16,
    *,
    eps_root: NonNegative = 1e-16,
):
    r"""ACProp, $w \leftarrow w - \eta\,g/(\sqrt{\hat s} + \varepsilon)$ with the $\hat s$ of the step before:
    `scale_by_acprop` times the learning rate.

    **Arguments:** `learning_rate` $\eta \ge 0$; the others, the state and the source are those of `scale_by_acprop`.
    The first step is $\eta g$.

    >>> import gradtx
    >>> gradtx.acprop(1e-3)
    acprop(learning_rate=0.001)
    """
    return chain(scale_by_acprop(b1, b2, eps, eps_root=eps_root), scale_by_learning_rate(learning_rate))
