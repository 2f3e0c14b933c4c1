"""Averages of the parameters along the way, to evaluate with."""

from typing import Any, NamedTuple

import jax

from gradtx.core.count import Count
from gradtx.core.factories import transformation
from gradtx.core.lift import per_array
from gradtx.core.quantity import Slow
from gradtx.transforms.evaluation import in_place_of
from gradtx.values.annotations import Decay


class AverageParametersState(NamedTuple):
    """The state of `average_parameters`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx, w = gradtx.average_parameters(0.5), jnp.array([4.0])
    >>> _, state = tx.update(jnp.array([-2.0]), tx.init(w), w)
    >>> state.average
    Array([3.], dtype=float32)
    """

    count: Count
    average: Slow  # of the parameters

    def for_evaluation(self, params: Any) -> Any:
        return in_place_of(params, self.average, "the state's average")


@transformation
def average_parameters(decay: Decay | None = None):
    r"""Leaves the updates $u$ as they are and averages the parameters that they lead to,
    $a \leftarrow a + (1 - \beta)(w + u - a)$ from $a = w_0$. Without a decay it is the mean of all steps,
    $1 - \beta = 1/t$. Evaluate with `evaluation_parameters(tx, state, params)`.

    It must stand last in a chain: what changes the updates behind it is not in the average. Half-precision parameters
    are averaged before they are rounded.

    **Arguments:** `decay` $\beta \in [0, 1)$, for a memory of about $1/(1 - \beta)$ steps. A schedule averages only
    over the tail: `lambda t: jnp.where(t < n, 0.0, 1.0 - 1.0 / (t - n + 1.0))` gives the mean of the steps after the
    first `n`.

    **State:** `count` and `average`, one array per parameter in at least float32.

    **Raises:** `ValueError` where `update` is called without the parameters.

    **Source:** Polyak & Juditsky, Acceleration of Stochastic Approximation by Averaging (1992). Equals torch's
    `AveragedModel` without a decay; with one, under `get_ema_multi_avg_fn`, where it is also updated once before the
    first step (its first update copies), and Optax's `incremental_update` at step size $1 - \beta$.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.chain(gradtx.sgd(1.0), gradtx.average_parameters())
    >>> w = jnp.array([5.0])
    >>> state = tx.init(w)
    >>> for _ in range(2):
    ...     updates, state = tx.update(jnp.array([1.0]), state, w)
    ...     w = gradtx.apply_updates(w, updates)
    >>> w, gradtx.evaluation_parameters(tx, state, w)
    (Array([3.], dtype=float32), Array([3.5], dtype=float32))
    """

    def init(p: jax.Array):
        return dict(average=p)

    def update(g: jax.Array, state: AverageParametersState, p: jax.Array):
        weight = 1.0 / (state.count + 1.0) if decay is None else 1.0 - decay
        return g, dict(average=state.average + weight * (p + g - state.average))

    return per_array(AverageParametersState, init, update)
