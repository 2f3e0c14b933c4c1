"""FTRL-Proximal: parameters that follow all gradients so far, many of them exactly zero."""

from typing import Annotated, NamedTuple

import jax.numpy as jnp
from jax import Array

from gradtx.core.factories import transformation
from gradtx.core.lift import per_array
from gradtx.core.quantity import Slow, Squares
from gradtx.core.rule import going_down
from gradtx.values.annotations import Initial, NonNegative, Positive


class FtrlState(NamedTuple):
    """The state of `ftrl`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx, w = gradtx.ftrl(0.1, initial=1.0), jnp.array([0.0])
    >>> tx.update(jnp.array([2.0]), tx.init(w), w)[1]
    FtrlState(accumulator=Array([5.], dtype=float32), linear=Array([2.], dtype=float32))
    """

    accumulator: Squares  # the sum of squares
    linear: Slow  # what the parameters are made of


@transformation
def ftrl(
    learning_rate: Positive = 0.001,
    *,
    power: NonNegative = 0.5,
    initial: Annotated[Positive, Initial] = 0.1,
    l1: NonNegative = 0.0,
    l2: NonNegative = 0.0,
    shrinkage: NonNegative = 0.0,
    beta: NonNegative = 0.0,
):
    r"""Follow the regularized leader, $w \leftarrow (\min(\max(z, -\lambda_1), \lambda_1) - z) /
    ((\beta + n^c)/\eta + 2\lambda_2)$: a parameter is exactly zero where $|z| \le \lambda_1$. Each update does
    $n' = n + g^2$, $z \leftarrow z + g + 2\lambda_s w - (n'^c - n^c)\,w/\eta$ and then $n \leftarrow n'$. What comes
    out is added to the parameters: the rate is inside.

    **Arguments:** `learning_rate` $\eta > 0$; `power` $c \ge 0$, $\tfrac12$ as in AdaGrad, 0 for a fixed rate;
    `initial` $n > 0$ before the first update; `l1` $\lambda_1$, `l2` $\lambda_2$ and `shrinkage` $\lambda_s \ge 0$, a
    penalty in the gradient itself; `beta` $\beta \ge 0$. `update` needs the parameters, always those that the last step
    led to. $z$ starts at zero, that is, from parameters of zero: others are pulled there by the first step, the
    less the smaller `initial` is beside $g^2$.

    **State:** `accumulator` $n$ and `linear` $z$: two arrays per parameter.

    **Source:** McMahan et al., Ad Click Prediction (2013), algorithm 1, whose $\lambda_2$ is $2\lambda_2$ here. By
    Keras' code of `Ftrl`, whose `learning_rate_power` is $-c$; it may start from $n = 0$.

    >>> import gradtx, jax.numpy as jnp
    >>> tx, w = gradtx.ftrl(1.0, l1=1.0), jnp.zeros(2)
    >>> tx.update(jnp.array([3.0, 0.5]), tx.init(w), w)[0].round(4)
    Array([-0.663,  0.   ], dtype=float32)
    """

    def init(p: Array):
        return dict(accumulator=jnp.full_like(p, initial), linear=jnp.zeros_like(p))

    def update(g: Array, state: FtrlState, p: Array):
        total = state.accumulator + g**2
        size = total**power
        pull = (size - state.accumulator**power) / learning_rate
        linear = state.linear + g + 2.0 * shrinkage * p - pull * p
        end = (jnp.clip(linear, -l1, l1) - linear) / ((beta + size) / learning_rate + 2.0 * l2)
        return end - p, dict(accumulator=total, linear=linear)

    return going_down(per_array(FtrlState, init, update))
