"""What is looked at once an update has failed, since it would cost something at each."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr, tree_flatten_with_path

from gradtx.core.check import is_inexact, is_none
from gradtx.values.printing import excerpt


def misfit_of_state(state: Any, fresh: Callable[[], Any]) -> str | None:
    """The first place where a state is not as `init` makes it, in words. Rules look at the arrays of each parameter;
    that all else is there, they take for granted.
    """
    try:
        expected = jax.eval_shape(fresh)
    except Exception:  # then the parameters are wrong, of which the error itself speaks
        return None
    wanted, there = (
        {keystr(path): x for path, x in tree_flatten_with_path(tree, is_leaf=is_none)[0]} for tree in (expected, state)
    )
    for path in [*wanted, *there]:
        if path not in there or path not in wanted:
            problem = f"lacks {path}" if path in wanted else f"has {path}, which is not in a fresh one"
        elif is_alike(wanted[path], there[path]):
            continue
        else:
            problem = f"has {name_form(there[path])} at {path or 'its place'}, expected {name_form(wanted[path])}"
        return f"the state {problem}; it was not made by this optimizer's init for these parameters"
    return None


def is_alike(x: Any, other: Any) -> bool:
    """Whether both are None, or numbers of one shape and kind."""
    if x is None or other is None:
        return x is other
    try:
        dtypes = jnp.result_type(x), jnp.result_type(other)
    except TypeError:
        return False
    return np.shape(x) == np.shape(other) and is_inexact(dtypes[0]) == is_inexact(dtypes[1])


def name_form(x: Any) -> str:
    return excerpt(x) if x is None or hasattr(x, "dtype") else type(x).__name__
