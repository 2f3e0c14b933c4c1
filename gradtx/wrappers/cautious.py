"""Steps only where the gradient agrees with them."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from gradtx.core.collectives import mean_parts
from gradtx.core.factories import transformation
from gradtx.core.flow import Flow
from gradtx.core.stage import Fields
from gradtx.core.transformation import advance, start
from gradtx.core.walk import require_no_writing
from gradtx.transforms.rate import turns_down
from gradtx.wrappers.branch import rule_around


@transformation
def cautious(tx: optax.GradientTransformation):
    r"""The elements of a direction $u = T(g)$ that agree with the gradient, $u\,k / \max(\operatorname{mean}(k),
    10^{-3})$ with $k = 1$ where $u\,g > 0$ and $k = 0$ elsewhere; the mean is that of each array.

    So no element moves against its gradient, as momentum makes it, and the others move as much farther as there are
    fewer of them. Around an optimizer, whose learning rate has turned the sign, $k = 1$ where $u\,g < 0$, and its decay
    is masked too. Ahead of weight decay and of the learning rate it is the paper's:
    `chain(cautious(scale_by_adam()), add_decayed_weights(0.01), scale_by_learning_rate(1e-3))` is C-AdamW, and with
    `scale_by_lion()` it is C-Lion.

    **Arguments:** `tx` $T$; an Optax transformation too. A rule of your own is taken for a direction.

    **Raises:** `ValueError` for a `tx` that writes parameters, or of which can't be told whether it goes along the
    gradient or down.

    **State:** that of `tx`, whose trees it can go on from.

    **Source:** Liang et al., Cautious Optimizers (2024), algorithm 1. Equal to its author's AdamW; another C-Lion takes
    the sum of $k$ plus one for the mean. Where less than a thousandth of the elements agree, steps stay short.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.cautious(gradtx.scale_by_lion(0.5, 0.5))
    >>> state = tx.init(jnp.zeros(2))
    >>> for g in ([4.0, 4.0], [1.0, -1.0]):
    ...     updates, state = tx.update(jnp.array(g), state)
    ...     print(updates)
    [1. 1.]
    [2. 0.]
    """
    require_no_writing(tx, "cautious")
    keep = keep_opposing if turns_down(tx) else keep_agreeing

    def advance_cautious(flow: Flow, state: Any, extra: dict[str, Any], ok: Any = None) -> Any:
        came = list(flow.run())
        after = advance(tx, flow, state, extra, "tx", ok)
        flow.then(keep, came)
        return after

    return rule_around(tx, lambda params: start(tx, params), advance_cautious)


def keep_agreeing(u: jax.Array, g: jax.Array) -> tuple[jax.Array, Fields]:
    """A direction without the elements whose sign is not the gradient's."""
    agrees = (((u > 0) & (g > 0)) | ((u < 0) & (g < 0))).astype(u.dtype)  # a product could underflow
    return u * (agrees / jnp.maximum(mean_parts(agrees), 1e-3)), {}


def keep_opposing(u: jax.Array, g: jax.Array) -> tuple[jax.Array, Fields]:
    """A descent without the elements that go up."""
    return keep_agreeing(u, -g)
