"""Factories of values: what a hyperparameter may be, and what happens when a factory is called."""

import functools
import inspect
import keyword
from collections.abc import Callable
from typing import Annotated, Any, Generic, ParamSpec, Self, TypeVar, get_args, get_origin

import jax
import numpy as np
from jax.core import Tracer

from gradtx.values.errors import Refusal, errors_of
from gradtx.values.printing import excerpt
from gradtx.values.ranges import Range, number, schedule
from gradtx.values.value import Value, comparable, register, restore, written

P = ParamSpec("P")
V = TypeVar("V", bound=Value)

# A schedule given for one reaches a transformation as its number at the count, so in a body it is a number.
Scalar = Annotated[Any, Range()]
"""The annotation of a hyperparameter, a leaf of the value's pytree: any finite number.

`Scalar | None` may be None too; `tuple[Scalar, ...]` is a tuple of numbers, each checked and each a leaf.

>>> import gradtx
>>> gradtx.scale(-1.5)
scale(factor=-1.5)
>>> gradtx.scale(float("inf"))
Traceback (most recent call last):
    ...
ValueError: scale: factor must be finite, got inf
"""

Positive = Annotated[Any, Range(0)]
"""A `Scalar` above zero.

>>> import gradtx
>>> gradtx.clip_by_norm(0.0)
Traceback (most recent call last):
    ...
ValueError: clip_by_norm: max_norm must be in (0, inf), got 0
"""

NonNegative = Annotated[Any, Range(0, ends="[)")]
"""A `Scalar` that is zero or above, as learning rates are.

>>> import gradtx
>>> gradtx.sgd(-0.1)
Traceback (most recent call last):
    ...
ValueError: sgd: learning_rate must be in [0, inf), got -0.1
"""

Fraction = Annotated[Any, Range(0, 1, "[]")]
"""A `Scalar` from 0 to 1, both included.

>>> import gradtx
>>> gradtx.sgd(0.1, momentum=1.5)
Traceback (most recent call last):
    ...
ValueError: sgd: momentum must be in [0, 1], got 1.5
"""

Decay = Annotated[Any, Range(0, 1, "[)")]
"""A `Scalar` from 0 to below 1, the share of itself that an average keeps: with 1 it would keep nothing else.

>>> import gradtx
>>> gradtx.ema(1.0)
Traceback (most recent call last):
    ...
ValueError: ema: decay must be in [0, 1), got 1
"""

Steps = Annotated[Any, Range(1, 2**31 - 1, "[]", whole=True)]  # the count is an int32
"""A whole number of steps, at least 1; it stays an integer.

>>> import gradtx
>>> gradtx.warmup(0.1, 2.5)
Traceback (most recent call last):
    ...
ValueError: warmup: steps must be a whole number in [1, 2147483647], got 2.5
"""

Natural = Annotated[Any, Range(0, 2**31 - 1, "[]", whole=True)]
"""A whole number of steps, zero among them.

>>> import gradtx
>>> gradtx.skip_nonfinite(gradtx.adam(1e-3), limit=-1)
Traceback (most recent call last):
    ...
ValueError: skip_nonfinite: limit must be a whole number in [0, 2147483647], got -1
"""


@register
class Controlled(Value):
    """A hyperparameter whose number is in the state: what it starts with stands where else a schedule would."""

    def __call__(self, count: Any) -> Any:
        return self.arguments["value"]


class Recipe(Generic[P, V]):
    """A factory of values: binds the arguments of a call, checks them, and says how a value is written."""

    kind: type[V]
    __name__: str
    __qualname__: str

    def __init__(self, factory: Callable[P, Any]):
        functools.update_wrapper(self, factory)
        self.factory = factory
        signature = inspect.signature(factory)
        resolved = [p.replace(annotation=self.resolved(p.annotation)) for p in signature.parameters.values()]
        self.signature = signature.replace(parameters=resolved)
        parameters = self.signature.parameters.values()
        clash = self.signature.parameters.keys() & set(dir(self.kind))
        if clash:
            raise TypeError(f"{self.__name__}: {min(clash)} can't be an argument: values have one of that name")
        self.variadic = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), None)
        self.named = next((p.name for p in parameters if p.kind is p.VAR_KEYWORD), None)
        self.ranges = {p.name: allowed for p in parameters if (allowed := range_of(p.annotation))}

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> V:
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            unknown = sorted(kwargs.keys() - self.signature.parameters.keys())
            problem = f"unknown argument {unknown[0]!r}" if unknown else error
            raise TypeError(f"{self.__name__}: {problem}; it takes {', '.join(self.signature.parameters)}") from None
        bound.apply_defaults()
        arguments = dict(bound.arguments)
        parts = arguments.pop(self.named) if self.named else {}
        if clash := arguments.keys() & parts.keys():
            raise TypeError(
                f"{self.__name__}: {min(clash)} can't be a part's name: values have an attribute of that name"
            )
        return self.make(arguments | parts)

    def resolved(self, annotation: Any) -> Any:
        """An annotation that was kept as text, where it can be told what it stands for."""
        try:
            return eval(annotation, self.factory.__globals__) if isinstance(annotation, str) else annotation
        except NameError:
            return annotation

    def __get__(self, instance: Any, owner: Any = None) -> Self:
        return self  # with this, help() and doctest take the factory for the function that it stands for

    def __reduce__(self) -> Any:
        # By name; cloudpickle can also take a factory that has none outside of the function that made it.
        return (type(self), (self.factory,)) if "<locals>" in self.__qualname__ else self.__qualname__

    def make(self, arguments: dict[str, Any]) -> V:
        """The value of these arguments, once they have been checked."""
        with errors_of(self.__name__):
            arguments = {name: self.checked(name, value) for name, value in arguments.items()}
            value = restore(self.kind, self, arguments)
            value.built  # noqa: B018  # what the factory refuses is refused here, not at the first step
        return value

    def annotation(self, name: str) -> Any:
        if name in self.signature.parameters:
            return self.signature.parameters[name].annotation
        if name in dir(self.kind):
            raise Refusal(TypeError, f"{name} can't be a part's name: values have an attribute of that name")
        if not name.isidentifier() or keyword.iskeyword(name):
            raise Refusal(ValueError, f"{name!r:.60} can't be a part's name: it must be a word, and none of Python's")
        return self.signature.parameters[self.named or ""].annotation

    def checked(self, name: str, value: Any) -> Any:
        annotation = self.annotation(name)
        if name in self.ranges:
            if value is None and type(None) in get_args(annotation):
                return value
            if get_origin(annotation) is tuple:
                return self.checked_numbers(name, value, get_args(annotation)[0])
            if isinstance(value, Controlled):
                checked_number(f"{name}=controlled(…)", value.arguments["value"], annotation)
            elif callable(value) and not isinstance(value, Value):  # whose own numbers were checked
                schedule(name, value)
            if callable(value):
                return value
            return checked_number(name, value, annotation)
        if annotation is bool and not isinstance(value, bool):
            raise Refusal(TypeError, f"{name} must be True or False, got {type(value).__name__} {excerpt(value)}")
        try:
            hash(comparable(value))
        except TypeError:
            raise Refusal(TypeError, f"{name} must be hashable, got {type(value).__name__}; give a tuple") from None
        return value

    def checked_numbers(self, name: str, values: Any, annotation: Any) -> tuple[Any, ...]:
        if type(values) is not tuple:
            raise Refusal(
                TypeError, f"{name} must be a tuple of numbers, got {type(values).__name__} {excerpt(values)}"
            )
        for i, value in enumerate(values):
            if callable(value):
                raise Refusal(TypeError, f"{name}[{i}] must be a number or a scalar array, got a function")
        return tuple(checked_number(f"{name}[{i}]", value, annotation) for i, value in enumerate(values))

    def pair(self, arguments: dict[str, Any]) -> Any:
        return self.build(arguments)

    def build(self, arguments: dict[str, Any]) -> Any:
        named = dict(arguments)
        parts = named.pop(self.variadic) if self.variadic else ()
        return self.factory(*parts, **named)  # pyright: ignore[reportCallIssue]  # bound to the signature before

    def show(self, arguments: dict[str, Any]) -> str:
        words: list[str] = []
        for name, value in arguments.items():
            if name == self.variadic:
                words += map(written, value)
            elif name not in self.signature.parameters or comparable(value) != comparable(
                self.signature.parameters[name].default
            ):
                words.append(f"{name}={written(value)}")
        return f"{self.__name__}({', '.join(words)})"


class Operator(Recipe[P, V]):
    """A factory of values made of others, printed by a form such as `({} + {})`, as they are written."""

    def __init__(self, form: str, factory: Callable[P, Any]):
        super().__init__(factory)
        self.form = form
        self.__name__ = form.format(*self.signature.parameters)  # in errors: what the user wrote

    def show(self, arguments: dict[str, Any]) -> str:
        return self.form.format(*map(written, arguments.values()))


def checked_number(name: str, value: Any, annotation: Any) -> Any:
    number(name, value, range_of(annotation) or Range())
    if isinstance(value, jax.Array | np.ndarray) and not isinstance(value, Tracer):
        return np.asarray(value)[()]  # no buffer that could be donated or changed later
    # An int means a real number here, as in max_norm=1; a number of steps stays exact.
    return float(value) if isinstance(value, int) and annotation not in (Steps, Natural) else value


def range_of(annotation: Any) -> Range | None:
    """The range in `Scalar`, `Scalar | None` and the like."""
    found = [x for x in (annotation, *get_args(annotation)) if isinstance(x, Range)]
    nested = [r for x in get_args(annotation) if (r := range_of(x))] if annotation is not None else []
    return next(iter(found + nested), None)
