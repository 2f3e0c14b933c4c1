"""Fields of Optax's states that are no copies of gradtx's: from the ones to the others, and back."""

from collections import defaultdict
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

from gradtx.checkpoints.fit import source_of
from gradtx.core.count import as_count
from gradtx.optimizers.sm3 import cut_by_axis
from gradtx.values.errors import Refusal

NamedFields = dict[str, Any]

# Each `read` takes the transformation, Optax's fields and the updates done so far, None where nothing counts them, and
# returns own fields; each `write` takes the transformation and the own state, and returns fields of Optax's.

# ---- counts and marks of a first step ----


def read_slow_count(tx: Any, theirs: NamedFields, steps: Any) -> NamedFields:
    counts = theirs["count"], theirs["count_m2"]
    if not any(isinstance(x, Tracer) for x in counts) and int(counts[0]) != int(counts[1]):
        words = f"count {int(counts[0])} and count_m2 {int(counts[1])}"
        problem = f"the state has {words}, and scale_by_ademamix has one count for both averages"
        raise Refusal(ValueError, f"{problem}; start it anew with init")
    return {}


def write_slow_count(tx: Any, state: Any) -> NamedFields:
    return dict(count_m2=jnp.copy(state.count))  # a buffer of its own, which may be donated


def read_first_step(tx: Any, theirs: NamedFields, steps: Any) -> NamedFields:
    """The count of `optimistic`, of which Optax keeps whether it is zero."""
    later = jnp.ones([], jnp.int32) if steps is None else jnp.maximum(as_count(steps), 1)
    return dict(count=jnp.where(theirs["is_initial_step"], 0, later))


def write_first_step(tx: Any, state: Any) -> NamedFields:
    return dict(is_initial_step=state.count == 0)


def write_first_gradient(tx: Any, state: Any) -> NamedFields:
    """Optax's mark of the first step of DoG: no gradient so far."""
    return dict(is_init_step=state.sum_sq_norm_grads == 0)


def read_count_from_one(tx: Any, theirs: NamedFields, steps: Any) -> NamedFields:
    return dict(count=as_count(theirs["step_count"]) - 1)


def write_count_from_one(tx: Any, state: Any) -> NamedFields:
    return dict(step_count=state.count + 1)


# ---- arrays in another form ----


def read_maxima(tx: Any, theirs: NamedFields, steps: Any) -> NamedFields:
    """SM3's maxima along each axis, which Optax keeps in a list."""
    parts: dict[str, dict[int, Any]] = defaultdict(dict)
    for path, x in source_of(theirs["mu"], "scale_by_sm3's mu").arrays.items():
        place, _, axis = path.rpartition("/")
        parts[place][int(axis)] = jnp.asarray(x)
    return dict(maxima={place: jnp.concatenate([x for _, x in sorted(own.items())]) for place, own in parts.items()})


def write_maxima(tx: Any, state: Any) -> NamedFields:
    return dict(mu=jax.tree.map(lambda x, mu: cut_by_axis(x, mu.shape), state.maxima, state.mu))


def read_sums_of_squares(tx: Any, theirs: NamedFields, steps: Any) -> NamedFields:
    """One number for each array, which is an array of one in Optax."""
    return dict(grad_sum_of_squares=jax.tree.map(lambda x: jnp.reshape(x, ()), theirs["grad_sum_of_squares"]))


def write_sums_of_squares(tx: Any, state: Any) -> NamedFields:
    return dict(grad_sum_of_squares=jax.tree.map(lambda x: jnp.reshape(x, 1), state.grad_sum_of_squares))


# ---- L-BFGS: where Optax puts a pair turns on the count alone ----


def read_memory(tx: Any, theirs: NamedFields, steps: Any) -> NamedFields:
    count, weights = int(theirs["count"]), jnp.asarray(theirs["weights_memory"])
    pairs = min(max(count - 1, 0), weights.size)
    if int(jnp.sum(weights > 0.0)) != pairs:
        problem = "weights_memory has a pair without positive curvature, which gradtx's L-BFGS leaves out"
        raise Refusal(ValueError, f"{problem}; start anew with init")
    return dict(next_pair=jnp.asarray(max(count - 1, 0) % weights.size, jnp.int32))


def write_memory(tx: Any, state: Any) -> NamedFields:
    """The memory turned until its next place is Optax's: here pairs may have been left out."""
    size = state.weights_memory.size
    shift = (state.count - 1 - state.next_pair) % size

    def turned(tree: Any) -> Any:
        return jax.tree.map(lambda x: jnp.roll(x, shift, axis=0), tree)

    names = ("diff_params_memory", "diff_updates_memory", "weights_memory")
    return {name: turned(getattr(state, name)) for name in names}


# ---- wrappers ----


def read_skips(tx: Any, theirs: NamedFields, steps: Any) -> NamedFields:
    skipped, in_a_row = ~jnp.asarray(theirs["last_finite"]), jnp.asarray(theirs["notfinite_count"])
    return dict(skipped=skipped, exceeded=in_a_row > tx.limit if not callable(tx.limit) else jnp.zeros([], bool))


def write_skips(tx: Any, state: Any) -> NamedFields:
    return dict(last_finite=~state.skipped)


def read_way_up(tx: Any, theirs: NamedFields, steps: Any) -> NamedFields:
    require_no_memory_uphill(theirs)
    return {}


def require_no_memory_uphill(theirs: NamedFields) -> None:
    if jax.tree.leaves(theirs["adv_state"]):
        problem = "Optax's adv_state has arrays, and the step up of sam keeps nothing"
        raise Refusal(ValueError, f"{problem}; put optax.contrib.sam in its place, which goes on as it is")
