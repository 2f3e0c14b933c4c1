"""The random key of a transformation: a seed, or a key of JAX's."""

from typing import Annotated, Any

import jax
import jax.numpy as jnp

from gradtx.core.check import is_key
from gradtx.values.annotations import Check
from gradtx.values.errors import Refusal
from gradtx.values.printing import excerpt


def as_seed(name: str, value: Any) -> Any:
    """A seed or a key, of either of JAX's two forms."""
    is_raw = isinstance(value, jax.Array) and value.dtype == jnp.uint32 and value.shape == (2,)
    if type(value) is int or is_raw or (is_key(value) and not value.shape):
        return value
    raise Refusal(TypeError, f"{name} must be {FORMS_OF_KEYS}, got {excerpt(value)}")


FORMS_OF_KEYS = "a whole number or a key such as jax.random.key(0)"
Seed = Annotated[Any, Check(as_seed, words=FORMS_OF_KEYS)]


def make_key(seed: Any) -> jax.Array:
    """The key of a seed; a key as it is."""
    return jax.random.key(seed) if type(seed) is int else seed
