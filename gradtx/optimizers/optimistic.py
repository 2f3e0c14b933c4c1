"""Descent by what a gradient, or a direction, is expected to be next: for games and other saddle points."""

from gradtx.core.combine import chain
from gradtx.core.factories import composition
from gradtx.optimizers.adam import scale_by_adam
from gradtx.transforms.past import optimistic
from gradtx.transforms.rate import scale_by_learning_rate
from gradtx.values.annotations import Decay, NonNegative, Scalar


@composition
def optimistic_gradient_descent(learning_rate: NonNegative, alpha: Scalar = 1.0, beta: Scalar = 1.0):
    r"""Gradient descent that looks ahead, $w \leftarrow w - \eta\,((\alpha + \beta)\,g - \beta g_-)$ with the gradient
    before, $g_-$.

    **Arguments:** `learning_rate` $\eta \ge 0$; the others, the state and the source are those of `optimistic`.

    Equals Optax's function of this name.

    >>> import gradtx
    >>> gradtx.optimistic_gradient_descent(0.1, beta=0.5)
    optimistic_gradient_descent(learning_rate=0.1, beta=0.5)
    """
    return chain(optimistic(alpha, beta), scale_by_learning_rate(learning_rate))


@composition
def optimistic_adam(
    learning_rate: NonNegative,
    alpha: Scalar = 1.0,
    beta: Scalar = 1.0,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    *,
    eps_root: NonNegative = 0.0,
    nesterov: bool = True,
):
    r"""Adam that looks ahead, $w \leftarrow w - \eta\,((\alpha + \beta)\,d - \beta d_-)$ with Adam's direction $d$, by
    default with `nesterov`, and the one before, $d_-$.

    **Arguments:** `learning_rate` $\eta \ge 0$; `alpha` and `beta` as in `optimistic`, the others as in
    `scale_by_adam`.

    **State:** that of `scale_by_adam` and that of `optimistic`, three arrays per parameter.

    **Source:** Daskalakis et al., Training GANs with Optimism (2018), algorithm 1. Equals Optax's
    `optimistic_adam_v2`.

    >>> import gradtx
    >>> gradtx.optimistic_adam(1e-3, nesterov=False)
    optimistic_adam(learning_rate=0.001, nesterov=False)
    """
    direction = scale_by_adam(b1, b2, eps, eps_root=eps_root, nesterov=nesterov)
    return chain(direction, optimistic(alpha, beta), scale_by_learning_rate(learning_rate))
