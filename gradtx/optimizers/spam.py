"""SPAM: Adam that bounds single elements by their own past, and forgets its moments now and then."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from gradtx.core.combine import chain
from gradtx.core.count import Count
from gradtx.core.factories import composition, transformation
from gradtx.core.lift import per_array
from gradtx.core.quantity import Squares
from gradtx.core.transformation import Updates
from gradtx.core.tree import root
from gradtx.selectors import Mask
from gradtx.transforms.decay import add_decayed_weights
from gradtx.transforms.momentum import debias
from gradtx.transforms.rate import scale_by_learning_rate
from gradtx.values.annotations import Bound, Decay, Natural, NonNegative, Steps


class ScaleBySpamState(NamedTuple):
    """The state of `scale_by_spam`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.scale_by_spam(b1=0.5, b2=0.75)
    >>> _, state = tx.update(jnp.array([2.0]), tx.init(jnp.zeros(1)))
    >>> state.mu, state.nu
    (Array([1.], dtype=float32), Array([1.], dtype=float32))
    """

    count: Count
    mu: Updates  # first moment
    nu: Squares  # second moment


@transformation
def scale_by_spam(
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-6,
    *,
    threshold: Bound = 5000.0,
    every: Steps = 500,
    warmup_steps: Natural = 150,
    grace: Natural = 20,
):
    r"""Adam's direction of a gradient without spikes, from moments that start anew every $T$ updates.

    An element with $g^2 > \theta v$ counts as $\operatorname{sign}(g)\sqrt{\theta v}$, with $v$ from before it: one
    spike would stay in the moments for hundreds of steps. Before each update $t$ that $T$ divides, $m$ and $v$ become
    zero, and the direction grows from a hundredth of itself to all of it over the next $N$ updates, by
    $1 - 0.99\,(1 + \cos(\pi k/N))/2$ at the $k$-th. The direction is
    $\sqrt{1 - \beta_2^t}/(1 - \beta_1^t) \cdot m/(\sqrt v + \varepsilon)$, where $t$ goes on.

    **Arguments:** `b1` $\beta_1$ and `b2` $\beta_2 \in [0, 1)$; `eps` $\varepsilon \ge 0$, not 0 where gradients may
    stay zero (0/0); `threshold` $\theta > 0$, `inf` for no bound; `every` $T \ge 1$; `warmup_steps` $N \ge 0$; `grace`,
    how many updates pass after each start before anything is bounded, for $v$ is still growing then.

    **State:** `count`, `mu` $m$, `nu` $v$: two arrays per parameter.

    **Source:** Huang et al., SPAM: Spike-Aware Adam with Momentum Reset (2025), without its sparse moments, in the form
    of the code that goes with it; pytorch_optimizer has $N = 50$. There an element whose $v$ is still zero gets zero
    for its first gradient, and so stays where it is; here it is not bounded.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.scale_by_spam(grace=0)
    >>> state = tx.init(jnp.zeros(2))
    >>> _, state = tx.update(jnp.array([1.0, 1.0]), state)
    >>> tx.update(jnp.array([1.0, 100.0]), state)[1].mu.round(2)
    Array([0.19, 0.31], dtype=float32)
    """

    def init(p: Array):
        zeros = jnp.zeros_like(p)
        return dict(mu=zeros, nu=zeros)

    def update(g: Array, state: ScaleBySpamState):
        t = state.count + 1.0
        gap, ramp, first = (jnp.asarray(x, g.dtype) for x in (every, warmup_steps, grace))
        since = jnp.mod(t, gap)  # updates since the moments were last set to zero, or since the beginning
        anew = since == 0.0
        mu, nu = (jnp.where(anew, 0.0, x) for x in (state.mu, state.nu))
        has_past = nu > 0.0
        limit = root(threshold * jnp.where(has_past, nu, 1.0))
        limit = jnp.where(has_past & (since >= first), limit, jnp.inf)
        g = jnp.clip(g, -limit, limit)
        mu = b1 * mu + (1.0 - b1) * g
        nu = b2 * nu + (1.0 - b2) * g**2
        share = jnp.where((t < gap) | (since >= ramp), 1.0, since / jnp.maximum(ramp, 1.0))
        factor = 1.0 - 0.99 * (1.0 + jnp.cos(jnp.pi * share)) / 2.0
        spread = (root(nu) + eps) * root(debias(jnp.ones_like(t), b2, t))
        return factor * debias(mu, b1, t) / spread, dict(mu=mu, nu=nu)

    return per_array(ScaleBySpamState, init, update)


@composition
def spam(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-6,
    *,
    threshold: Bound = 5000.0,
    every: Steps = 500,
    warmup_steps: Natural = 150,
    grace: Natural = 20,
    weight_decay: NonNegative = 0.0,
    mask: Mask | None = None,
):
    r"""SPAM, $w \leftarrow w - \eta\,(u + \lambda w)$ with the direction $u$ of `scale_by_spam`: Adam for gradients
    with spikes in single elements.

    **Arguments:** `learning_rate` $\eta \ge 0$, about Adam's; `weight_decay` $\lambda \ge 0$ and `mask`, which arrays
    decay, as in `add_decayed_weights`; the others, the state and the source are those of `scale_by_spam`. `update`
    needs the parameters.

    >>> import gradtx
    >>> gradtx.spam(1e-3)
    spam(learning_rate=0.001)
    """
    direction = scale_by_spam(b1, b2, eps, threshold=threshold, every=every, warmup_steps=warmup_steps, grace=grace)
    return chain(direction, add_decayed_weights(weight_decay, mask), scale_by_learning_rate(learning_rate))
