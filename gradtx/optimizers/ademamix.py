"""AdEMAMix: Adam's direction with a second average of the gradients, one that remembers much longer."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from gradtx.core.combine import chain
from gradtx.core.count import Count
from gradtx.core.factories import composition, transformation
from gradtx.core.lift import per_array
from gradtx.core.quantity import Slow, Squares
from gradtx.core.transformation import Updates
from gradtx.core.tree import root
from gradtx.selectors import Mask
from gradtx.transforms.decay import add_decayed_weights
from gradtx.transforms.momentum import debias
from gradtx.transforms.rate import scale_by_learning_rate
from gradtx.values.annotations import Decay, NonNegative


class ScaleByAdemamixState(NamedTuple):
    """The state of `scale_by_ademamix`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.scale_by_ademamix(b1=0.5, b2=0.75, b3=0.875)
    >>> _, state = tx.update(jnp.array([2.0]), tx.init(jnp.zeros(1)))
    >>> state.m1, state.m2, state.nu
    (Array([1.], dtype=float32), Array([0.25], dtype=float32), Array([1.], dtype=float32))
    """

    count: Count
    m1: Updates  # the fast average of gradients
    m2: Slow  # the slow one
    nu: Squares  # second moment


@transformation
def scale_by_ademamix(
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    b3: Decay = 0.9999,
    alpha: NonNegative = 5.0,
    eps: NonNegative = 1e-8,
    *,
    eps_root: NonNegative = 0.0,
):
    r"""Adam's direction with two averages, $(\hat m + \alpha\,n) / (\sqrt{\hat v + \varepsilon_r} + \varepsilon)$:
    $m \leftarrow \beta_1 m + (1 - \beta_1)\,g$, $n \leftarrow \beta_3 n + (1 - \beta_3)\,g$,
    $v \leftarrow \beta_2 v + (1 - \beta_2)\,g^2$, with $\hat m = m/(1 - \beta_1^t)$, $\hat v = v/(1 - \beta_2^t)$, and
    $n$ as it is. Optax's default is `alpha=6.0`.

    **Arguments:** `b1` $\beta_1$, `b2` $\beta_2$ and `b3` $\beta_3 \in [0, 1)$; `alpha` $\alpha \ge 0$; `eps` and
    `eps_root` $\ge 0$ as in `scale_by_adam`. In the paper $\alpha$ and $\beta_3$ grow over $T$ steps, without which
    long runs may diverge at first: `b3=warmup_memory(0.9999, T), alpha=warmup(5.0, T)`.

    **State:** `count`, `m1` $m$, `m2` $n$, `nu` $v$: three arrays per parameter.

    **Source:** Pagliardini, Ablin & Grangier, The AdEMAMix Optimizer (2024), algorithm 1. Equals Optax's, and the
    authors' code, whose $\alpha$ is 2 by default.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.scale_by_ademamix(b3=0.75, alpha=2.0)
    >>> tx.update(jnp.array([4.0, -0.5]), tx.init(jnp.zeros(2)))[0].round(5)
    Array([ 1.5, -1.5], dtype=float32)
    """

    def init(p: Array):
        zeros = jnp.zeros_like(p)
        return dict(m1=zeros, m2=zeros, nu=zeros)

    def update(g: Array, state: ScaleByAdemamixState):
        t = state.count + 1.0
        m1 = b1 * state.m1 + (1.0 - b1) * g
        m2 = b3 * state.m2 + (1.0 - b3) * g
        nu = b2 * state.nu + (1.0 - b2) * g**2
        mixed = debias(m1, b1, t) + alpha * m2
        return mixed / (root(debias(nu, b2, t) + eps_root) + eps), dict(m1=m1, m2=m2, nu=nu)

    return per_array(ScaleByAdemamixState, init, update)


@composition
def ademamix(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    b3: Decay = 0.9999,
    alpha: NonNegative = 5.0,
    eps: NonNegative = 1e-8,
    *,
    weight_decay: NonNegative = 0.0,
    mask: Mask | None = None,
    eps_root: NonNegative = 0.0,
):
    r"""AdEMAMix, $w \leftarrow w - \eta\,((\hat m + \alpha n)/(\sqrt{\hat v} + \varepsilon) + \lambda w)$, the
    direction of `scale_by_ademamix`. A few hundred steps are too few for its slow average.

    **Arguments:** `learning_rate` $\eta \ge 0$, about AdamW's; `weight_decay` $\lambda \ge 0$ and `mask`, which
    arrays decay, as in `add_decayed_weights`; the others, the state and the source are those of `scale_by_ademamix`.
    `update` needs the parameters.

    >>> import gradtx as gx
    >>> gx.ademamix(1e-3, b3=gx.warmup_memory(0.9999, 100_000), alpha=gx.warmup(5.0, 100_000), weight_decay=0.1).b3
    warmup_memory(decay=0.9999, steps=100000)
    """
    direction = scale_by_ademamix(b1, b2, b3, alpha, eps, eps_root=eps_root)
    return chain(direction, add_decayed_weights(weight_decay, mask), scale_by_learning_rate(learning_rate))


class ScaleBySimplifiedAdemamixState(NamedTuple):
    """The state of `scale_by_simplified_ademamix`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.scale_by_simplified_ademamix(b2=0.75)
    >>> _, state = tx.update(jnp.array([2.0]), tx.init(jnp.zeros(1)))
    >>> state.mu, state.nu
    (Array([2.], dtype=float32), Array([1.], dtype=float32))
    """

    count: Count
    mu: Updates  # the fading sum of gradients
    nu: Squares  # second moment


@transformation
def scale_by_simplified_ademamix(
    b1: Decay = 0.99,
    b2: Decay = 0.95,
    alpha: NonNegative = 0.0,
    eps: NonNegative = 1e-8,
    *,
    eps_root: NonNegative = 0.0,
):
    r"""A velocity and the gradient once more, $(m + \alpha\,g) / (\sqrt{\hat v + \varepsilon_r} + \varepsilon)$ with
    $m \leftarrow \beta_1 m + g$, $v \leftarrow \beta_2 v + (1 - \beta_2)\,g^2$ and $\hat v = v/(1 - \beta_2^t)$.

    $m$ is a sum, not an average: the direction is up to $1/(1 - \beta_1)$ times as large as Adam's.

    **Arguments:** `b1` $\beta_1$ and `b2` $\beta_2 \in [0, 1)$; `alpha` $\alpha \ge 0$; `eps` and `eps_root` $\ge 0$ as
    in `scale_by_adam`.

    **State:** `count`, `mu` $m$, `nu` $v$: two arrays per parameter.

    **Source:** Morwani et al., Connections between Schedule-Free Optimizers, AdEMAMix, and Accelerated SGD Variants
    (2025). Equals Optax.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.scale_by_simplified_ademamix(alpha=2.0)
    >>> tx.update(jnp.array([4.0, -0.5]), tx.init(jnp.zeros(2)))[0].round(5)
    Array([ 3., -3.], dtype=float32)
    """

    def init(p: Array):
        zeros = jnp.zeros_like(p)
        return dict(mu=zeros, nu=zeros)

    def update(g: Array, state: ScaleBySimplifiedAdemamixState):
        mu = b1 * state.mu + g
        nu = b2 * state.nu + (1.0 - b2) * g**2
        spread = debias(nu, b2, state.count + 1.0)
        return (mu + alpha * g) / (root(spread + eps_root) + eps), dict(mu=mu, nu=nu)

    return per_array(ScaleBySimplifiedAdemamixState, init, update)


@composition
def simplified_ademamix(
    learning_rate: NonNegative,
    b1: Decay = 0.99,
    b2: Decay = 0.95,
    alpha: NonNegative = 0.0,
    eps: NonNegative = 1e-8,
    *,
    weight_decay: NonNegative = 0.0,
    mask: Mask | None = None,
    eps_root: NonNegative = 0.0,
):
    r"""Simplified AdEMAMix, $w \leftarrow w - \eta\,((m + \alpha g)/(\sqrt{\hat v} + \varepsilon) + \lambda w)$, the
    direction of `scale_by_simplified_ademamix`.

    **Arguments:** `learning_rate` $\eta \ge 0$, about $1 - \beta_1$ times AdamW's; `weight_decay` $\lambda \ge 0$ and
    `mask`, which arrays decay, as in `add_decayed_weights`; the others, the state and the source are those of
    `scale_by_simplified_ademamix`. `update` needs the parameters.

    >>> import gradtx
    >>> gradtx.simplified_ademamix(1e-5, alpha=100.0)
    simplified_ademamix(learning_rate=1e-05, alpha=100.0)
    """
    direction = scale_by_simplified_ademamix(b1, b2, alpha, eps, eps_root=eps_root)
    return chain(direction, add_decayed_weights(weight_decay, mask), scale_by_learning_rate(learning_rate))
