"""The parameters to evaluate with, where they are others than those that are trained."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gradtx.core import check
from gradtx.core.held import decode_all
from gradtx.core.placement import in_device_memory
from gradtx.values.errors import Refusal, errors_of


def evaluation_parameters(tx: Any, state: Any, params: Any = None) -> Any:
    """The parameters to evaluate with: the average of `average_parameters`, the slow weights of `lookahead`, the
    average of `schedule_free`, those that a transparent `sam` has left for a moment; of all others the parameters.
    What is inside of a transparent `sam` answers for the parameters that `sam` has left. Inside of `lookahead` and of
    `schedule_free` nothing else may have an answer: both move the parameters to where no part of them has been.

    They are a copy, in buffers of their own and in the parameters' dtypes. What the state has no array for stands as
    it is. States of one's own answer too, by a method `for_evaluation(params)`.

    **Arguments:** `tx`; `state`, of `tx` or one that holds it; `params`. Without `tx`, `evaluation_parameters(state,
    params)`, a state that keeps no such parameters is an error.

    **Raises:** `ValueError` for a state that holds several averages, side by side or one inside of the other, and for
    parameters unlike those of `init`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx, w = gradtx.chain(gradtx.sgd(1.0), gradtx.average_parameters(0.5)), jnp.array([4.0])
    >>> updates, state = tx.update(jnp.array([2.0]), tx.init(w), w)
    >>> w = gradtx.apply_updates(w, updates)
    >>> w, gradtx.evaluation_parameters(tx, state, w)
    (Array([2.], dtype=float32), Array([3.], dtype=float32))
    """
    with errors_of("evaluation_parameters"):
        if isinstance(tx, optax.GradientTransformation):
            return jax.tree.map(copy_array, evaluated(state, params))
        found, params = states_for_evaluation(tx), state
        if not found:
            remedy = "evaluation_parameters(tx, state, params) gives those that are trained"
            raise Refusal(ValueError, f"the state keeps no parameters for evaluation; {remedy}")
        return jax.tree.map(copy_array, evaluated(tx, params))


def evaluated(state: Any, params: Any) -> Any:
    """The parameters with what each outermost state keeps of them: of groups of arrays, each its own."""
    found = states_for_evaluation(state)
    leaves, structure = jax.tree.flatten(params, is_leaf=check.is_none)
    kept, changed = list(leaves), set()
    for one in found:
        # What was offloaded is fetched.
        here = jax.tree.map(lambda x: in_device_memory(x) if isinstance(x, jax.Array) else x, one)
        rows = structure.flatten_up_to(here.for_evaluation(params))
        own = {i for i, (x, p) in enumerate(zip(rows, leaves, strict=True)) if x is not p}
        if own & changed:
            names = sorted({type(x).__name__ for x in found})
            problem = f"the state must hold one that keeps an average, got {len(found)} {names}"
            raise Refusal(ValueError, f"{problem}; hand in the one that is meant")
        changed |= own
        kept = [rows[i] if i in own else x for i, x in enumerate(kept)]
    return structure.unflatten(kept)


def require_no_other(inner_state: Any, own: str) -> None:
    """Refuse a state in which a part of this wrapper keeps parameters for evaluation too."""
    if inside := states_for_evaluation(inner_state):
        problem = f"the {type(inside[0]).__name__} inside of {own} keeps parameters for evaluation too, of another path"
        remedy = f"hand in the one that is meant; a transparent sam belongs around {own}"
        raise Refusal(ValueError, f"{problem}; {remedy}")


def states_for_evaluation(state: Any) -> list[Any]:
    return [x for x in jax.tree.leaves(state, is_leaf=has_evaluation) if has_evaluation(x)]


def has_evaluation(x: Any) -> bool:
    return hasattr(type(x), "for_evaluation")


def copy_array(x: Any) -> Any:
    return jnp.array(x) if isinstance(x, jax.Array | np.ndarray) else x


def in_place_of(params: Any, kept: Any, what: str, join: Any = lambda a, p: a) -> Any:
    """The parameters, each as the state keeps it, if it does, in the parameter's dtype; `join(kept, parameter)` says
    what stands in its place where that is not what is kept itself.
    """
    kept = decode_all(kept)
    weights = check.match_params(kept, params, what)
    leaves, structure = jax.tree.flatten(kept, is_leaf=check.is_none)
    pairs = zip(leaves, weights, strict=True)
    return structure.unflatten([p if a is None else join(jnp.asarray(a), p).astype(p.dtype) for a, p in pairs])
