"""Gradient descent with noise: to find other minima, and to keep the examples private."""

from gradtx.core.combine import chain
from gradtx.core.factories import composition
from gradtx.core.keys import Seed
from gradtx.optimizers.sgd import sgd
from gradtx.transforms.examples import private
from gradtx.transforms.noise import add_noise
from gradtx.transforms.rate import scale_by_learning_rate
from gradtx.values.annotations import Fraction, NonNegative, Positive


@composition
def noisy_sgd(learning_rate: NonNegative, eta: NonNegative = 0.01, gamma: NonNegative = 0.55, *, key: Seed):
    r"""Gradient descent with noise that fades, $w \leftarrow w - \eta\,(g + \sqrt{\eta_0/t^\gamma}\,n)$ with $n$ of
    $N(0, 1)$ for each element.

    **Arguments:** `learning_rate` $\eta \ge 0$; `eta` $\eta_0$, `gamma` $\gamma$ and `key`, the state and the source
    are those of `add_noise`.

    >>> import gradtx
    >>> gradtx.noisy_sgd(0.1, key=0)
    noisy_sgd(learning_rate=0.1, key=0)
    """
    return chain(add_noise(eta, gamma, key=key), scale_by_learning_rate(learning_rate))


@composition
def dpsgd(
    learning_rate: NonNegative,
    max_norm: Positive,
    noise_multiplier: NonNegative,
    momentum: Fraction | None = None,
    nesterov: bool = False,
    *,
    key: Seed,
    batch_size: Positive | None = None,
):
    r"""Differentially private gradient descent, $w \leftarrow w - \eta\,\tilde g$ with the bounded and noisy mean
    $\tilde g$ of `private`; with `momentum`, its velocity.

    It takes a gradient of each example. What privacy it gives an accountant says: read `private`.

    **Arguments:** `learning_rate` $\eta \ge 0$; `max_norm`, `noise_multiplier`, `key` and `batch_size` as in `private`;
    `momentum` $\mu \in [0, 1]$ and `nesterov` as in `sgd`.

    **State:** that of `private`, with momentum one array per parameter.

    **Source:** Abadi et al., Deep Learning with Differential Privacy (2016), algorithm 1. Optax's function of this name
    draws other numbers.

    >>> import gradtx, jax, jax.numpy as jnp
    >>> def loss(w, example):
    ...     return 0.5 * (w - example) ** 2
    >>> tx, w = gradtx.dpsgd(0.5, 1.0, 0.1, key=0), jnp.array(1.0)
    >>> g = jax.vmap(jax.grad(loss), (None, 0))(w, jnp.array([-9.0, 0.5, 0.5]))
    >>> updates, state = tx.update(g, tx.init(w), w)
    >>> bool(-0.5 < updates < -0.2)  # without noise and bounds -1.833
    True
    """
    mean = private(max_norm, noise_multiplier, key=key, batch_size=batch_size)
    return chain(mean, sgd(learning_rate, momentum, nesterov))
