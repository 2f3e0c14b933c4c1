"""COCOB: each element bets on its own, and has no rate at all."""

from typing import Annotated, NamedTuple

import jax.numpy as jnp
from jax import Array

from gradtx.core.factories import transformation
from gradtx.core.lift import per_array
from gradtx.core.quantity import Anchor, Squares
from gradtx.core.rule import going_down
from gradtx.core.transformation import Updates
from gradtx.values.annotations import Initial, NonNegative, Positive


class CocobState(NamedTuple):
    """The state of `cocob`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx, w = gradtx.cocob(), jnp.zeros(1)
    >>> _, state = tx.update(jnp.array([4.0]), tx.init(w), w)
    >>> state.scale, state.cumulative_gradients
    (Array([4.], dtype=float32), Array([-4.], dtype=float32))
    """

    init_particles: Anchor  # the parameters of init
    cumulative_gradients: Updates  # less their sum
    scale: Squares  # the largest size of a gradient so far
    subgradients: Squares  # the sum of the sizes of gradients
    reward: Squares  # what the bets have won


@transformation
def cocob(alpha: NonNegative = 100.0, eps: Annotated[Positive, Initial] = 1e-8):
    r"""Descent by coin betting, $w \leftarrow w_0 + C\,(L + R)/(L\max(G + L, \alpha L))$, each element by itself:
    $L \leftarrow \max(L, |g|)$, $G \leftarrow G + |g|$, $R \leftarrow \max(R - g\,(w - w_0), 0)$ and
    $C \leftarrow C - g$.

    There is no rate. What comes out is the step to the new parameters, whatever stood in their place: nothing that
    changes updates belongs behind it.

    **Arguments:** `alpha` $\alpha \ge 0$, the steps until an element bets freely; `eps` $\varepsilon > 0$, where $L$
    starts.

    **State:** `init_particles` $w_0$, `cumulative_gradients` $C$, `scale` $L$, `subgradients` $G$ and `reward` $R$:
    five arrays per parameter.

    **Raises:** `ValueError` where `update` is called without the parameters.

    **Source:** Orabona & Tommasi, Training Deep Networks without Learning Rates Through Coin Betting (2017), algorithm
    2. Equals Optax's.

    >>> import gradtx, jax.numpy as jnp
    >>> tx, w = gradtx.cocob(), jnp.array([3.0, 3.0])
    >>> tx.update(jnp.array([8.0, -0.1]), tx.init(w), w)[0].round(4)
    Array([-0.01,  0.01], dtype=float32)
    """

    def init(p: Array):
        zeros = jnp.zeros_like(p)
        particles = dict(init_particles=p, cumulative_gradients=zeros, scale=jnp.full_like(p, eps))
        return particles | dict(subgradients=zeros, reward=zeros)

    def update(g: Array, state: CocobState, p: Array):
        size = jnp.abs(g)
        scale = jnp.maximum(state.scale, size)
        subgradients = state.subgradients + size
        reward = jnp.maximum(state.reward - g * (p - state.init_particles), 0.0)
        cumulative = state.cumulative_gradients - g
        bet = cumulative * (scale + reward) / (scale * jnp.maximum(subgradients + scale, alpha * scale))
        fields = dict(
            init_particles=state.init_particles,
            cumulative_gradients=cumulative,
            scale=scale,
            subgradients=subgradients,
            reward=reward,
        )
        return state.init_particles + bet - p, fields

    return going_down(per_array(CocobState, init, update))
