"""From a config to the value for which it stands."""

import json
import math
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from gradtx.config.form import (
    DTYPES,
    FLOATS,
    KINDS,
    NAME,
    VERSION,
    Names,
    Vocabulary,
    make_vocabulary,
    name_place,
)
from gradtx.config.names import (
    OPERATORS,
    SIGNS,
    Factory,
    call_factory,
    find_factory,
    require_depth,
    require_operands,
    suggest_names,
)
from gradtx.core.transformation import Transformation
from gradtx.core.walk import join
from gradtx.values.errors import Refusal, errors_of
from gradtx.values.printing import excerpt

EXAMPLES = {
    "optimizer": '{"adam": {"learning_rate": 0.001}}',
    "schedule": '{"cosine": {"start": 0.1, "steps": 200}}',
    "selector": '{"by_path": {"pattern": "bias$"}}',
}


def from_config(config: Any, names: Names | None = None) -> Any:
    """The value for which plain data stand, as `to_config` makes and describes them.

    Nothing is built but with gradtx's public factories, its operators, and what is in `names`; no string is evaluated,
    and nothing is imported.

    **Arguments:** `config`, the data; `names`, a dict of what the data may name beside gradtx's factories. Factories of
    the caller's, made with `@transformation` and the like, get the arguments in the data; of a function or another
    object the data can only say where it stands.

    **Raises:** `TypeError` and `ValueError` for data of another form or version, for unknown names and arguments, and
    for what a factory refuses, with the path in the data.

    >>> import gradtx
    >>> rate = {"cosine": {"start": 0.1, "steps": 200}}
    >>> gradtx.from_config({"gradtx": 1, "optimizer": {"sgd": {"learning_rate": rate, "momentum": 0.9}}})
    sgd(learning_rate=cosine(start=0.1, steps=200), momentum=0.9)
    """
    with errors_of("from_config"):
        known = make_vocabulary(names)
        kind, data = split_config(config)
        value = read_value(data, "", known)
        if not isinstance(value, KINDS[kind]):
            got = f"{type(value).__name__} {excerpt(value)}"
            raise Refusal(TypeError, f"the {kind} must be written like {EXAMPLES[kind]}, got {got}")
        return value


def from_file(path: Path | str) -> Transformation:
    """The optimizer for which the JSON in a file stands; for programs, whose users hand in no names."""
    try:
        data = json.loads(Path(path).read_text("utf-8"), object_pairs_hook=require_distinct_keys)
    except OSError as error:
        raise ValueError(f"can't read {str(path)!r}: {error.strerror}") from None
    except RecursionError:
        raise ValueError(f"{str(path)!r} is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{str(path)!r} is no JSON: {error}") from None
    value = from_config(data)
    if not isinstance(value, Transformation):
        raise ValueError(f"{str(path)!r} holds a {type(value).__name__.lower()}, not an optimizer")
    return value


def require_distinct_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"{next(key for key in keys if keys.count(key) > 1)!r} is given twice")
    return found


def split_config(config: Any) -> tuple[str, Any]:
    """What kind of value the config says it is, and the data of that value."""
    form = f'{{"gradtx": {VERSION}, "optimizer": {EXAMPLES["optimizer"]}}}'
    if type(config) is not dict:
        raise Refusal(TypeError, f"the config must be a dict such as {form}, got {type(config).__name__}")
    version = config.get("gradtx")
    if type(version) is not int:
        raise Refusal(ValueError, f'the config must have its version, "gradtx": {VERSION}, as in {form}')
    if version != VERSION:
        raise Refusal(ValueError, f"the config is of version {version}; this gradtx reads version {VERSION}")
    kinds = [key for key in config if key != "gradtx"]
    if len(kinds) != 1 or kinds[0] not in KINDS:
        got = ", ".join(map(str, kinds)) or "nothing"
        raise Refusal(ValueError, f"beside its version the config must have one of {', '.join(KINDS)}, got {got}")
    return kinds[0], config[kinds[0]]


def read_value(data: Any, path: str, known: Vocabulary, depth: int = 0) -> Any:
    """The argument for which data stand."""
    where = name_place(path)
    require_depth(depth, where)
    if data is None or type(data) in (bool, int, str):
        return data
    if type(data) is float:
        return read_number(data, path)
    if type(data) is list:
        return tuple(read_value(part, f"{path}[{i}]", known, depth + 1) for i, part in enumerate(data))
    if type(data) is not dict:
        expected = "must be a dict, a list, a string, a number, a bool or None"
        raise Refusal(TypeError, f"{where} {expected}, got {type(data).__name__} {excerpt(data)}")
    if len(data) != 1:
        got = f"{len(data)}, {excerpt(list(data))}" if data else "none"
        raise Refusal(ValueError, f"{where} must have one key, the name of a factory, got {got}")
    [(name, content)] = data.items()
    if name == NAME:
        return find_object(content, where, known)
    if name in DTYPES and not isinstance(content, dict):  # with arguments it is a codec
        return read_number(content, path, name)
    if name in known.objects:
        remedy = f'write {{"{NAME}": "{name}"}} for what was handed in'
        raise Refusal(ValueError, f"{where}: unknown name {name!r:.60}; {remedy}")
    factory = find_factory(name, known.factories, where, "the factories in gradtx.__all__ and in names")
    positional, keywords = read_arguments(name, factory, content, path, known, depth + 1)
    if name in OPERATORS and keywords.keys() == factory.signature.parameters.keys():
        require_operands(name, [keywords[argument] for argument in factory.signature.parameters], where)
    return call_factory(factory, where, positional, keywords)


def read_arguments(
    name: str, factory: Factory, data: Any, path: str, known: Vocabulary, depth: int
) -> tuple[Any, dict[str, Any]]:
    """The arguments of a factory, by position and by name."""
    where, parameters = name_place(path), list(factory.signature.parameters)
    if name in SIGNS:
        if type(data) is not list or len(data) != len(parameters):
            raise Refusal(ValueError, f"{where}: {name} must have a list of {len(parameters)}, got {excerpt(data)}")
        data = dict(zip(parameters, data, strict=True))
    if type(data) is not dict:
        problem = f"{name} must have a dict of its arguments, got {type(data).__name__} {excerpt(data)}"
        raise Refusal(TypeError, f"{where}: {problem}")
    for argument in data:
        if argument not in parameters:
            remedy = suggest_names(argument, parameters, ", ".join(parameters) or "no arguments")
            raise Refusal(TypeError, f"{where}: {name} has no argument {argument!r:.60}{remedy}")
    found: dict[str, Any] = {}
    for argument, part in data.items():
        if argument == factory.named:
            found |= read_pairs(argument, part, path, known, depth)
            continue
        found[argument] = x = read_value(part, join(path, argument), known, depth)
        if argument == factory.variadic and type(x) is not tuple:
            raise Refusal(TypeError, f"{join(path, argument)} must be a list, got {excerpt(x)}")
    return found.pop(factory.variadic or "", ()), found


def read_pairs(argument: str, data: Any, path: str, known: Vocabulary, depth: int) -> dict[str, Any]:
    """Arguments whose order counts, which an object of JSON would not keep for sure."""
    if type(data) is not list or not all(type(x) is list and len(x) == 2 and type(x[0]) is str for x in data):
        expected = f"{join(path, argument)} must be a list of pairs [name, value], since the order counts"
        raise Refusal(TypeError, f"{expected}, got {excerpt(data)}")
    found = {name: read_value(x, join(path, name), known, depth) for name, x in data}
    if len(found) < len(data):
        raise Refusal(ValueError, f"{join(path, argument)} has a name twice: {', '.join(name for name, _ in data)}")
    return found


def find_object(name: Any, where: str, known: Vocabulary) -> Any:
    """An object of the caller's."""
    if type(name) is str and name in known.objects:
        return known.objects[name]
    if type(name) is str and name in known.factories:
        raise Refusal(ValueError, f'{where}: {name} is a factory; write {{"{name}": {{…}}}}, with its arguments')
    remedy = suggest_names(
        name,
        known.objects,
        ", ".join(known.objects) or "none: hand it in as names={…}",
    )
    raise Refusal(ValueError, f"{where}: unknown name {excerpt(name)}{remedy}")


def read_number(x: Any, path: str, dtype: str | None = None) -> Any:
    """A number, if there is a dtype, NumPy's."""
    allowed = (int,) if dtype and dtype not in FLOATS else (int, float)
    if type(x) not in allowed:
        expected = "a whole number" if allowed == (int,) else "a number"
        raise Refusal(TypeError, f"{name_place(path)} must be {expected}, got {type(x).__name__} {excerpt(x)}")
    try:
        with np.errstate(over="ignore"):
            found = np.asarray(x, jnp.dtype(dtype))[()] if dtype else x
        if math.isfinite(found):
            return found
    except OverflowError:
        pass
    size = f" in {dtype}" if dtype else ""
    raise Refusal(ValueError, f"{name_place(path)} is {excerpt(x)}, which is no finite number{size}")
