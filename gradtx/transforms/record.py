"""Measurements on the way."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradtx.core import check
from gradtx.core.factories import transformation
from gradtx.core.flow import Flow
from gradtx.core.lift import count_arguments
from gradtx.core.measurement import as_measurement
from gradtx.core.rule import Rule
from gradtx.values.errors import Refusal, require_function
from gradtx.values.printing import excerpt


class RecordState(NamedTuple):
    """The state of `record`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.record("sum", lambda u: jnp.sum(jnp.abs(u)))
    >>> _, state = tx.update(jnp.array([3.0, -4.0]), tx.init(None))
    >>> float(state.recorded["sum"])
    7.0
    """

    recorded: dict[str, jax.Array]  # one number, by its name; zero before the first update

    only_measured = ("recorded",)

    @property
    def metrics(self) -> dict[str, jax.Array]:
        return self.recorded


@transformation
def record(name: str, function: Callable[..., Any]):
    r"""The updates as they are, $u$, and in the state what a function of them says, for `metrics(state)`.

    It stands anywhere in a chain, and sees the updates as they are there: ahead of all parts the gradients, behind them
    the steps. `record("size", global_norm)` is the norm, `record("bias_step", lambda u: u["bias"][0])` one element.

    **Arguments:** `name`, a word; `function`, of the updates or of the updates and the parameters as
    the trees that they are, returning one real number or a truth value.

    **State:** that number.

    **Raises:** `TypeError` and `ValueError` for a name that is no word, for what is no function of one or two trees,
    and for a function that returns something else than a real scalar.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.chain(gradtx.record("grad_norm", gradtx.global_norm), gradtx.sgd(0.1))
    >>> _, state = tx.update(jnp.array([3.0, 4.0]), tx.init(jnp.zeros(2)))
    >>> float(gradtx.metrics(state)["grad_norm"])
    5.0
    """
    if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # users may not check their types
        raise Refusal(TypeError, f"name must be a string, got {type(name).__name__} {excerpt(name)}")
    if not name.isidentifier():
        raise Refusal(ValueError, f"name must be a word, of letters, digits and _, got {name!r:.60}")
    needs_params = inspect.isfunction(function) and count_arguments(function) > 1
    require_function("function", function, "the updates, or of the updates and the parameters", 1 + needs_params)

    def init(params: Any) -> RecordState:
        return RecordState({name: jnp.zeros([], jnp.result_type(float))})

    def advance(flow: Flow, state: RecordState, extra: dict[str, Any]) -> RecordState:
        check.require_state(state, RecordState)
        if state.recorded.keys() != {name}:
            raise Refusal(ValueError, f"the state records {', '.join(state.recorded)}, expected {name}")
        if needs_params:
            check.require_params(flow.params)
        value = function(flow.updates(), *[flow.own_params] * needs_params)
        if getattr(value, "dtype", None) is jnp.dtype(bool):
            value = value.astype(int)
        return RecordState({name: as_measurement(f"what {name!r} records", value)})

    return Rule(init, advance)
