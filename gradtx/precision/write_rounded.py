"""Parameters of 16 bits that are rounded at random, or with what they lost beside them."""

from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp

from gradtx.core.count import Count
from gradtx.core.factories import transformation
from gradtx.core.keys import Seed
from gradtx.core.stage import Fields
from gradtx.core.transformation import Updates
from gradtx.precision.rounding import as_fraction, random_bits, spacing_at, to_either, to_nearest
from gradtx.precision.writing import writing
from gradtx.values.annotations import Check
from gradtx.values.errors import Refusal
from gradtx.values.printing import excerpt


class WriteStochasticallyState(NamedTuple):
    """The state of `write_stochastically`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.write_stochastically(0)
    >>> w = jnp.ones(1, jnp.bfloat16)
    >>> tx.update(w, tx.init(w), w)[1]
    WriteStochasticallyState(count=Array(1, dtype=int32))
    """

    count: Count


@transformation
def write_stochastically(key: Seed):
    r"""Parameters of 16 bits rounded at random, $w' = \mathrm{either}(w + u)$: to one of the two numbers beside the
    sum, the nearer one the more likely, so that the mean of $w'$ is $w + u$.

    It stands last in a chain, in `chain(adamw(1e-3), write_stochastically(0))`, and gives exactly $w' - w$, in at least
    float32. The nearest number would be $w$ itself for every $u$ below half a unit in the last place of $w$, however
    often it comes: in bfloat16 for $|u| < |w|/512$.

    **Arguments:** `key`, a seed or a key of JAX's. What is drawn hangs on it, on the count, on the array's place in the
    tree and on the element's place in the array: it is the same however the array lies on devices, and on replicas.
    Inside of `shard_map` each part of an array has its own.

    **State:** `count`; nothing per parameter.

    **Raises:** `TypeError` for a key that is none, and for parameters of less than 16 bits; (`update`) `ValueError`
    without parameters.

    **Note:** `apply_updates`, gradtx's or Optax's, makes $w'$ of $w$ to the bit, but that a negative zero may become a
    zero. Through `skip_nonfinite`, `accumulate` and the like only gradtx's chain hands float32 on. Parameters of 32
    bits and more get $u$, complex ones too. The derivative is that of $u$, as if nothing were rounded.

    **Source:** Gupta et al., Deep learning with limited numerical precision (2015).

    >>> import gradtx as gx, jax.numpy as jnp
    >>> w = jnp.ones(1000, jnp.bfloat16)
    >>> tx = gx.chain(gx.sgd(1.0), gx.write_stochastically(0))
    >>> u, _ = tx.update(jnp.full(1000, -1e-3, jnp.bfloat16), tx.init(w), w)
    >>> sorted(set(gx.apply_updates(w, u).tolist()))
    [1.0, 1.0078125]
    """

    def formula(u: jax.Array, row: Any, w: jax.Array, dtype: Any) -> tuple[jax.Array, Fields]:
        after = to_either(w + u, dtype, random_bits(row.count, u.shape, like=w + u))
        return after.astype(jnp.float32), {}

    return writing(WriteStochasticallyState, lambda w, dtype: {}, formula, key)


class WriteCompensatedState(NamedTuple):
    """The state of `write_compensated`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.write_compensated()
    >>> w = jnp.ones(1, jnp.bfloat16)
    >>> tx.update(jnp.array([0.001]), tx.init(w), w)[1]
    WriteCompensatedState(residue=Array([0.000999451], dtype=bfloat16))
    """

    residue: Updates  # what the parameter lacks, in its dtype


@transformation
def write_compensated():
    r"""Parameters of 16 bits by Kahan's summation: what rounding took from $w$ is in a residue $k$ of the same dtype,

    $$k \leftarrow \mathrm{near}(k + u), \quad w' = \mathrm{near}(w + k), \quad
    k \leftarrow \mathrm{near}(k + (w - w')).$$

    It stands last in a chain and gives exactly $w' - w$, in at least float32.

    **State:** `residue` $k$, 2 bytes per parameter. It is rounded itself: an update below half a unit in *its* last
    place is lost, in bfloat16 one below about $2^{-17}|w|$.

    **Raises:** `TypeError` for parameters of less than 16 bits; (`update`) `ValueError` without parameters, and for a
    state of parameters of another dtype or shape.

    **Note:** as of `write_stochastically`, but that nothing is random.

    **Source:** Kahan, Further remarks on reducing truncation errors (1965); Zamirai et al., Revisiting BFloat16
    training (2020).

    >>> import gradtx as gx, jax.numpy as jnp
    >>> tx, w = gx.chain(gx.sgd(1.0), gx.write_compensated()), jnp.ones(1, jnp.bfloat16)
    >>> state = tx.init(w)
    >>> for _ in range(8):
    ...     u, state = tx.update(jnp.full(1, -1e-3, jnp.bfloat16), state, w)
    ...     w = gx.apply_updates(w, u)
    >>> w, round(float(gx.find(state, "residue")[0]), 4)
    (Array([1.00781], dtype=bfloat16), 0.0002)
    """

    def formula(u: jax.Array, row: Any, w: jax.Array, dtype: Any) -> tuple[jax.Array, Fields]:
        def near(x: jax.Array) -> jax.Array:
            return to_nearest(x, dtype).astype(jnp.float32)

        residue = near(row.residue + u)
        after = near(w + residue)
        return after, dict(residue=near(residue + (w - after)))

    return writing(WriteCompensatedState, lambda w, dtype: dict(residue=jnp.zeros_like(w, dtype)), formula)


class WriteResidualState(NamedTuple):
    """The state of `write_residual`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.write_residual(0)
    >>> w = jnp.ones(1, jnp.bfloat16)
    >>> int(tx.update(jnp.array([127 / 2**15]), tx.init(w), w)[1].residue[0])
    126
    """

    count: Count
    residue: Updates  # int8 or int16: what the parameter lacks, in parts of half a unit in its last place


def as_bits(name: str, value: Any) -> int:
    if type(value) is int and value in (8, 16):
        return value
    raise Refusal(ValueError, f"{name} must be 8 or 16, got {excerpt(value)}")


@transformation
def write_residual(key: Seed, bits: Annotated[int, Check(as_bits)] = 8):
    r"""Parameters of 16 bits with a residue of 8 or 16 bits, in parts of half a unit $h(w)$ in the last place of $w$:

    $$d = h(w)\,e/n + u, \quad w' = \mathrm{near}(w + d), \quad
    e \leftarrow \mathrm{either}(n\,(d - (w' - w))/h(w')),$$

    $n = 127$ or $32767$. It stands last in a chain and gives exactly $w' - w$, in at least float32.

    The residue is rounded at random, whole number by whole number, so that its mean is right: by the nearest one, an
    update below $h/2n$ would be lost for good. That is why it takes a key, with 16 bits too, as in
    `write_stochastically`.

    **Arguments:** `key`, a seed or a key of JAX's; `bits`, 8 or 16.

    **State:** `count`, and `residue` $e$, 1 or 2 bytes per parameter.

    **Raises:** `TypeError` for a key that is none, and for parameters of less than 16 bits, `ValueError` for other
    `bits`; (`update`) `ValueError` without parameters, and for a state of parameters of another dtype or shape.

    **Note:** as of `write_stochastically`. Below $2^{-117}$ a bfloat16 has no residue.

    **Source:** the residue of HeavyBall's ECC, there by the nearest whole number.

    >>> import gradtx as gx, jax.numpy as jnp
    >>> tx, w = gx.chain(gx.sgd(1.0), gx.write_residual(0)), jnp.ones(1, jnp.bfloat16)
    >>> state = tx.init(w)
    >>> for _ in range(8):
    ...     u, state = tx.update(jnp.full(1, -1e-3, jnp.bfloat16), state, w)
    ...     w = gx.apply_updates(w, u)
    >>> w, gx.find(state, "residue").dtype
    (Array([1.00781], dtype=bfloat16), dtype('int8'))
    """
    whole, largest = (jnp.int8, 127.0) if bits == 8 else (jnp.int16, 32767.0)

    def formula(u: jax.Array, row: Any, w: jax.Array, dtype: Any) -> tuple[jax.Array, Fields]:
        change = row.residue.astype(jnp.float32) / largest * half_unit(w, dtype) + u
        after = to_nearest(w + change, dtype).astype(jnp.float32)
        parts = (change - (after - w)) / half_unit(after, dtype) * largest
        low = jnp.floor(parts)
        either = low + (as_fraction(random_bits(row.count, u.shape, like=parts)) < parts - low).astype(low.dtype)
        residue = jnp.where(jnp.isfinite(parts), jnp.clip(either, -largest, largest), 0.0)
        return after, dict(residue=residue.astype(whole))

    return writing(WriteResidualState, lambda w, dtype: dict(residue=jnp.zeros_like(w, whole)), formula, key)


def half_unit(w: jax.Array, dtype: Any) -> jax.Array:
    return 0.5 * spacing_at(w, dtype)
