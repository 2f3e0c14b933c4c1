"""Normal noise on gradients."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from gradtx.core import check
from gradtx.core.collectives import manual_axes, varying_axes
from gradtx.core.count import Count, as_real, increment
from gradtx.core.factories import transformation
from gradtx.core.flow import Flow
from gradtx.core.keys import Seed, make_key
from gradtx.core.placement import lay_like
from gradtx.core.rule import Rule
from gradtx.core.stage import Fields
from gradtx.core.tree import root
from gradtx.values.annotations import NonNegative


class AddNoiseState(NamedTuple):
    """The state of `add_noise`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.add_noise(key=0)
    >>> tx.update(jnp.ones(1), tx.init(None))[1]
    AddNoiseState(count=Array(1, dtype=int32))
    """

    count: Count


class Draw(NamedTuple):
    """What is drawn for an array."""

    words: Array  # of its key
    deviation: Array


@transformation
def add_noise(eta: NonNegative = 0.01, gamma: NonNegative = 0.55, *, key: Seed):
    r"""The gradient with normal noise that fades, $g + \sqrt{\eta/t^\gamma}\,n$ with $n$ of $N(0, 1)$ for each element,
    at update $t = 1, 2, \dots$

    It stands in front: an average behind it takes the mean of the noise, too.

    **Arguments:** `eta` $\eta \ge 0$, the variance at first, in squared units of the gradient; `gamma` $\gamma \ge 0$,
    0 for noise that stays; `key`, a seed or a key of JAX's. What is drawn hangs on it, on the count, and on the
    array's place in the tree: under `jit` it is the same however the array lies on devices, and on replicas always.
    Inside of `shard_map` each part of an array has its own. The parts of a complex element have a variance each.

    **State:** `count`; nothing per parameter.

    **Raises:** `TypeError` for a key that is none.

    **Source:** Neelakantan et al., Adding Gradient Noise Improves Learning for Very Deep Networks (2015), equation 1.
    Optax's function of this name draws other numbers, and keeps its key in the state.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.add_noise(0.25, key=0)
    >>> u, _ = tx.update(jnp.ones(10_000), tx.init(None))
    >>> round(float(u.mean()), 1), round(float(u.std()), 1)
    (1.0, 0.5)
    """

    def init(params: Any) -> AddNoiseState:
        return AddNoiseState(jnp.zeros([], jnp.int32))

    def advance(flow: Flow, state: AddNoiseState, extra: dict[str, Any]) -> AddNoiseState:
        check.require_state(state, AddNoiseState)
        t = as_real(state.count) + 1.0
        deviation = root(jnp.asarray(eta, t.dtype) / t ** jnp.asarray(gamma, t.dtype))
        kind, words = words_of_arrays(key, state.count, len(flow.leaves))

        def add_drawn(g: Array, draw: Draw) -> tuple[Array, Fields]:
            return g + draw.deviation.astype(g.dtype) * normal_like(draw.words, kind, g), {}

        flow.then(add_drawn, [Draw(one, deviation) for one in words])
        return AddNoiseState(increment(state.count))

    return Rule(init, advance, counts=(("count",),))


def words_of_arrays(key: Any, count: Array, n: int) -> tuple[str, list[Array]]:
    """The key of each of n arrays at this count, as words of 32 bits, which a formula can be given, and their kind."""
    own = make_key(key)
    typed = own if check.is_key(own) else jax.random.wrap_key_data(own)
    each = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.fold_in(typed, count), jnp.arange(n))
    words = jax.random.key_data(each)
    return str(jax.random.key_impl(typed)), [jax.lax.index_in_dim(words, i, keepdims=False) for i in range(n)]


def normal_like(words: Array, kind: str, x: Array) -> Array:
    """Normal numbers for each element of a real array, the same ones in all precisions. They are JAX's own, whose key
    may be a secret, not hashes of places as rounding takes them. Inside of `shard_map` the parts of an array have other
    ones on each device.
    """
    own = jax.random.wrap_key_data(words, impl=kind)
    for name in sorted(varying_axes(x)) if manual_axes() else ():
        own = jax.random.fold_in(own, jax.lax.axis_index(name))
    return lay_like(jax.random.normal(own, x.shape, jnp.float32).astype(x.dtype), x)
