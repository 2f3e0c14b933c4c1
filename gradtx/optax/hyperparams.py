"""Hyperparameters in the state, where programs read and write them."""

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Annotated, Any

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
from gradtx.inspect.hyperparameters import control
from gradtx.optax.borrow import ANY_NUMBER, as_given, warn_of
from gradtx.optax.trees import PlainTree
from gradtx.values.annotations import Check
from gradtx.values.recipe import Controlled
from gradtx.values.value import comparable, text_of

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
        given = bound.arguments.items()
        numbers = tuple([(name, x) for name, x in given if name not in static and is_number(x)])
        others = tuple([(name, as_hashable(x)) for name, x in given if name in static or not is_number(x)])
        return injected(inner_factory, numbers, others, static, hyperparam_dtype)

    return make


def inject_stateful_hyperparams(
    inner_factory: Callable[..., Any], static_args: str | Iterable[str] = (), hyperparam_dtype: Any = None
) -> Callable[..., Any]:
    """Optax's older name of `inject_hyperparams`."""
    warn_of("inject_stateful_hyperparams", "inject_hyperparams")
    return inject_hyperparams(inner_factory, static_args, hyperparam_dtype)


# ---- the arguments of the inner factory ----


def is_number(x: Any) -> bool:
    return isinstance(x, int | float | jax.Array | np.ndarray | np.generic) and not isinstance(x, bool)


def as_hashable(x: Any) -> Any:
    """A mask, a tree of labels, a list, in a form that can be compared; all else as it is."""
    try:
        hash(comparable(x))
    except TypeError:
        return PlainTree(x)
    return x


@control
def injected_number(value: Annotated[Any, ANY_NUMBER, Check(lambda name, value: value)]):
    """The number that the state starts with, a leaf of the value. Optax has no ranges."""


def as_injected(name: str, pairs: Any) -> Any:
    return tuple([(key, x if isinstance(x, Controlled) else injected_number(x)) for key, x in pairs])


def as_passed(x: Any) -> Any:
    """An argument as it was given to what `inject_hyperparams` made."""
    return x.arguments["value"] if isinstance(x, Controlled) and x.recipe is injected_number else as_given(x)


# ---- the value ----


class injection(transformation[...]):
    """The factory of what `inject_hyperparams` makes, printed as it was made."""

    def show(self, arguments: dict[str, Any]) -> str:
        defaults = {p.name: p.default for p in inspect.signature(arguments["factory"]).parameters.values()}
        pairs = dict(arguments["numbers"] + arguments["others"])
        given = [(k, as_passed(pairs[k])) for k, x in defaults.items() if not is_same(as_passed(pairs[k]), x)]
        words = [text_of(arguments["factory"]).strip("<>")]
        words += [f"static_args={arguments['static_args']!r}"] * bool(arguments["static_args"])
        return f"inject_hyperparams({', '.join(words)})({', '.join(f'{k}={text_of(x)}' for k, x in given)})"


def is_same(x: Any, other: Any) -> bool:
    return comparable(as_hashable(x)) == comparable(as_hashable(other))


@injection
def injected(
    factory: Any,
    numbers: Annotated[Any, ANY_NUMBER, Check(as_injected)],
    others: Any,
    static_args: Any,
    dtype: Any,
) -> Rule:
    schedules: dict[str, Any] = {}
    fixed: dict[str, Any] = {}
    for name, x in others:
        if name in static_args or isinstance(x, bool) or not callable(x):
            fixed[name] = as_given(x)
        else:
            schedules[name] = x if isinstance(x, optax.schedules.StatefulSchedule) else Wrapped(x)

    def dtype_for(params: Any) -> Any:
        kind = optax.tree_utils.tree_dtype(check.movable(params), "highest") if dtype is None else dtype
        return jnp.finfo(kind).dtype if kind is not None and jnp.issubdtype(kind, jnp.complexfloating) else kind

    def init(params: Any) -> Any:
        kind = dtype_for(params)
        states = {name: x.init() for name, x in schedules.items()}
        now = {name: jnp.array(as_dtype(as_passed(x), kind)) for name, x in numbers}
        now |= {name: as_dtype(x(states[name]), kind) for name, x in schedules.items()}
        return InjectState(jnp.zeros([], jnp.int32), now, states, start(factory(**fixed, **now), params))

    def advance_injected(flow: Flow, state: Any, extra: dict[str, Any]) -> Any:
        check.require_state(state, InjectState)
        kind, states = dtype_for(flow.params), state.hyperparams_states
        now = {name: as_dtype(x, kind) for name, x in state.hyperparams.items()}
        now |= {name: as_dtype(x(states[name], **extra), kind) for name, x in schedules.items()}
        after = {name: x.update(states[name], **extra) for name, x in schedules.items()}
        inner = advance(factory(**fixed, **now), flow, state.inner_state, extra)
        return InjectState(increment(state.count), now, after, inner)

    # Its parts are made anew at each step, and may take and select anything.
    in_state = {f"numbers[{i}][1]": ("hyperparams", name) for i, (name, _) in enumerate(numbers)}
    return Rule(init, advance_injected, takes=None, parts={}, numbers=in_state, descends=None)


def as_dtype(x: Any, dtype: Any) -> Any:
    """Numbers of Python and weakly typed ones in a dtype; others have theirs, and whole ones stay whole."""
    if isinstance(x, jax.Array) and not getattr(x, "weak_type", False):  # a random key has none
        return x
    return jnp.asarray(x, dtype) if jnp.issubdtype(jnp.result_type(x), jnp.floating) else x
