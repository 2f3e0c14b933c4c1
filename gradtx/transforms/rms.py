"""Division by the root mean square of past gradients."""

from typing import Annotated, NamedTuple

import jax.numpy as jnp
from jax import Array

from gradtx.core.count import Count
from gradtx.core.factories import transformation
from gradtx.core.lift import per_array
from gradtx.core.quantity import Squares
from gradtx.core.transformation import Updates
from gradtx.core.tree import root
from gradtx.transforms import momentum
from gradtx.values.annotations import Decay, Initial, NonNegative


class ScaleByRmsState(NamedTuple):
    """The state of `scale_by_rms`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.rmsprop(1e-3, decay=0.5)
    >>> _, state = tx.update(jnp.array([2.0]), tx.init(jnp.zeros(1)))
    >>> gradtx.find(state, "nu")
    Array([2.], dtype=float32)
    """

    count: Count
    nu: Squares  # the average of squares
    mu: Updates  # the average; None unless centered


@transformation
def scale_by_rms(
    decay: Decay = 0.9,
    eps: NonNegative = 1e-8,
    *,
    eps_root: NonNegative = 0.0,
    centered: bool = False,
    debias: bool = False,
    initial: Annotated[NonNegative, Initial] = 0.0,
):
    r"""The gradient over its root mean square, $g / (\sqrt{r + \varepsilon_r} + \varepsilon)$ with
    $r \leftarrow \rho r + (1 - \rho)\,g^2$; `centered`, over its standard deviation: $r - m^2$ in place of $r$, with
    $m \leftarrow \rho m + (1 - \rho)\,g$. Optax's default is `eps=0.0, eps_root=1e-8`, $\varepsilon$ inside the root.

    **Arguments:** `decay` $\rho \in [0, 1)$; `eps` $\varepsilon$ and `eps_root` $\varepsilon_r \ge 0$,
    not both 0 where gradients may stay zero (0/0); `debias` divides
    the averages by $1 - \rho^t$; `initial` $\ge 0$ is $r$ before the first update.

    **State:** `count`, `nu` $r$ and, centered, `mu` $m$: one array per parameter, two where centered.

    **Source:** Tieleman & Hinton, lecture 6e (2012). $\varepsilon$ outside the root equals torch and Bishop,
    inside it Optax, Keras and Ng.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.scale_by_rms(decay=0.75)
    >>> tx.update(jnp.array([4.0]), tx.init(jnp.array([0.0])))[0]
    Array([2.], dtype=float32)
    """

    def init(p: Array):
        return dict(nu=jnp.full_like(p, initial)) | (dict(mu=jnp.zeros_like(p)) if centered else {})

    def update(g: Array, state: ScaleByRmsState):
        fields = dict(nu=decay * state.nu + (1.0 - decay) * g**2)
        if centered:
            fields |= dict(mu=decay * state.mu + (1.0 - decay) * g)
        averages = fields
        if debias:
            averages = {name: momentum.debias(x, decay, state.count + 1.0) for name, x in fields.items()}
        spread = averages["nu"]
        if centered:
            spread = jnp.maximum(spread - averages["mu"] ** 2, 0.0)  # rounding may take it below
        return g / (root(spread + eps_root) + eps), fields

    return per_array(ScaleByRmsState, init, update)
