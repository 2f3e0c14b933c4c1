"""Rates by layer: each array's step in proportion to the norm of its parameter."""

import jax.numpy as jnp
from jax import Array

from gradtx.core.combine import chain
from gradtx.core.factories import composition, transformation
from gradtx.core.lift import stateless
from gradtx.optimizers.adam import scale_by_adam
from gradtx.selectors import Mask
from gradtx.transforms.decay import add_decayed_weights
from gradtx.transforms.momentum import scale_by_momentum
from gradtx.transforms.rate import scale_by_learning_rate
from gradtx.transforms.relative import trust_ratio
from gradtx.values.annotations import Decay, Fraction, NonNegative, Positive


@composition
def lamb(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-6,
    *,
    eps_root: NonNegative = 0.0,
    weight_decay: NonNegative = 0.0,
    mask: Mask | None = None,
):
    r"""LAMB, $w \leftarrow w - \eta\,\lVert w\rVert_2\,r/\lVert r\rVert_2$ array by array, where $r$ is AdamW's
    direction, $\hat m/(\sqrt{\hat v} + \varepsilon) + \lambda w$: Adam for large batches.

    **Arguments:** `learning_rate` $\eta \ge 0$, the share of itself by which an array moves; `weight_decay`
    $\lambda \ge 0$; `mask`, which arrays decay, as in `add_decayed_weights`; the others and the state are those of
    `scale_by_adam`. `update` needs the parameters.

    **Source:** You et al., Large batch optimization for deep learning (2020), algorithm 2, with $\phi(z) = z$. Equals
    Optax's; Keras' $\varepsilon$ is 1e-7.

    >>> import gradtx
    >>> gradtx.lamb(1e-2, weight_decay=0.1)
    lamb(learning_rate=0.01, weight_decay=0.1)
    """
    direction = chain(scale_by_adam(b1, b2, eps, eps_root=eps_root), add_decayed_weights(weight_decay, mask))
    return chain(direction, trust_ratio(), scale_by_learning_rate(learning_rate))


@composition
def lars(
    learning_rate: NonNegative,
    momentum: Fraction = 0.9,
    nesterov: bool = False,
    *,
    coefficient: NonNegative = 1e-3,
    weight_decay: NonNegative = 0.0,
    mask: Mask | None = None,
    eps: NonNegative = 0.0,
):
    r"""LARS, $v \leftarrow \mu v + \eta\,c\,\lVert w\rVert_2\,d/\lVert d\rVert_2$ array by array with
    $d = g + \lambda w$, and $w \leftarrow w - v$: momentum for large batches. The rate is inside the velocity.

    **Arguments:** `learning_rate` $\eta \ge 0$; `momentum` $\mu \in [0, 1]$ and `nesterov` as in `scale_by_momentum`;
    `coefficient` $c \ge 0$, the share of itself by which an array moves; `weight_decay` $\lambda \ge 0$; `mask`, which
    arrays decay and move in proportion to their norm. The others, biases and gains in practice, descend with
    $\eta\,g$; by default there are none. `eps` $\ge 0$ is added to $\lVert d\rVert_2$. `update` needs the parameters.

    **State:** one array per parameter.

    **Source:** You, Gitman & Ginsburg, Large batch training of convolutional networks (2017), algorithm 1. Equals
    Optax's with `mask` for both of its masks; the paper has $\lVert g\rVert_2 + \lambda\lVert w\rVert_2$ for
    $\lVert g + \lambda w\rVert_2$.

    >>> import gradtx
    >>> gradtx.lars(1.0, weight_decay=1e-4, mask=gradtx.by_ndim(at_least=2))
    lars(learning_rate=1.0, weight_decay=0.0001, mask=by_ndim(at_least=2))
    """
    direction = chain(add_decayed_weights(weight_decay, mask), trust_ratio(coefficient, eps=eps, mask=mask))
    return chain(direction, scale_by_learning_rate(learning_rate), scale_by_momentum(momentum, nesterov=nesterov))


@transformation
def renormalize(learning_rate: NonNegative):
    r"""The update changed so that the parameters end shorter, $u' = (w + u)/\sqrt{1 + \eta^2} - w$: a step by the
    share $\eta$ of $w$, at a right angle to it, makes it longer by that factor.

    **Arguments:** `learning_rate` $\eta \ge 0$, that of the chain, a schedule too: it stands last, in
    `chain(trust_ratio(), scale_by_learning_rate(rate), renormalize(rate))`.

    **Raises:** `ValueError` where `update` is called without the parameters.

    **Source:** Bernstein et al., On the distance between two neural networks and the stability of learning (2020),
    the last factor of algorithm 1.

    >>> import gradtx, jax.numpy as jnp
    >>> tx, w = gradtx.renormalize(0.75), jnp.array([4.0, 0.0])
    >>> gradtx.apply_updates(w, tx.update(jnp.array([0.0, 3.0]), tx.init(w), w)[0]).round(3)
    Array([3.2, 2.4], dtype=float32)
    """

    def update(u: Array, p: Array) -> Array:
        square = jnp.square(jnp.asarray(learning_rate, u.dtype))
        longer = jnp.sqrt(1.0 + square)
        return u / longer - square / (longer * (longer + 1.0)) * p

    return stateless(update)


@composition
def fromage(learning_rate: NonNegative, min_norm: Positive = 1e-6):
    r"""Fromage, $w \leftarrow (w - \eta\,\lVert w\rVert_2\,g/\lVert g\rVert_2)/\sqrt{1 + \eta^2}$ array by array: steps
    by a share of the parameters, which don't make them longer.

    **Arguments:** `learning_rate` $\eta \ge 0$, 0.01 for most networks; `min_norm` $> 0$, from which on both norms
    count. `update` needs the parameters.

    **Source:** Bernstein et al., On the distance between two neural networks and the stability of learning (2020),
    algorithm 1. Equals Optax's.

    >>> import gradtx
    >>> gradtx.fromage(0.01)
    fromage(learning_rate=0.01)
    """
    direction = trust_ratio(min_norm=min_norm)
    return chain(direction, scale_by_learning_rate(learning_rate), renormalize(learning_rate))
