"""The functions among the extra arguments: the loss, with what else it takes and what it returns beside its value."""

import inspect
from collections.abc import Callable
from typing import Any

import jax

from gradtx.core import check
from gradtx.values.errors import Refusal
from gradtx.values.printing import excerpt

FUNCTIONS = frozenset({"value_fn", "loss_fn"})
# Extra arguments of `update` that may always be passed: line searches and measurement-driven parts take them.
STANDARD = frozenset({"value", "grad"}) | FUNCTIONS


def names_taken_by(loss: Any) -> frozenset[str] | None:
    """The names of what a loss takes behind the parameters; None for any."""
    further = further_parameters(loss)
    return None if inspect.Parameter.VAR_KEYWORD in [p.kind for p in further] else frozenset(p.name for p in further)


def loss_of_params(name: str, loss: Any, further: dict[str, Any]) -> Callable[[Any], Any]:
    """The loss as a function of the parameters alone. Of a pair it is the first, as JAX's `has_aux` has it."""
    if not callable(loss):
        got = "an array" if isinstance(loss, jax.Array) else f"{type(loss).__name__} {excerpt(loss)}"
        raise Refusal(TypeError, f"{name} must be a function of the parameters, got {got}")
    names = names_taken_by(loss)
    names = further.keys() - STANDARD if names is None else names
    own = {key: x for key, x in further.items() if key in names}
    needed = [p.name for p in further_parameters(loss) if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    check.require_extra([key for key in needed if key not in own], f" for {name}")

    def value(params: Any) -> Any:
        returned = loss(params, **own)
        return returned[0] if type(returned) is tuple and len(returned) == 2 else returned

    return value


def further_parameters(loss: Any) -> list[inspect.Parameter]:
    """What a function can be given by name behind its first argument; none where it does not say."""
    try:
        further = list(inspect.signature(loss).parameters.values())[1:]
    except (TypeError, ValueError):  # no function, or one of C
        return []
    return [p for p in further if p.kind not in (p.POSITIONAL_ONLY, p.VAR_POSITIONAL)]
