"""RMSProp."""

from typing import Annotated

from gradtx.core.combine import chain
from gradtx.core.factories import composition
from gradtx.transforms.momentum import scale_by_momentum
from gradtx.transforms.rate import scale_by_learning_rate
from gradtx.transforms.rms import scale_by_rms
from gradtx.values.annotations import Decay, Fraction, Initial, NonNegative
from gradtx.values.errors import Refusal


@composition
def rmsprop(
    learning_rate: NonNegative,
    decay: Decay = 0.9,
    eps: NonNegative = 1e-8,
    *,
    eps_root: NonNegative = 0.0,
    centered: bool = False,
    debias: bool = False,
    initial: Annotated[NonNegative, Initial] = 0.0,
    momentum: Fraction | None = None,
    nesterov: bool = False,
):
    r"""RMSProp, $w \leftarrow w - \eta\,g/(\sqrt r + \varepsilon)$: `scale_by_rms` times the learning rate; with
    `momentum`, the velocity of that. Optax's default is `eps=0.0, eps_root=1e-8`, $\varepsilon$ inside the root; Keras'
    is `eps=0.0, eps_root=1e-7`, torch's `decay=0.99`.

    **Arguments:** `learning_rate` $\eta \ge 0$; `momentum` $\mu \in [0, 1]$ or None, and `nesterov` as in
    `scale_by_momentum`; the others, the state and the source are those of `scale_by_rms`.

    **Raises:** `ValueError` for `nesterov` without momentum.

    With the rate outside the velocity it equals torch. In Optax and Keras the velocity comes after the rate, which
    differs under a schedule: `chain(scale_by_rms(…), scale_by_learning_rate(…), scale_by_momentum(…))`.

    >>> import gradtx
    >>> gradtx.rmsprop(1e-3, momentum=0.9)
    rmsprop(learning_rate=0.001, momentum=0.9)
    """
    if momentum is None and nesterov:
        raise Refusal(ValueError, "nesterov needs momentum, got momentum=None; give momentum=0.9, say")
    direction = scale_by_rms(decay, eps, eps_root=eps_root, centered=centered, debias=debias, initial=initial)
    velocity = chain() if momentum is None else scale_by_momentum(momentum, nesterov=nesterov)
    return chain(direction, velocity, scale_by_learning_rate(learning_rate))
