"""Hyperparameters in the state, where programs read and write them."""

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gradtx.core import check
from gradtx.core.count import increment
from gradtx.core.factories import transformation
from gradtx.core.flow import Flow
from gradtx.core.rule import Rule
from gradtx.core.transformation import advance, start
from gradtx.values.value import text_of

InjectState: Any = optax.schedules.InjectStatefulHyperparamsState
Wrapped: Any = optax.schedules.WrappedSchedule  # a schedule with its count


def inject_hyperparams(
    inner_factory: Callable[..., Any], static_args: str | Iterable[str] = (), hyperparam_dtype: Any = None
) -> Callable[..., Any]:
    """Optax's function. What it returns makes values, whose numbers are in `state.hyperparams`."""
    static = (static_args,) if isinstance(static_args, str) else tuple(static_args)
    signature = inspect.signature(inner_factory)
    if not signature.parameters.keys() >= set(static):
        raise ValueError(f"inject_hyperparams: static_args {static} must be arguments of {inner_factory}")

    @functools.wraps(inner_factory)
    def make(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return injected(inner_factory, tuple(bound.arguments.items()), static, hyperparam_dtype)

    return make


class injection(transformation[...]):
    """The factory of what `inject_hyperparams` makes, printed as it was made."""

    def show(self, arguments: dict[str, Any]) -> str:
        defaults = {p.name: p.default for p in inspect.signature(arguments["factory"]).parameters.values()}
        given = [(k, x) for k, x in arguments["given"] if x is not defaults[k]]
        words = [text_of(arguments["factory"]).strip("<>")]
        words += [f"static_args={arguments['static_args']!r}"] * bool(arguments["static_args"])
        return f"inject_hyperparams({', '.join(words)})({', '.join(f'{k}={text_of(x)}' for k, x in given)})"


@injection
def injected(factory: Any, given: Any, static_args: Any, dtype: Any) -> Rule:
    numbers: dict[str, Any] = {}
    schedules: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for name, x in given:
        if name in static_args or isinstance(x, bool):
            others[name] = x
        elif isinstance(x, optax.schedules.StatefulSchedule):
            schedules[name] = x
        elif callable(x):
            schedules[name] = Wrapped(x)
        else:
            (numbers if isinstance(x, int | float | jax.Array | np.ndarray | np.generic) else others)[name] = x

    def dtype_for(params: Any) -> Any:
        kind = optax.tree_utils.tree_dtype(params, "highest") if dtype is None else dtype
        return jnp.finfo(kind).dtype if kind is not None and jnp.issubdtype(kind, jnp.complexfloating) else kind

    def init(params: Any) -> Any:
        kind = dtype_for(params)
        states = {name: x.init() for name, x in schedules.items()}
        now = {name: jnp.asarray(as_dtype(x, kind)) for name, x in numbers.items()}
        now |= {name: as_dtype(x(states[name]), kind) for name, x in schedules.items()}
        return InjectState(jnp.zeros([], jnp.int32), now, states, start(factory(**others, **now), params))

    def advance_injected(flow: Flow, state: Any, extra: dict[str, Any]) -> Any:
        check.require_state(state, InjectState)
        kind, states = dtype_for(flow.params), state.hyperparams_states
        now = {name: as_dtype(x, kind) for name, x in state.hyperparams.items()}
        now |= {name: as_dtype(x(states[name], **extra), kind) for name, x in schedules.items()}
        after = {name: x.update(states[name], **extra) for name, x in schedules.items()}
        inner = advance(factory(**others, **now), flow, state.inner_state, extra)
        return InjectState(increment(state.count), now, after, inner)

    return Rule(
        init, advance_injected, takes=None, parts={}
    )  # its parts are made anew at each step, and may take and select anything


def as_dtype(x: Any, dtype: Any) -> Any:
    """Numbers of Python and weakly typed ones in a dtype; others have theirs, and whole ones stay whole."""
    if isinstance(x, jax.Array) and not getattr(x, "weak_type", False):  # a random key has none
        return x
    return jnp.asarray(x, dtype) if jnp.issubdtype(jnp.result_type(x), jnp.floating) else x
