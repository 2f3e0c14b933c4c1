"""Random trees of parameters with everything in them that a model may have, and gradients beside them."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st


class Layer(NamedTuple):
    w: Any
    b: Any


SHAPES = ((), (3,), (2, 3), (1, 4), (0,), (3, 2, 2), (0, 2))
MOVING = ("float32", "float64", "bfloat16", "float16", "complex64")
STILL = ("int32", "key", "None", "function")

moving = st.tuples(st.sampled_from(MOVING), st.sampled_from(SHAPES))
still = st.tuples(st.sampled_from(STILL), st.sampled_from(SHAPES[:3]))
leaves = moving | moving | moving | still
trees = (
    st.dictionaries(st.sampled_from(["w", "bias", "encoder", "a/b", ""]), leaves, max_size=4)
    | st.lists(leaves, max_size=3)
    | st.tuples(leaves)
    | st.builds(Layer, leaves, leaves)
    | moving
    | st.fixed_dictionaries({"encoder": st.builds(Layer, moving, leaves), "heads": st.lists(moving, max_size=2)})
)


def is_spec(x: Any) -> bool:
    return type(x) is tuple and len(x) == 2 and isinstance(x[0], str)


def make_params(tree: Any, seed: int = 0) -> Any:
    """Arrays as a drawn tree says."""
    source = np.random.default_rng(seed)

    def make(spec: Any) -> Any:
        dtype, shape = spec
        if dtype == "None":
            return None
        if dtype == "function":
            return jax.nn.relu
        if dtype == "key":
            return jax.random.key(seed)
        return fill(source, dtype, shape)

    return jax.tree.map(make, tree, is_leaf=is_spec)


def make_gradients(tree: Any, other: str, seed: int = 1) -> Any:
    """Updates for such parameters: where they are real, in another dtype if one is given; None for what can't move."""
    source = np.random.default_rng(seed)

    def make(spec: Any) -> Any:
        dtype, shape = spec
        if dtype in STILL:
            return None
        return fill(source, dtype if dtype == "complex64" or not other else other, shape)

    return jax.tree.map(make, tree, is_leaf=is_spec)


def fill(source: Any, dtype: str, shape: tuple[int, ...]) -> Any:
    x = 2.0 * source.standard_normal(shape)
    if dtype == "complex64":
        x = x + 1j * source.standard_normal(shape)
    return jnp.asarray(np.asarray(x).astype(jnp.dtype(dtype)))
