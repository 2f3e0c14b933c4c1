"""Gradients beside those before them: what stands in front of any optimizer and looks back."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from gradtx.core.count import Count
from gradtx.core.factories import transformation
from gradtx.core.lift import per_array
from gradtx.core.quantity import Slow
from gradtx.core.transformation import Updates
from gradtx.core.tree import norm
from gradtx.transforms.clip import shrinkage
from gradtx.values.annotations import Bound, Decay, NonNegative, Scalar


class MarsState(NamedTuple):
    """The state of `mars`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.mars()
    >>> tx.update(jnp.array([2.0]), tx.init(jnp.zeros(1)))[1].previous_gradient
    Array([2.], dtype=float32)
    """

    previous_gradient: Updates


@transformation
def mars(gamma: NonNegative = 0.025, b1: Decay = 0.95, max_norm: Bound = 1.0):
    r"""MARS, a gradient with less variance in front of any optimizer that averages: $c\,\min(1, \ell/\lVert c\rVert_2)$
    for each array, with $c = g + \gamma\,\frac{\beta_1}{1 - \beta_1}(g - g_-)$ and $g_-$ the gradient before, 0 at
    first.

    In `chain(mars(), adamw(1e-3, 0.95, 0.99))` it is MARS-AdamW; in front of `scale_by_lion` or of `muon` it makes
    theirs.

    **Arguments:** `gamma` $\gamma \ge 0$, 0 for none of it; `b1` $\beta_1 \in [0, 1)$, that of the average behind it;
    `max_norm` $\ell > 0$, in the units of the gradient, `inf` for no clipping.

    **State:** `previous_gradient` $g_-$, one array per parameter.

    **Source:** Yuan et al., MARS (2024), algorithm 2: the approximate form, whose $g_-$ is that of the batch before.
    HeavyBall's does not clip: `max_norm=inf`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.mars(0.5, b1=0.5)
    >>> _, state = tx.update(jnp.array([0.25]), tx.init(jnp.zeros(1)))
    >>> tx.update(jnp.array([0.5]), state)[0]
    Array([0.625], dtype=float32)
    """

    def init(p: Array):
        return dict(previous_gradient=jnp.zeros_like(p))

    def update(g: Array, state: MarsState):
        corrected = g + gamma * (b1 / (1.0 - b1)) * (g - state.previous_gradient)
        return corrected * shrinkage(norm(corrected), max_norm), dict(previous_gradient=g)

    return per_array(MarsState, init, update)


class GrokfastState(NamedTuple):
    """The state of `grokfast`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.grokfast()
    >>> tx.update(jnp.array([2.0]), tx.init(jnp.zeros(1)))[1].ema
    Array([2.], dtype=float32)
    """

    count: Count
    ema: Slow  # the average of gradients


@transformation
def grokfast(decay: Decay = 0.98, gain: NonNegative = 2.0):
    r"""The gradient with its slow part amplified, $g + \lambda h$ with the average
    $h \leftarrow \alpha h + (1 - \alpha)\,g$ that starts at the first gradient.

    Where a network grokks, its test loss falls long after that on what it was trained with: this shortens the wait. It
    stands in front, in `chain(grokfast(), adamw(1e-3))`.

    **Arguments:** `decay` $\alpha \in [0, 1)$, over about $1/(1 - \alpha)$ steps; `gain` $\lambda \ge 0$.

    **State:** `count` and `ema` $h$, one array per parameter. (`parallel(identity(), ema(0.98), join=…)` differs: that
    average starts at zero.)

    **Source:** Lee et al., Grokfast (2024): the authors' `gradfilter_ema`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.grokfast(0.5, gain=1.0)
    >>> u, state = tx.update(jnp.array([2.0]), tx.init(jnp.zeros(1)))
    >>> u, tx.update(jnp.array([0.0]), state)[0]
    (Array([4.], dtype=float32), Array([1.], dtype=float32))
    """

    def init(p: Array):
        return dict(ema=jnp.zeros_like(p))

    def update(g: Array, state: GrokfastState):
        average = jnp.where(state.count < 1.0, g, decay * state.ema + (1.0 - decay) * g)
        return g + gain * average, dict(ema=average)

    return per_array(GrokfastState, init, update)


class OptimisticState(NamedTuple):
    """The state of `optimistic`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.optimistic()
    >>> tx.update(jnp.array([2.0]), tx.init(jnp.zeros(1)))[1].previous_gradient
    Array([2.], dtype=float32)
    """

    count: Count
    previous_gradient: Updates


@transformation
def optimistic(alpha: Scalar = 1.0, beta: Scalar = 1.0):
    r"""What a gradient, or a direction, is expected to be next, $(\alpha + \beta)\,g - \beta g_-$ with the one before,
    $g_- = g$ at first.

    Where two players descend, each on a loss of its own, plain gradients circle around the equilibrium. These find it.

    **Arguments:** `alpha` $\alpha$, the share of the gradient; `beta` $\beta$, that of the last change.

    **State:** `count` and `previous_gradient` $g_-$, one array per parameter.

    **Source:** Daskalakis et al., Training GANs with Optimism (2018), whose $\alpha = \beta = 1$; Mokhtari et al., A
    Unified Analysis of Extra-gradient and Optimistic Gradient Methods (2020). Equals Optax's
    `scale_by_optimistic_gradient`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.optimistic()
    >>> u, state = tx.update(jnp.array([2.0]), tx.init(jnp.zeros(1)))
    >>> u, tx.update(jnp.array([3.0]), state)[0]
    (Array([2.], dtype=float32), Array([4.], dtype=float32))
    """

    def init(p: Array):
        return dict(previous_gradient=jnp.zeros_like(p))

    def update(g: Array, state: OptimisticState):
        before = jnp.where(state.count < 1.0, g, state.previous_gradient)
        return (alpha + beta) * g - beta * before, dict(previous_gradient=g)

    return per_array(OptimisticState, init, update)
