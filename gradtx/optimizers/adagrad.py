"""AdaGrad."""

from typing import Annotated, NamedTuple

import jax.numpy as jnp
from jax import Array

from gradtx.core.combine import chain
from gradtx.core.factories import composition, transformation
from gradtx.core.lift import per_array
from gradtx.core.quantity import Squares
from gradtx.core.tree import root
from gradtx.transforms.rate import scale_by_learning_rate
from gradtx.values.annotations import Initial, NonNegative


class ScaleByRssState(NamedTuple):
    """The state of `scale_by_rss`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.adagrad(0.1)
    >>> _, state = tx.update(jnp.array([3.0]), tx.init(jnp.zeros(1)))
    >>> gradtx.find(state, "sum_of_squares")
    Array([9.], dtype=float32)
    """

    sum_of_squares: Squares


@transformation
def scale_by_rss(
    eps: NonNegative = 1e-8, *, eps_root: NonNegative = 0.0, initial: Annotated[NonNegative, Initial] = 0.0
):
    r"""The gradient over the root of the sum of all squares so far, $g / (\sqrt{h + \varepsilon_r} + \varepsilon)$ with
    $h \leftarrow h + g^2$. Nothing is forgotten: under gradients of one size the steps shrink like $1/\sqrt t$.
    Optax's default is `eps=0.0, eps_root=1e-7, initial=0.1`, Keras' too; torch's is `eps=1e-10`.

    **Arguments:** `eps` $\varepsilon$ and `eps_root` $\varepsilon_r \ge 0$, not both 0 where gradients may stay zero
    (0/0); `initial` $\ge 0$ is $h$ before the first update.

    **State:** `sum_of_squares` $h$, one array per parameter.

    **Source:** Duchi, Hazan & Singer, Adaptive Subgradient Methods (2011), figure 1 with a diagonal matrix. Keras'
    documentation, unlike its code, has epsilon outside the root.

    >>> import gradtx, jax.numpy as jnp
    >>> tx, g = gradtx.scale_by_rss(), jnp.array([4.0])
    >>> tx.update(g, tx.update(g, tx.init(g))[1])[0].round(4)
    Array([0.7071], dtype=float32)
    """

    def init(p: Array):
        return dict(sum_of_squares=jnp.full_like(p, initial))

    def update(g: Array, state: ScaleByRssState):
        total = state.sum_of_squares + g**2
        return g / (root(total + eps_root) + eps), dict(sum_of_squares=total)

    return per_array(ScaleByRssState, init, update)


@composition
def adagrad(
    learning_rate: NonNegative,
    *,
    eps: NonNegative = 1e-8,
    eps_root: NonNegative = 0.0,
    initial: Annotated[NonNegative, Initial] = 0.0,
):
    r"""AdaGrad, $w \leftarrow w - \eta\,g/(\sqrt h + \varepsilon)$: `scale_by_rss` times the learning rate.
    Optax's default is `eps=0.0, eps_root=1e-7, initial=0.1`, Keras' too; torch's is `eps=1e-10`.

    **Arguments:** `learning_rate` $\eta \ge 0$, often larger than Adam's; the others, the state and the source are
    those of `scale_by_rss`. For torch's `lr_decay`, give a rate of `inverse_time`.

    >>> import gradtx
    >>> gradtx.adagrad(0.1)
    adagrad(learning_rate=0.1)
    """
    return chain(scale_by_rss(eps, eps_root=eps_root, initial=initial), scale_by_learning_rate(learning_rate))
