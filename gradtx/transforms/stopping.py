"""Early stopping: the end of training when a measurement stops improving, and the parameters at its best."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer

from gradtx.core import check
from gradtx.core.count import Count, as_real
from gradtx.core.factories import transformation
from gradtx.core.flow import Flow
from gradtx.core.held import decode_all
from gradtx.core.rule import Rule
from gradtx.core.tree import find_state_of
from gradtx.transforms.best import measure, start_measuring
from gradtx.values.annotations import NonNegative, Steps
from gradtx.values.errors import Refusal, errors_of


class EarlyStoppingState(NamedTuple):
    """The state of `early_stopping`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.early_stopping(patience=1)
    >>> state = tx.init(jnp.zeros(1))
    >>> for w, loss in ((1.0, 3.0), (2.0, 2.0), (3.0, 2.5)):
    ...     _, state = tx.update(None, state, jnp.array([w]), value=loss)
    >>> bool(state.stopped), float(state.best_value), state.best_params
    (True, 2.0, Array([2.], dtype=float32))
    """

    best_value: jax.Array  # infinite before the first
    best_params: Any  # those handed to the update that completed this value
    plateau_count: Count  # measurements since
    stopped: jax.Array  # bool, ()
    count: Count  # values in the mean that is being taken
    avg_value: jax.Array  # that mean

    @property
    def metrics(self) -> dict[str, jax.Array]:
        return dict(stopped=self.stopped, best_value=self.best_value)


@transformation
def early_stopping(patience: Steps = 10, min_delta: NonNegative = 0.0, *, maximize: bool = False, every: Steps = 1):
    r"""The updates until `patience` measurements in a row were no improvement, and zeros from that update on. One is
    $v < b - \delta$ over the best so far $b$, with `maximize` $v > b + \delta$. NaN and infinities never are.

    The measurement is an argument of `update`, `value=`: the loss of the parameters that are handed in. With one per
    step it stands last in a chain, behind all that changes updates (`soft_threshold` too), which become zeros. With one
    per epoch, drive it alone, `_, state = tx.update(None, state, params, value=loss)`, and leave the loop at
    `state.stopped`. Once it has stopped nothing of its state changes any more. `best_parameters(state)` gives the
    parameters of the best measurement.

    **Arguments:** `patience` $\ge 1$; `min_delta` $\delta \ge 0$, in units of the value; `every` $\ge 1$: so many
    values are averaged into one measurement, the parameters kept with it being those of the last of them.

    **State:** `best_params`, one copy of the parameters in their own dtypes, and scalars.

    **Raises:** `TypeError` and `ValueError` for a `value` that is missing or no real scalar, and for parameters that
    are missing or unlike those of `init`.

    **Source:** Prechelt, Early Stopping — But When? (1998). Equals Keras' `EarlyStopping` with
    `restore_best_weights`; Optax and torch have none, and Flax's stops one measurement later.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.early_stopping(patience=2)
    >>> state = tx.init(jnp.array([0.0]))
    >>> for epoch, loss in enumerate((3.0, 1.0, 2.0, 1.5, 0.5)):
    ...     _, state = tx.update(None, state, jnp.array([float(epoch)]), value=loss)
    >>> bool(state.stopped), gradtx.best_parameters(state)
    (True, Array([1.], dtype=float32))
    """

    def init(params: Any) -> EarlyStoppingState:
        own = jax.tree.map(lambda p: jnp.array(p, jnp.result_type(p)), params)  # buffers that may be donated
        return EarlyStoppingState(best_params=own, stopped=jnp.zeros([], bool), **start_measuring(maximize))

    def advance(flow: Flow, state: EarlyStoppingState, extra: dict[str, Any]) -> EarlyStoppingState:
        check.require_state(state, EarlyStoppingState)
        check.require_params(flow.params)
        fields, _, better = measure(state, extra["value"], rtol=0.0, atol=min_delta, maximize=maximize, every=every)
        fields = {name: jnp.where(state.stopped, getattr(state, name), x) for name, x in fields.items()}
        stopped = state.stopped | (as_real(fields["plateau_count"]) >= patience)

        leaves, structure = jax.tree.flatten(state.best_params, is_leaf=check.is_none)
        params = check.match_params(state.best_params, flow.params, "the state's best_params")
        keep = better & ~state.stopped
        best = [b if b is None else jnp.where(keep, p.astype(b.dtype), b) for b, p in zip(leaves, params, strict=True)]
        flow.then(zero_where, [stopped] * len(flow.leaves))
        return EarlyStoppingState(best_params=structure.unflatten(best), stopped=stopped, **fields)

    return Rule(init, advance, takes=frozenset({"value"}), needs=("value",))


def zero_where(g: jax.Array, stopped: jax.Array) -> tuple[Any, dict[str, Any]]:
    return jnp.where(stopped, 0.0, g), {}  # zero times a gradient that is NaN would not be zero


def best_parameters(state: Any) -> Any:
    """The parameters at the best measurement of an `early_stopping`, from its state or from one that holds it.

    They are a copy, in buffers of their own. Inside of `jit`, where no value can be looked at, they are those of
    `init` as long as no measurement was good; so are those of the members of a `vmap` that had none.

    **Raises:** `ValueError` where no measurement was finite so far, and for a state that holds none or several.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.chain(gradtx.sgd(0.1), gradtx.early_stopping())
    >>> w = jnp.array([1.0])
    >>> _, state = tx.update(w, tx.init(w), w, value=3.0)
    >>> gradtx.best_parameters(state)
    Array([1.], dtype=float32)
    """
    with errors_of("best_parameters"):
        stopping = find_state_of(EarlyStoppingState, state)
        if not isinstance(stopping.best_value, Tracer) and not jnp.isfinite(stopping.best_value).any():
            remedy = "there is no best before the first update with a finite value"
            raise Refusal(ValueError, f"no measurement was good so far; {remedy}")
    return jax.tree.map(jnp.copy, decode_all(stopping.best_params))
