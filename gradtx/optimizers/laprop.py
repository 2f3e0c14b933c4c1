"""LaProp: the momentum of normalized gradients."""

from gradtx.core.combine import chain
from gradtx.core.factories import composition
from gradtx.transforms.momentum import bias_correction, ema
from gradtx.transforms.rate import scale_by_learning_rate
from gradtx.transforms.rms import scale_by_rms
from gradtx.values.annotations import Decay, NonNegative


@composition
def scale_by_laprop(b1: Decay = 0.9, b2: Decay = 0.999, eps: NonNegative = 1e-15):
    r"""LaProp's direction, $\hat m$ with $m \leftarrow \beta_1 m + (1 - \beta_1)\,g/(\sqrt{\hat v} + \varepsilon)$,
    $v \leftarrow \beta_2 v + (1 - \beta_2)\,g^2$ and $\hat m = m/(1 - \beta_1^t)$, $\hat v = v/(1 - \beta_2^t)$: each
    gradient is divided by the size of its own time, and is then within $1/\sqrt{1 - \beta_2}$ whatever $\beta_1$ is.

    **Arguments:** `b1` $\beta_1$ and `b2` $\beta_2 \in [0, 1)$; `eps` $\varepsilon \ge 0$, not 0 where gradients
    may stay zero (0/0).

    **State:** those of `scale_by_rms` and `ema`: two arrays per parameter.

    **Source:** Ziyin, Wang & Ueda, LaProp (2020). The authors' code has the rate inside of $m$, which differs under a
    schedule.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.scale_by_laprop()
    >>> tx.update(jnp.array([4.0, -0.5]), tx.init(jnp.zeros(2)))[0].round(5)
    Array([ 1., -1.], dtype=float32)
    """
    return chain(scale_by_rms(b2, eps, debias=True), ema(b1), bias_correction(b1))


@composition
def laprop(learning_rate: NonNegative, b1: Decay = 0.9, b2: Decay = 0.999, eps: NonNegative = 1e-15):
    r"""LaProp, $w \leftarrow w - \eta\,\hat m$, the momentum of normalized gradients: `scale_by_laprop` times the
    learning rate.

    **Arguments:** `learning_rate` $\eta \ge 0$; the others, the state and the source are those of `scale_by_laprop`.

    >>> import gradtx
    >>> gradtx.laprop(4e-4)
    laprop(learning_rate=0.0004)
    """
    return chain(scale_by_laprop(b1, b2, eps), scale_by_learning_rate(learning_rate))
