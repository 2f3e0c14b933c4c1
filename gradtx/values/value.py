"""What optimizers, schedules and selectors have in common: they are values, which know what they were built from."""

import functools
from collections.abc import Iterator
from operator import attrgetter
from typing import Any, Self, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer
from jax.tree_util import GetAttrKey

from gradtx.values.errors import errors_of
from gradtx.values.printing import indent

V = TypeVar("V", bound="Value")
BUILT = "_built"  # where an instance keeps what its recipe made


class Value:
    """Built by a recipe from arguments: equal, hashed, printed, pickled by them; a pytree of the numbers among them.

    The arguments are attributes too. They lie in the instance, where they hide what a tuple calls `count` or `index`.
    """

    recipe: Any  # the Recipe
    arguments: dict[str, Any]
    _blank: Any = staticmethod(object.__new__)  # makes one without anything in it
    _flat: Any = functools.cached_property(lambda self: flatten(self))  # made once, then found in the instance

    def __getattr__(self, name: str) -> Any:  # reached for what is not there; the arguments are found before
        arguments = list(self.__dict__.get("arguments", ()))
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}; its arguments are {arguments}")

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{self.recipe.__name__} can't be changed; use .replace({name}=...) to get another one")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{self.recipe.__name__} can't be changed; use .replace(…) to get another one")

    def __dir__(self) -> list[str]:
        return [*self.arguments, *methods(type(self))]

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Value) and type(other) is type(self) and key(self) == key(other))

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(key(self))

    def __repr__(self) -> str:
        return indent(text_of(self))

    def __reduce__(self) -> Any:
        return restore, (type(self), self.recipe, self.arguments)

    def replace(self, **changes: Any) -> Self:
        """The same value with other arguments, by name or by path: `tx.replace(learning_rate=1e-4)`.

        A name is that of an own argument, or of one that stands inside once; a path, as `hyperparameters(tx)` writes
        it, is given as `tx.replace(**{"parts[1].learning_rate": 1e-4})`.

        **Raises:** `TypeError` for a name that is unknown or stands in several places, and for a path inside of
        another one; what the factory raises.
        """
        paths = [path for path, _ in arguments(self)]
        single = [path for path, argument in arguments(self) if not isinstance(argument, Value | tuple)]
        found: dict[str, Any] = {}
        for name, new in changes.items():
            inside = [path for path in paths if path.endswith("." + name)]
            candidates = [name] if name in paths else inside
            if len(candidates) != 1:
                problem = f"has several {name!r}: {', '.join(inside)}" if inside else f"has no {name!r}"
                raise TypeError(f"{self.recipe.__name__}.replace: it {problem}; it has {', '.join(single)}")
            found[candidates[0]] = new
        for path in found:
            if any(path.startswith((other + ".", other + "[")) for other in found):
                raise TypeError(f"{self.recipe.__name__}.replace: {path} stands inside of another one that is replaced")
        return exchange(self, "", found)

    __replace__ = replace


@functools.cache
def methods(kind: type[Value]) -> list[str]:
    """What a class of values offers beside the arguments."""
    own = [name for cls in kind.__mro__ if issubclass(cls, Value) for name in vars(cls)]
    return sorted({name for name in own if not name.startswith("_")})


def build(value: Value) -> Any:
    """What the recipe makes of the arguments, made once: a rule, a function of the count, answers to a tree's rows.

    A value that JAX has put together from its leaves is made when it is first asked for this.
    """
    made = value.__dict__.get(BUILT)
    if made is None:
        # What a factory computes outlives the trace that first needs it.
        with errors_of(value.recipe.__name__), jax.ensure_compile_time_eval():
            made = value.__dict__[BUILT] = value.recipe.build(value.arguments)
    return made


# ---- the arguments by their paths ----


def arguments(value: Value, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """All arguments of a value and of the values inside it, each with its path."""
    for name, argument in value.arguments.items():
        yield from arguments_in(argument, prefix + name)


def arguments_in(argument: Any, path: str) -> Iterator[tuple[str, Any]]:
    yield path, argument
    if isinstance(argument, Value):
        yield from arguments(argument, path + ".")
    elif type(argument) is tuple:
        for i, part in enumerate(argument):
            yield from arguments_in(part, f"{path}[{i}]")


def exchange(argument: Any, path: str, changes: dict[str, Any]) -> Any:
    """The argument with others in the places of those at these paths."""
    if path in changes:
        return changes[path]
    if not any(other.startswith(path) for other in changes):
        return argument
    if isinstance(argument, Value):
        dot = path and path + "."
        return argument.recipe.make({k: exchange(v, dot + k, changes) for k, v in argument.arguments.items()})
    if type(argument) is tuple:
        return tuple(exchange(v, f"{path}[{i}]", changes) for i, v in enumerate(argument))
    return argument


def put_numbers(arguments: dict[str, Any], numbers: dict[str, Any]) -> dict[str, Any]:
    """The arguments with numbers in the places of the hyperparameters at these paths."""
    names = {path.partition("[")[0] for path in numbers}
    return arguments | {name: exchange(arguments[name], name, numbers) for name in names}


# ---- equality and printing ----


def key(value: Value) -> tuple[Any, ...]:
    """What values are equal and hashed by."""
    return value.recipe, tuple((name, comparable(x)) for name, x in value.arguments.items())


def comparable(x: Any) -> Any:
    """Something hashable that is equal when the value is."""
    if isinstance(x, Tracer):
        return id(x)
    if isinstance(x, jax.Array | np.ndarray):
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x = jax.random.key_data(x)
        return x.shape, str(x.dtype), np.asarray(x).tobytes()
    return tuple(map(comparable, x)) if type(x) is tuple else (type(x), x)  # 0, 0.0 and False are not the same


def text_of(x: Any) -> str:
    """What an argument prints, in one line however long."""
    if isinstance(x, Value):
        return x.recipe.show(x.arguments)
    if type(x) is tuple:
        return f"({', '.join(map(text_of, x))}{',' if len(x) == 1 else ''})"
    if isinstance(x, Tracer) or (isinstance(x, jax.Array | np.ndarray) and x.ndim):
        return f"{x.dtype}{list(x.shape)}"
    if isinstance(x, optax.GradientTransformation):
        update: Any = x.update  # a function inside of the factory that made it
        return f"<{update.__module__.partition('.')[0]}.{update.__qualname__.partition('.')[0]}>"
    if callable(x):
        return f"<{getattr(x, '__qualname__', type(x).__name__)}>"
    return repr(x)


# ---- a value as a pytree ----


class Static:
    """Holds an argument that is no number, where JAX wants a child."""

    def __init__(self, value: Any):
        self.value = value
        self._flat = (), (comparable(value), value)  # what two of them are compared by, in C


def restore(kind: type[V], recipe: Any, arguments: dict[str, Any]) -> V:
    """A value as it was: unchecked and not built, since JAX puts tracers, None and other marks in its leaves."""
    value = kind._blank(kind)  # pyright: ignore[reportPrivateUsage]  # no public name: it would hide an argument
    own = value.__dict__
    own.update(arguments)
    own["recipe"], own["arguments"] = recipe, arguments
    return value


def as_child(argument: Any, is_number: bool) -> Any:
    if isinstance(argument, Value):
        return argument
    if type(argument) is tuple:
        if {*map(type, argument)} == {str}:
            return Static(argument)  # as many paths as a model has are one thing
        return tuple([part if isinstance(part, Value) else as_child(part, is_number) for part in argument])
    # A number may stand beside a name, as in a tuple of pairs.
    is_number = is_number and not callable(argument) and type(argument) is not str
    dynamic = isinstance(argument, jax.Array | np.ndarray) or is_number
    return argument if dynamic else Static(argument)


def as_argument(child: Any) -> Any:
    if type(child) is tuple:
        return tuple(map(as_argument, child))
    return child.value if isinstance(child, Static) else child


def flatten(value: Value) -> tuple[tuple[Any, ...], Any]:
    """The children, and what is static beside them."""
    numbers = value.recipe.ranges
    children = [
        x if isinstance(x, Value) or (type(x) is float and name in numbers) else as_child(x, name in numbers)
        for name, x in value.arguments.items()
    ]
    return tuple(children), (value.recipe, tuple(value.arguments))


def flatten_with_keys(value: Value) -> tuple[list[Any], Any]:
    children, static = kept_flat(value)
    return list(zip(map(GetAttrKey, value.arguments), children, strict=True)), static


# A compiled step takes its arguments apart at every call. This is how it does so with a value: it reads an attribute,
# and no Python runs.
kept_flat: Any = attrgetter("_flat")
jax.tree_util.register_pytree_node(Static, kept_flat, lambda flat, _: Static(flat[1]))


def register(kind: type[V]) -> type[V]:
    """Make a class of values a class of pytrees."""

    def unflatten(static: Any, children: Any) -> V:
        recipe, names = static
        found = [as_argument(x) if type(x) is tuple or type(x) is Static else x for x in children]
        return restore(kind, recipe, dict(zip(names, found, strict=True)))

    jax.tree_util.register_pytree_with_keys(kind, flatten_with_keys, unflatten, kept_flat)
    return kind
