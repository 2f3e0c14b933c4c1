"""The one adapter for plain pairs of functions: all that is known of them is their signature and what they return."""

import functools
import inspect
from typing import Any, NamedTuple

import jax
import optax

from gradtx.core.flow import Flow
from gradtx.core.rule import Keys, Part, Rule
from gradtx.core.transformation import Transformation, WithoutExtra, advance_pair, takes, unite
from gradtx.values.value import build, put_numbers


def rule_of_pair(init: Any, update: Any, inside: dict[str, Any]) -> Rule:
    """The rule of a pair; `inside` are the transformations that it was made with, by their paths."""
    extra = extra_of(update)
    named = named_extra(update)
    needs = tuple(p.name for p in extra if p.kind is p.KEYWORD_ONLY and p.default is p.empty)
    names = [named, *[takes(tx) for tx in inside.values() if len(named) < len(extra)]]  # `**extra` stands for theirs

    def advance(flow: Flow, state: Any, extra: dict[str, Any]) -> Any:
        return advance_pair(update, flow, state, extra)

    return Rule(init, advance, takes=unite(names), needs=needs)


SOME_SCHEDULE = optax.constant_schedule(0.0)  # whose numbers decide no state's type


@functools.cache
def state_kind(factory: Any, *arguments: Any, **named: Any) -> type[Any]:
    """The type of the state of what a factory of Optax makes, which has not made all of them public. Nothing is
    computed for it, which would start a backend.
    """
    return type(jax.eval_shape(factory(*arguments, **named).init, ()))


def extra_of(update: Any) -> list[inspect.Parameter]:
    """What an update takes behind the updates, the state and the parameters."""
    return list(inspect.signature(update).parameters.values())[3:]


def named_extra(update: Any) -> frozenset[str]:
    return frozenset(p.name for p in extra_of(update) if p.kind is not p.VAR_KEYWORD)


def with_extra(x: Any) -> Any:
    """An argument in which every transformation of Optax takes extra arguments, if only to leave them alone."""
    if type(x) is tuple:
        return tuple([one if type(one) is Transformation else with_extra(one) for one in x])
    if type(x) is not optax.GradientTransformation:
        return x

    @functools.wraps(x.update)
    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        return x.update(updates, state, params)

    return WithoutExtra(x.init, update)


# ---- where a wrapper keeps the states of its parts ----


SOME_NUMBER = 0.5  # in the place of a schedule: no number decides where a state is kept


class Mark(NamedTuple):
    """Stands for the state of a part."""

    path: str


def places_of_parts(tx: Transformation, inside: dict[str, Any]) -> dict[str, Part]:
    """The parts of a wrapper that is a plain pair: its `init` is run with parts whose states are marks, and so shows
    where it puts them. None are told where it looks into these states, or keeps several of one part.
    """

    def mark(x: Any, path: str) -> Any:
        if path in inside:
            init: Any = lambda params: Mark(path)  # noqa: E731
            return optax.GradientTransformationExtraArgs(init, never_called)
        return tuple(mark(part, f"{path}[{i}]") for i, part in enumerate(x)) if type(x) is tuple else x

    numbers = dict.fromkeys(tx.recipe.schedules_among(tx.arguments), SOME_NUMBER)
    try:
        stand_ins = {name: mark(x, name) for name, x in put_numbers(tx.arguments, numbers).items()}
        init, _ = tx.recipe.call(stand_ins)
        state = init({})
    except Exception:  # whatever the factory does with a part that it does not know
        return {}
    found = marks(state, ("inner_state",) if build(tx).numbers else ())  # below what a schedule adds
    return {path: Part(inside[path], keys) for path, keys in found} if len(found) == len(inside) else {}


def never_called(updates: Any, state: Any, params: Any = None) -> Any:
    raise RuntimeError("only init is run with these parts")


def marks(state: Any, keys: Keys) -> list[tuple[str, Keys]]:
    if isinstance(state, Mark):
        return [(state.path, keys)]
    if isinstance(state, dict):
        inside = list(state.items())
    elif isinstance(state, tuple) and (names := getattr(state, "_fields", ())):
        inside = list(zip(names, state, strict=True))
    else:
        inside = list(enumerate(state)) if isinstance(state, tuple | list) else []
    return [found for key, part in inside for found in marks(part, (*keys, key))]
