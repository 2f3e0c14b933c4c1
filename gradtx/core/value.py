"""What optimizers and schedules have in common: they are values, which remember what they were built from."""

import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Generic, ParamSpec, Self, TypeVar, get_args

import jax
import numpy as np
import optax
from jax.core import Tracer
from jax.tree_util import GetAttrKey

from gradtx.core.check import Range, Refusal, named, number, schedule

# A hyperparameter's annotation says which numbers it may be, and that it is one: a leaf of the value's pytree.
# A schedule given for it reaches a transformation as its number at the count, so in a body it is a number.
Scalar = Annotated[Any, Range()]
Positive = Annotated[Any, Range(0)]
NonNegative = Annotated[Any, Range(0, ends="[)")]
Fraction = Annotated[Any, Range(0, 1, "[]")]
Decay = Annotated[Any, Range(0, 1, "[)")]
Steps = Annotated[Any, Range(1, 2**31 - 1, "[]")]  # the count is an int32

P = ParamSpec("P")
V = TypeVar("V", bound="Value")


class Value:
    """Built by a recipe from arguments: equal, hashed, printed, pickled by them; a pytree of the numbers among them."""

    recipe: "Recipe[..., Any]"
    arguments: dict[str, Any]

    @functools.cached_property
    def built(self) -> Any:
        """What the recipe makes of the arguments."""
        with jax.ensure_compile_time_eval():  # what a factory computes outlives the trace that first needs it
            return self.recipe.pair(self.arguments)

    def __getattr__(self, name: str) -> Any:
        arguments = self.__dict__.get("arguments", {})  # absent while a copy is being made
        if name in arguments:
            return arguments[name]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}; its arguments are {list(arguments)}")

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{self.recipe.__name__} can't be changed; use .replace({name}=...) to get another one")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._identity() == other._identity()

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self._identity())

    def _identity(self) -> tuple[Any, ...]:
        return self.recipe, tuple((name, comparable(value)) for name, value in self.arguments.items())

    def __repr__(self) -> str:
        return self.recipe.show(self.arguments)

    def __reduce__(self) -> Any:
        return restore, (type(self), self.recipe, self.arguments)

    def replace(self, **changes: Any) -> Self:
        """The same value with other arguments, by name or by path: `tx.replace(learning_rate=1e-4)`.

        A name may stand anywhere inside, as long as it stands there once; a path, as `hyperparameters(tx)` writes it,
        is given as `tx.replace(**{"parts[1].learning_rate": 1e-4})`.

        **Raises:** `TypeError` for a name that is unknown or stands in several places; what the factory raises.
        """
        paths = [path for path, _ in arguments(self)]
        single = [path for path, argument in arguments(self) if not isinstance(argument, Value | tuple)]
        found: dict[str, Any] = {}
        for key, new in changes.items():
            inside = [path for path in paths if path.endswith("." + key)]
            candidates = [key] if key in paths else inside
            if len(candidates) != 1:
                problem = f"has several {key!r}: {', '.join(inside)}" if inside else f"has no {key!r}"
                raise TypeError(f"{self.recipe.__name__}.replace: it {problem}; it has {', '.join(single)}")
            found[candidates[0]] = new
        return replaced(self, "", found)


def arguments(value: Value, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """All arguments of a value and of the values inside it, each with its path."""
    for name, argument in value.arguments.items():
        yield from within(argument, prefix + name)


def within(argument: Any, path: str) -> Iterator[tuple[str, Any]]:
    yield path, argument
    if isinstance(argument, Value):
        yield from arguments(argument, path + ".")
    elif type(argument) is tuple:
        for i, part in enumerate(argument):
            yield from within(part, f"{path}[{i}]")


def replaced(argument: Any, path: str, changes: dict[str, Any]) -> Any:
    if path in changes:
        return changes[path]
    if not any(key.startswith(path) for key in changes):
        return argument
    if isinstance(argument, Value):
        dot = path and path + "."
        return argument.recipe.make({k: replaced(v, dot + k, changes) for k, v in argument.arguments.items()})
    if type(argument) is tuple:
        return tuple(replaced(v, f"{path}[{i}]", changes) for i, v in enumerate(argument))
    return argument


class Recipe(Generic[P, V]):
    """A factory of values: binds the arguments of a call, checks them, and says how a value is written."""

    kind: type[V]
    __name__: str
    __qualname__: str

    def __init__(self, factory: Callable[P, Any]):
        functools.update_wrapper(self, factory)
        self.factory = factory
        self.signature = inspect.signature(factory, eval_str=True)
        parameters = self.signature.parameters.values()
        self.variadic = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), None)
        self.ranges = {p.name: allowed for p in parameters if (allowed := range_of(p.annotation))}

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> V:
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            unknown = sorted(kwargs.keys() - self.signature.parameters.keys())
            problem = f"unknown argument {unknown[0]!r}" if unknown else error
            raise TypeError(f"{self.__name__}: {problem}; it takes {', '.join(self.signature.parameters)}") from None
        bound.apply_defaults()
        return self.make(dict(bound.arguments))

    def __get__(self, instance: Any, owner: Any = None) -> Self:
        return self  # with this, help() and doctest take the factory for the function that it stands for

    def __reduce__(self) -> str:
        return self.__qualname__

    def make(self, arguments: dict[str, Any]) -> V:
        """The value of these arguments, once they have been checked."""
        with named(self.__name__):
            arguments = {name: self.checked(name, value) for name, value in arguments.items()}
            value = restore(self.kind, self, arguments)
            value.built  # noqa: B018  # what the factory refuses is refused here, not at the first step
        return value

    def checked(self, name: str, value: Any) -> Any:
        parameter = self.signature.parameters[name]
        if name in self.ranges:
            if value is None and type(None) in get_args(parameter.annotation):
                return value
            if callable(value):
                schedule(name, value)
                return value
            number(name, value, self.ranges[name])
            # An int means a real number here, as in max_norm=1; a number of steps stays exact.
            return float(value) if isinstance(value, int) and parameter.annotation is not Steps else value
        if parameter.annotation is bool and not isinstance(value, bool):
            raise Refusal(TypeError, f"{name} must be True or False, got {type(value).__name__} {value!r:.60}")
        return value

    def pair(self, arguments: dict[str, Any]) -> Any:
        return self.build(arguments)

    def build(self, arguments: dict[str, Any]) -> Any:
        named = dict(arguments)
        parts = named.pop(self.variadic) if self.variadic else ()
        return self.factory(*parts, **named)  # pyright: ignore[reportCallIssue]

    def show(self, arguments: dict[str, Any]) -> str:
        words: list[str] = []
        for name, value in arguments.items():
            if name == self.variadic:
                words += map(written, value)
            elif comparable(value) != comparable(self.signature.parameters[name].default):
                words.append(f"{name}={written(value)}")
        return f"{self.__name__}({', '.join(words)})"


def range_of(annotation: Any) -> Range | None:
    """The range in `Scalar`, `Scalar | None` and the like."""
    found = [x for x in (annotation, *get_args(annotation)) if isinstance(x, Range)]
    nested = [r for x in get_args(annotation) if (r := range_of(x))] if annotation is not None else []
    return next(iter(found + nested), None)


def comparable(x: Any) -> Any:
    """Something hashable that is equal when the value is."""
    if isinstance(x, Tracer):
        return id(x)
    if isinstance(x, jax.Array | np.ndarray):
        return x.shape, str(x.dtype), np.asarray(x).tobytes()
    return tuple(map(comparable, x)) if type(x) is tuple else x


def written(x: Any) -> str:
    if isinstance(x, Tracer) or (isinstance(x, jax.Array | np.ndarray) and x.ndim):
        return f"{x.dtype}{list(x.shape)}"
    if isinstance(x, optax.GradientTransformation) and not isinstance(x, Value):
        update: Any = x.update  # a function inside of the factory that made it
        return f"<{update.__module__.partition('.')[0]}.{update.__qualname__.partition('.')[0]}>"
    if callable(x) and not isinstance(x, Value):
        return f"<{getattr(x, '__qualname__', type(x).__name__)}>"
    return repr(x)


# ---- a value as a pytree ----


@jax.tree_util.register_static
@dataclass(frozen=True, eq=False)
class Static:
    """Holds an argument that is no number, where JAX wants a child."""

    value: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Static) and comparable(self.value) == comparable(other.value)

    def __hash__(self) -> int:
        return hash(comparable(self.value))


def restore(kind: type[V], recipe: "Recipe[..., V]", arguments: dict[str, Any]) -> V:
    """A value as it was: unchecked and not built, since JAX puts tracers, None and other marks in its leaves."""
    value = kind.__new__(kind)
    value.__dict__.update(recipe=recipe, arguments=arguments)
    return value


def child(argument: Any, is_number: bool) -> Any:
    if isinstance(argument, Value):
        return argument
    if type(argument) is tuple:
        return tuple(child(part, is_number) for part in argument)
    return argument if is_number and not callable(argument) else Static(argument)


def revealed(child: Any) -> Any:
    if type(child) is tuple:
        return tuple(map(revealed, child))
    return child.value if isinstance(child, Static) else child


def flatten(value: Value) -> tuple[list[Any], Any]:
    children = [child(v, k in value.recipe.ranges) for k, v in value.arguments.items()]
    return children, (value.recipe, tuple(value.arguments))


def flatten_with_keys(value: Value) -> tuple[list[Any], Any]:
    children, static = flatten(value)
    return list(zip(map(GetAttrKey, value.arguments), children, strict=True)), static


def register(kind: type[V]) -> type[V]:
    """Make a class of values a class of pytrees."""

    def unflatten(static: Any, children: Any) -> V:
        recipe, names = static
        return restore(kind, recipe, dict(zip(names, map(revealed, children), strict=True)))

    jax.tree_util.register_pytree_with_keys(kind, flatten_with_keys, unflatten, flatten)
    return kind
