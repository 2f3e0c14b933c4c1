"""Parameters of 16 bits beside which all of a float32 is kept: a copy, or the bits that they lack."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradtx.core.factories import transformation
from gradtx.core.quantity import Anchor
from gradtx.core.stage import Fields
from gradtx.core.transformation import Updates
from gradtx.precision.rounding import to_nearest
from gradtx.precision.writing import writing


class WriteFromMasterState(NamedTuple):
    """The state of `write_from_master`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.write_from_master()
    >>> w = jnp.ones(1, jnp.bfloat16)
    >>> tx.update(jnp.array([0.001]), tx.init(w), w)[1]
    WriteFromMasterState(master=Array([1.001], dtype=float32))
    """

    master: Anchor  # the parameters in float32


@transformation
def write_from_master():
    r"""Parameters of 16 bits as the nearest numbers to a copy in float32,
    $m \leftarrow m + u$, $w' = \mathrm{near}(m)$.

    It stands last in a chain, in `chain(adamw(1e-3), write_from_master())`, and gives exactly $w' - w$, in at least
    float32. The copy takes the steps that parameters in float32 would take with the same gradients. What else reads
    parameters in the chain, such as weight decay, reads $w$.

    **State:** `master` $m$, 4 bytes per parameter. It counts: parameters that are replaced from outside are back at
    $\mathrm{near}(m)$ after the next update. So start anew with `init`, or replace `master` too.

    **Raises:** `TypeError` for parameters of less than 16 bits; (`update`) `ValueError` without parameters, and for a
    state of parameters of another dtype or shape.

    **Note:** as of `write_stochastically`, but that nothing is random.

    **Source:** Micikevicius et al., Mixed precision training (2018).

    >>> import gradtx as gx, jax.numpy as jnp
    >>> tx, w = gx.chain(gx.sgd(1.0), gx.write_from_master()), jnp.ones(1, jnp.bfloat16)
    >>> state = tx.init(w)
    >>> for _ in range(8):
    ...     u, state = tx.update(jnp.full(1, -0.0009765625, jnp.bfloat16), state, w)
    ...     w = gx.apply_updates(w, u)
    >>> w, gx.find(state, "master")
    (Array([1.00781], dtype=bfloat16), Array([1.0078125], dtype=float32))
    """

    def formula(u: jax.Array, row: Any, w: jax.Array, dtype: Any) -> tuple[jax.Array, Fields]:
        master = row.master + u
        return to_nearest(master, dtype).astype(jnp.float32), dict(master=master)

    return writing(WriteFromMasterState, lambda w, dtype: dict(master=w), formula)


class WriteSplitState(NamedTuple):
    """The state of `write_split`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.write_split()
    >>> w = jnp.ones(1, jnp.bfloat16)
    >>> tx.update(jnp.array([2.0**-23]), tx.init(w), w)[1]
    WriteSplitState(low=Array([1], dtype=uint16))
    """

    low: Updates  # uint16, the lower bits of each number, whose upper ones are the parameter


@transformation
def write_split():
    r"""Parameters in bfloat16 as the upper 16 bits of numbers in float32, whose lower bits are in the state,
    $m = 2^{16} w_{\text{bits}} + l$, $m \leftarrow m + u$, of which $w'$ and $l$ are the halves.

    It stands last in a chain and gives exactly $w' - w$, in at least float32. With half of the memory of
    `write_from_master` the numbers $m$ take the same steps. The parameter is what is left of $m$ without
    the lower bits, up to a unit in the last place nearer to zero, and not the nearest number.

    **State:** `low` $l$, 2 bytes per parameter. It belongs to $w$: parameters that are replaced from outside come with
    lower bits of others, which are less than a unit in the last place.

    **Raises:** `TypeError` for parameters in float16, whose bits are no part of those of a float32, and in less than 16
    bits; (`update`) `ValueError` without parameters, and for a state of parameters of another dtype or shape.

    **Note:** as of `write_stochastically`, but that nothing is random.

    **Source:** Split-SGD-BF16 of Kalamkar et al., Optimizing deep learning recommender systems training on CPU cluster
    architectures (2020).

    >>> import gradtx as gx, jax.numpy as jnp
    >>> tx, w = gx.chain(gx.sgd(1.0), gx.write_split()), jnp.ones(1, jnp.bfloat16)
    >>> state = tx.init(w)
    >>> for _ in range(9):
    ...     u, state = tx.update(jnp.full(1, -0.0009765625, jnp.bfloat16), state, w)
    ...     w = gx.apply_updates(w, u)
    >>> w, gx.find(state, "low")
    (Array([1.00781], dtype=bfloat16), Array([8192], dtype=uint16))
    """

    def formula(u: jax.Array, row: Any, w: jax.Array, dtype: Any) -> tuple[jax.Array, Fields]:
        upper = jax.lax.bitcast_convert_type(w, jnp.uint32)
        whole = jax.lax.bitcast_convert_type(upper | row.low.astype(jnp.uint32), jnp.float32) + u
        bits = jax.lax.bitcast_convert_type(whole, jnp.uint32)
        low = (bits & jnp.uint32(0xFFFF)).astype(jnp.uint16)
        return jax.lax.bitcast_convert_type(bits & jnp.uint32(0xFFFF0000), jnp.float32), dict(low=low)

    remedy = "; write float16 with write_from_master() or write_residual(key, bits=16)"
    init = lambda w, dtype: dict(low=jnp.zeros_like(w, jnp.uint16))  # noqa: E731
    return writing(WriteSplitState, init, formula, dtypes=(jnp.bfloat16,), remedy=remedy)
