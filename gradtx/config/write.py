"""From a value to its config."""

import math
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from gradtx.config.form import DTYPES, KINDS, NAME, VERSION, Names, Vocabulary, make_vocabulary, name_place
from gradtx.config.names import SIGNS
from gradtx.core.walk import join
from gradtx.values.errors import Refusal, errors_of
from gradtx.values.printing import cut_short, excerpt
from gradtx.values.value import Value, comparable, text_of


def to_config(value: Any, names: Names | None = None) -> dict[str, Any]:
    """A transformation, a schedule or a selector as plain data, of which `from_config` builds an equal one.

    The data are dicts, lists, strings, numbers, bools and None, which JSON gives back as they were:

    - `{"gradtx": 1, "optimizer": …}`, or `"schedule"` or `"selector"` in the place of `"optimizer"`; 1 is the version
      of this format.
    - `{"adam": {"learning_rate": 0.001}}`, a dict with one key, is a factory with its arguments. Those that are as
      their defaults are left out.
    - A tuple is a list: `{"chain": {"parts": [{"scale": {"factor": 0.5}}, …]}}`. Parts with names are pairs, since
      their order counts: `{"chain": {"named": [["clip", {…}], ["adam", {…}]]}}`.
    - `a + b`, `a * b`, `a & b`, `a | b` and `~a` are `{"+": [a, b]}` and so on; `a.then(b, at=n)` is
      `{"then": {"first": a, "following": b, "at": n}}`.
    - A number of NumPy or JAX is `{"float32": 0.1}`.
    - What is no data, such as a function or a transformation of Optax, is `{"name": "mine"}` for `names["mine"]`. The
      caller's own factories, in `names` too, are written as gradtx's are.

    **Arguments:** `value`; `names`, a dict of the factories and objects that the data may name.

    **Raises:** `TypeError` for what no data can stand for, `ValueError` for a number that JSON does not have, with the
    path in the value.

    >>> import gradtx
    >>> tx = gradtx.adamw(gradtx.warmup(1e-3, 10) * 0.5, weight_decay=0.1)
    >>> gradtx.to_config(tx)["optimizer"]
    {'adamw': {'learning_rate': {'*': [{'warmup': {'value': 0.001, 'steps': 10}}, 0.5]}, 'weight_decay': 0.1}}
    """
    with errors_of("to_config"):
        kind = next((kind for kind, type_ in KINDS.items() if isinstance(value, type_)), None)
        if kind is None:
            got = f"{type(value).__name__} {excerpt(value)}"
            raise Refusal(TypeError, f"the value must be a transformation, a schedule or a selector, got {got}")
        return {"gradtx": VERSION, kind: write_value(value, "", make_vocabulary(names))}


def write_value(x: Any, path: str, known: Vocabulary) -> Any:
    """An argument as data."""
    if isinstance(x, Value):
        for name, factory in known.factories.items():
            if factory is x.recipe:
                return {name: write_arguments(x, name, path, known)}
    if x is None or type(x) in (bool, int, str):
        return x
    if type(x) is tuple:
        return [write_value(part, f"{path}[{i}]", known) for i, part in enumerate(x)]
    if type(x) is float:
        return require_finite(x, path)
    if is_typed_number(x):
        return {str(x.dtype): require_finite(x.item(), path)}
    for name, other in known.objects.items():
        if comparable(other) == comparable(x):
            return {NAME: name}
    own = x.recipe.__name__ if isinstance(x, Value) else getattr(x, "__name__", "")
    name, given = (own, own) if own.isidentifier() else ("mine", "…")
    remedy = f'hand it in: names={{"{name}": {given}}}, for from_config too'
    problem = f"{name_place(path)} is {cut_short(text_of(x))}, for which no plain data can stand"
    raise Refusal(TypeError, f"{problem}; {remedy}")


def write_arguments(value: Value, name: str, path: str, known: Vocabulary) -> Any:
    recipe = value.recipe
    if name in SIGNS:
        return [write_value(x, join(path, argument), known) for argument, x in value.arguments.items()]
    found: dict[str, Any] = {}
    for argument, x in value.arguments.items():
        parameter = recipe.signature.parameters.get(argument)
        if parameter is None or argument == recipe.named:  # the name of a part
            found.setdefault(recipe.named, []).append([argument, write_value(x, join(path, argument), known)])
        elif x != () if argument == recipe.variadic else comparable(x) != comparable(parameter.default):
            found[argument] = write_value(x, join(path, argument), known)
    return found


def is_typed_number(x: Any) -> bool:
    """Whether it is one number with a dtype."""
    array = isinstance(x, np.generic | np.ndarray | jax.Array) and not isinstance(x, Tracer)
    return array and x.ndim == 0 and str(x.dtype) in DTYPES


def require_finite(x: Any, path: str) -> Any:
    if not math.isfinite(x):
        raise Refusal(ValueError, f"{name_place(path)} is {x}, which JSON does not have")
    return x
