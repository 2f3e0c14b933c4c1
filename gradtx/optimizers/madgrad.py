"""MADGRAD: dual averaging from the first parameters, over a cube root."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from gradtx.core.count import Count
from gradtx.core.factories import transformation
from gradtx.core.lift import per_array
from gradtx.core.quantity import Anchor, Slow, Squares
from gradtx.core.rule import going_down
from gradtx.core.tree import root
from gradtx.values.annotations import Fraction, NonNegative


class MadgradState(NamedTuple):
    """The state of `madgrad`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx, w = gradtx.madgrad(1.0, eps=0.0), jnp.array([5.0])
    >>> _, state = tx.update(jnp.array([2.0]), tx.init(w), w)
    >>> state.grad_sum_sq, state.s, state.x0
    (Array([4.], dtype=float32), Array([2.], dtype=float32), Array([5.], dtype=float32))
    """

    count: Count
    grad_sum_sq: Squares  # the weighted sum of squares
    s: Slow  # the weighted sum of gradients
    x0: Anchor  # the parameters before the first update


@transformation
def madgrad(learning_rate: NonNegative = 0.01, momentum: Fraction = 0.9, eps: NonNegative = 1e-6):
    r"""MADGRAD, $w \leftarrow \mu w + (1 - \mu)\,z$ with $z = w_0 - s/(\nu^{1/3} + \varepsilon)$,
    $\nu \leftarrow \nu + l\,g^2$, $s \leftarrow s + l\,g$ and $l = (\eta + \varepsilon)\sqrt t$. What comes out is
    added to the parameters: the rate is inside.

    **Arguments:** `learning_rate` $\eta \ge 0$, often much larger or smaller than SGD's or Adam's; `momentum`
    $\mu \in [0, 1]$, 1 for no step at all; `eps` $\varepsilon \ge 0$, not 0 where gradients may stay zero (0/0). Decay
    is an L2 penalty, `chain(add_decayed_weights(λ), madgrad(η))`, of less than other optimizers need, often none.
    `update` needs the parameters, always those that the last step led to.

    **State:** `count`, `grad_sum_sq` $\nu$, `s` $s$, `x0` $w_0$: three arrays per parameter.

    **Source:** Defazio & Jelassi, Adaptivity without Compromise (2021), algorithm 1. Equals the authors' code, and
    Optax, whose root of $t$ is in float32.

    >>> import gradtx, jax.numpy as jnp
    >>> tx, w = gradtx.madgrad(1.0, momentum=0.5), jnp.array([5.0])
    >>> tx.update(jnp.array([8.0]), tx.init(w), w)[0].round(4)
    Array([-1.], dtype=float32)
    """

    def init(p: Array):
        return dict(grad_sum_sq=jnp.zeros_like(p), s=jnp.zeros_like(p), x0=p)

    def update(g: Array, state: MadgradState, p: Array):
        weight = (learning_rate + eps) * root(state.count + 1.0)
        total = state.grad_sum_sq + weight * g**2
        s = state.s + weight * g
        some = total > 0.0  # the slope of the root at zero is infinite
        size = jnp.where(some, jnp.cbrt(jnp.where(some, total, 1.0)), 0.0) + eps
        u = (1.0 - momentum) * (state.x0 - s / size - p)
        return u, dict(grad_sum_sq=total, s=s, x0=state.x0)

    return going_down(per_array(MadgradState, init, update))
