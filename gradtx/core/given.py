"""What users give in the place of a tree of JAX's arrays: NumPy's, Python's numbers, and what is no tree."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradtx.core.check import is_float0
from gradtx.values.printing import excerpt


def require_tree(name: str, params: Any, leaves: list[Any]) -> None:
    """Refuse a model that is no tree: it would be a leaf that no update moves."""
    is_array = hasattr(params, "dtype") or isinstance(params, OTHER_NUMBERS)
    if len(leaves) == 1 and leaves[0] is params and not is_array:
        problem = f"init takes a tree of arrays, got {type(params).__name__} {excerpt(params)}"
        raise TypeError(f"{name}: {problem}; give its parameters, such as variables['params'] of a Flax module")


def as_jax_arrays(tree: Any) -> Any:
    """The tree with JAX's arrays in the places of NumPy's and of Python's numbers, as `jit` hands it on: so a rule may
    count on `.dtype` and `.at` wherever it runs.
    """
    leaves, structure = jax.tree.flatten(tree)
    if not any(issubclass(kind, OTHER_NUMBERS) for kind in {*map(type, leaves)}):
        return tree  # the usual case
    return structure.unflatten([as_jax_array(x) if isinstance(x, OTHER_NUMBERS) else x for x in leaves])


OTHER_NUMBERS = (np.ndarray, np.generic, bool, int, float, complex)


def as_jax_array(x: Any) -> Any:
    """A number in a buffer of its own; what JAX has no array of, and float0, as it is."""
    return x if holds_no_numbers(x) or is_float0(x) else jnp.array(x, jnp.result_type(x))


def holds_no_numbers(x: Any) -> bool:
    """Whether it is an array of NumPy's that JAX has not: of objects, words or dates."""
    return isinstance(x, np.ndarray | np.generic) and x.dtype.kind in "OSUMm"
