"""States in the host's memory."""

from typing import Any

import jax
import optax

from gradtx.core.check import is_key
from gradtx.core.factories import transformation
from gradtx.core.flow import Flow, is_promise
from gradtx.core.placement import in_device_memory, in_memory_of
from gradtx.core.transformation import advance, start
from gradtx.wrappers.branch import rule_around

CPU_HAS_HOST = (0, 10, 2)  # the first JAX whose programs for CPUs know of two memories


@transformation
def offload(tx: optax.GradientTransformation):
    r"""The transformation, $T(u)$, with the arrays of its state in the host's memory between updates.

    An update fetches them and puts what follows on them back where they were: a restored state that is on the device
    stays there, until `jax.device_put(state, state_shardings(tx, params))` moves it. Numbers stay on the device. The
    state has the structure and the numbers of that of `tx`, so a checkpoint of one is one of the other. Outside of an
    update JAX computes nothing with arrays on the host; `jax.device_get` reads them.

    JAX hands the memory of a donated array on to the first result of its shape. So donate the parameters with the
    state and return both in the order of the arguments, or give `out_shardings`. Under `vmap`, where a branch is a
    choice between arrays, what may leave a step out (`skip_nonfinite`, `accumulate`) has to be inside of `offload`. The
    memory of CPUs is the host's; before 0.10.2, JAX knows of no other one there and the state stays as it is.

    **Arguments:** `tx`, an Optax transformation too.

    **State:** that of `tx`; none of its bytes per parameter are on the device between updates, and each update carries
    all of them there and back.

    >>> import jax, jax.numpy as jnp, gradtx
    >>> tx = gradtx.offload(gradtx.adam(1e-3))
    >>> _, state = tx.update(jnp.ones(2), tx.init(jnp.zeros(2)))
    >>> memory = gradtx.find(state, "mu").sharding.memory_kind  # "pinned_host"
    >>> jax.device_get(gradtx.find(state, "mu")).round(3)
    array([0.1, 0.1], dtype=float32)
    """

    def init(params: Any) -> Any:
        state = start(tx, params)
        if not has_host():
            return state
        return jax.tree.map(lambda x: jax.device_put(x, jax.memory.Space.Host) if moves(x) else x, state)

    def advance_here(flow: Flow, state: Any, extra: dict[str, Any], ok: Any = None) -> Any:
        here = jax.tree.map(lambda x: in_device_memory(x) if moves(x) else x, state)
        after = advance(tx, flow, here, extra, "tx", ok)

        def later(new: Any, old: Any) -> Any:
            return flow.promise(lambda: move_back(new.make(), old)) if is_promise(new) else move_back(new, old)

        return jax.tree.map(later, after, state, is_leaf=is_promise)

    return rule_around(tx, init, advance_here)


def has_host() -> bool:
    """Whether programs can tell the host's memory from the devices'."""
    return jax.default_backend() != "cpu" or jax.__version_info__ >= CPU_HAS_HOST


def moves(x: Any) -> bool:
    """Whether it is an array of numbers: a single one is not worth the way, and a random key can't go it."""
    return x.ndim > 0 and not is_key(x)


def move_back(new: Any, old: Any) -> Any:
    """A part of a state in the memory from which it came."""

    def one(x: Any, before: Any) -> Any:
        return in_memory_of(x, before) if moves(x) else x

    return jax.tree.map(one, new, old)
