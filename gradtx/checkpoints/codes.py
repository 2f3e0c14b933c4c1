"""Arrays in codes among the entries of a flat dict: each says by which codec it is to be read."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from gradtx.checkpoints.fit import with_lost_dtype
from gradtx.config.expression import read_expression
from gradtx.core.held import Held, is_held
from gradtx.precision.codec import encode_as
from gradtx.values.errors import Refusal
from gradtx.values.printing import excerpt
from gradtx.values.value import text_of

CODES, SCALE, CODEC = "/codes", "/scale", "/codec"  # behind the key of an array


def codec_entries(state: Any, keys: dict[int, str]) -> dict[str, np.ndarray]:
    """What says how to read the codes of a state: the text of the codec, of the dtype and of the shape, as bytes."""
    rows = arrays_in_codes(state, keys)
    return {key + CODEC: np.frombuffer(text_for(x).encode(), np.uint8) for key, x in rows}


def recode(held: dict[str, Any], state: Any, keys: dict[int, str]) -> dict[str, Any]:
    """The entries as the state wants them: codes of the same codec as they are, others decoded, and encoded where it
    has codes for them.
    """
    wanted = dict(arrays_in_codes(state, keys))
    entries = dict(held)
    if bare := [key for key in wanted if key + CODES in held and key + CODEC not in held]:
        raise Refusal(ValueError, f"{bare[0]}{CODES} has no {bare[0]}{CODEC}, which says how to read it")
    for key in [key.removesuffix(CODEC) for key in held if key.endswith(CODEC)]:
        raw = entries.pop(key + CODEC)
        text = text_in(raw, key)
        if key in wanted and text == text_for(wanted[key]):
            continue
        if key + CODES not in entries:
            raise Refusal(ValueError, f"{key}{CODEC} is there without {key}{CODES}")
        entries[key] = read_codes(text, entries.pop(key + CODES), entries.pop(key + SCALE, None), key)
    for key, x in wanted.items():
        if key in entries:
            plain = with_lost_dtype(entries.pop(key), x)
            if not isinstance(plain, np.ndarray | jax.Array) or not jnp.issubdtype(plain.dtype, jnp.number):
                raise Refusal(TypeError, f"{key} must be an array of numbers, got {excerpt(plain)}")
            made = encode_as(x.codec, jnp.asarray(plain, x.dtype), None)
            entries |= {key + CODES: made.codes} | ({} if made.scale is None else {key + SCALE: made.scale})
    return entries


def arrays_in_codes(state: Any, keys: dict[int, str]) -> Iterator[tuple[str, Held]]:
    """The arrays in codes, each with its key; `keys` are those of all leaves."""
    index = 0
    for x in jax.tree.leaves(state, is_leaf=is_held):
        if isinstance(x, Held) and index in keys:
            yield keys[index].removesuffix(CODES), x
        index += len(jax.tree.leaves(x))


def text_for(x: Held) -> str:
    return f"{text_of(x.codec)} {jnp.dtype(x.dtype).name} {' '.join(map(str, x.shape))}".strip()


def text_in(raw: Any, key: str) -> str:
    if not isinstance(raw, np.ndarray | jax.Array) or isinstance(raw, Tracer) or raw.dtype != np.uint8:
        expected = "must be the bytes of a text, uint8[n] as to_flat makes them"
        raise Refusal(TypeError, f"{key}{CODEC} {expected}, got {excerpt(raw)}")
    return bytes(np.asarray(raw)).decode(errors="replace")


def read_codes(text: str, codes: Any, scale: Any, key: str) -> jax.Array:
    """The array that codes stand for."""
    try:
        front, bracket, last = text.rpartition(")")
        dtype, *sizes = last.split()
        codec: Any = read_expression(front + bracket, "blocks(8)")
        shape, kind = tuple(map(int, sizes)), jnp.dtype(dtype)
        form = jax.eval_shape(lambda: encode_as(codec, jnp.zeros(shape, kind), None))
    except Exception as error:
        problem = f"{key}{CODEC} says {text!r:.80}, which names no array in the codes of this release's codecs"
        raise Refusal(ValueError, f"{problem} ({error})") from None
    given = [None if x is None else (np.shape(x), getattr(x, "dtype", type(x).__name__)) for x in (codes, scale)]
    expected = [None if x is None else (x.shape, x.dtype) for x in (form.codes, form.scale)]
    if given != expected:
        raise Refusal(ValueError, f"{key}: codes and scale are {given}, expected {expected} for {text!r}")
    return codec.decode(
        Held(jnp.asarray(codes), None if scale is None else jnp.asarray(scale), None, codec, shape, kind)
    )
