"""Factories of values: how a call is bound and checked, and how a value is written."""

import functools
import inspect
import keyword
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Self, TypeVar, get_args

from gradtx.values.annotations import check_in, numbers_of_tuple, range_of
from gradtx.values.argument import as_number, check_flag, check_hashable
from gradtx.values.binding import make_binder, name_in_call, names_of_arguments
from gradtx.values.errors import Refusal, did_you_mean, errors_of
from gradtx.values.mathematics import readable_docstring
from gradtx.values.printing import excerpt, what_came
from gradtx.values.ranges import A_NUMBER, NUMBER_OR_SCHEDULE, Range, require_schedule
from gradtx.values.value import BUILT, Value, comparable, methods, register, restore, text_of

P = ParamSpec("P")
V = TypeVar("V", bound=Value)


@register
class Controlled(Value):
    """A hyperparameter whose number is in the state: what it starts with stands where else a schedule would."""

    def __call__(self, count: Any) -> Any:
        return self.arguments["value"]


class Readable:
    """The docstring of a factory in plain text, made when someone reads it: `help` does, an import does not."""

    def __init__(self, of_class: str | None):
        self.of_class = of_class

    def __get__(self, instance: Any, owner: Any = None) -> str | None:
        if instance is None:
            return self.of_class
        instance.__dict__["__doc__"] = text = readable_docstring(instance.factory.__doc__)
        return text


class Recipe(Generic[P, V]):
    """A factory of values: binds the arguments of a call, checks them, and says how a value is written.

    What it knows of its arguments it reads when it is first asked, since an import makes hundreds and calls few.
    """

    kind: type[V]
    number: str = NUMBER_OR_SCHEDULE  # what its hyperparameters may be, for errors
    __name__: str
    __qualname__: str

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.__doc__ = Readable(cls.__doc__)  # pyright: ignore[reportAttributeAccessIssue]  # it reads as a string

    def __init__(self, factory: Callable[P, Any]):
        functools.update_wrapper(self, factory, [x for x in functools.WRAPPER_ASSIGNMENTS if x != "__doc__"])
        self.factory = factory
        names, unnamed = names_of_arguments(factory)
        for name in names:
            if self.is_taken(name):
                raise TypeError(f"{self.__name__}: {name} can't be an argument: values have one of that name")
        for name in unnamed:
            raise TypeError(f"{self.__name__}: {name} must have a name, since a value is written with it: remove /")

    # ---- what is read of the factory ----

    @functools.cached_property
    def signature(self) -> inspect.Signature:
        signature = inspect.signature(self.factory)
        resolved = [p.replace(annotation=self.resolve(p.annotation)) for p in signature.parameters.values()]
        return signature.replace(parameters=resolved)

    def resolve(self, annotation: Any) -> Any:
        """An annotation that was kept as text, where it can be told what it stands for."""
        try:
            return eval(annotation, self.factory.__globals__) if isinstance(annotation, str) else annotation
        except NameError:
            return annotation

    @functools.cached_property
    def parameters(self) -> list[inspect.Parameter]:
        return [*self.signature.parameters.values()]

    @functools.cached_property
    def variadic(self) -> str | None:
        return next((p.name for p in self.parameters if p.kind is p.VAR_POSITIONAL), None)

    @functools.cached_property
    def named(self) -> str | None:
        return next((p.name for p in self.parameters if p.kind is p.VAR_KEYWORD), None)

    @functools.cached_property
    def positional(self) -> list[str]:
        return [p.name for p in self.parameters if p.kind is p.POSITIONAL_OR_KEYWORD]

    @functools.cached_property
    def ranges(self) -> dict[str, Range]:
        return {p.name: allowed for p in self.parameters if (allowed := range_of(p.annotation))}

    @functools.cached_property
    def reals(self) -> dict[str, Range]:
        tuples = {p.name for p in self.parameters if numbers_of_tuple(p.annotation)}
        return {name: allowed for name, allowed in self.ranges.items() if not allowed.whole and name not in tuples}

    @functools.cached_property
    def checks(self) -> dict[str, Callable[[str, Any], Any]]:
        return {p.name: self.check_of(p) for p in self.parameters}

    @functools.cached_property
    def defaults(self) -> dict[str, Any]:
        own = {p.name: p.default for p in self.parameters if p.default is not p.empty}
        with errors_of(self.__name__):
            return {name: self.checks[name](name, x) if name in self.ranges else x for name, x in own.items()}

    @functools.cached_property
    def shown(self) -> set[str]:
        """The arguments that are printed also where they are the default."""
        selecting = [p for p in self.parameters if (own := check_in(p.annotation)) and own.selects]
        return {p.name for p in selecting if p.default is not None}

    @functools.cached_property
    def binder(self) -> Callable[..., dict[str, Any]]:
        return make_binder(self.parameters, self.defaults)

    # ---- a factory in the place of its function ----

    def __repr__(self) -> str:
        words = [str(p.replace(annotation=p.empty)) for p in self.parameters]
        return (
            f"<{self.__module__.partition('.')[0]}.{self.__name__}({', '.join(words)}), makes a {self.kind.__name__}>"
        )

    if not TYPE_CHECKING:  # behind it, a type checker would take any name for good

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_") or hasattr(type(self), name) or name not in methods(self.kind):
                return object.__getattribute__(self, name)  # raises; what a property raised, as it was
            problem = f"{self.__name__} is a function that makes a {self.kind.__name__}, and has no {name!r}"
            raise AttributeError(f"{problem}; call it: {self.__name__}(…).{name}")

    def is_taken(self, name: str) -> bool:
        """Whether values have something else of that name; what begins with _ is theirs."""
        return name.startswith("_") or name in ("recipe", "arguments", *methods(self.kind))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: Any) -> Self:
        return self

    def __get__(self, instance: Any, owner: Any = None) -> Self:
        return self  # with this, help() and doctest take the factory for the function that it stands for

    def __reduce__(self) -> Any:
        # By name; cloudpickle can also take a factory that has none outside of the function that made it.
        return (type(self), (self.factory,)) if "<locals>" in self.__qualname__ else self.__qualname__

    # ---- a call ----

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> V:
        try:
            arguments = self.binder(*args, **kwargs)
        except TypeError:
            raise self.explain(args, kwargs) from None
        return self.make(arguments)

    def explain(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> TypeError:
        """Why the arguments of a call do not fit the signature."""
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            unknown = sorted(kwargs.keys() - self.signature.parameters.keys())
            problem = f"unknown argument {unknown[0]!r}" if unknown else error
            given = {*self.positional[: len(args)], *kwargs}
            missing = [p for p in self.parameters if p.default is p.empty and p.name not in given]
            words = [f", {p.name} being {own.words}" for p in missing if (own := check_in(p.annotation)) and own.words]
            takes = ", ".join(name_in_call(self.parameters)) + "".join(words)
            meant = did_you_mean(unknown[0], self.signature.parameters) if unknown else ""
            return TypeError(f"{self.__name__}: {problem}; it takes {takes}{f': {meant}' if meant else ''}")
        taken = min(self.signature.parameters.keys() & bound.arguments[self.named or ""].keys())
        return TypeError(f"{self.__name__}: {taken} can't be a part's name: values have an attribute of that name")

    def make(self, arguments: dict[str, Any]) -> V:
        """The value of these arguments, once they have been checked."""
        reals, defaults = self.reals, self.defaults
        try:
            for name, value in arguments.items():
                if value is defaults.get(name, reals):
                    continue
                if type(value) is float and (allowed := reals.get(name)) and allowed.least <= value <= allowed.largest:
                    continue  # the usual case
                arguments[name] = (self.checks.get(name) or self.check_of_part(name))(name, value)
            made = restore(self.kind, self, arguments)
            made.__dict__[BUILT] = self.build(arguments)  # what it refuses is refused here, not at the first step
        except Refusal as refusal:
            raise refusal.kind(f"{self.__name__}: {refusal}") from None
        return made

    def build(self, arguments: dict[str, Any]) -> Any:
        """What the factory makes of the arguments."""
        return self.call(arguments)

    def call(self, arguments: dict[str, Any]) -> Any:
        if self.variadic is None:
            return self.factory(**arguments)  # pyright: ignore[reportCallIssue]  # bound to the signature before
        named = arguments.copy()
        ahead = [named.pop(name) for name in self.positional] if self.positional else ()
        return self.factory(*ahead, *named.pop(self.variadic), **named)  # pyright: ignore[reportCallIssue]  # as above

    # ---- checks, one for each argument, made when the factory is ----

    def check_of(self, parameter: inspect.Parameter) -> Callable[[str, Any], Any]:
        annotation = parameter.annotation
        if own := check_in(annotation):
            if type(None) not in get_args(annotation):
                return own.function
            return lambda name, value: value if value is None else own.function(name, value)
        if allowed := range_of(annotation):
            optional = type(None) in get_args(annotation)
            if kinds := numbers_of_tuple(annotation):
                own = [range_of(kind) or allowed for kind in kinds if kind is not ...]
                return functools.partial(self.check_numbers, own=own, several=... in kinds, optional=optional)
            return functools.partial(self.check_number, allowed=allowed, optional=optional)
        return check_flag if annotation is bool else check_hashable

    def check_of_part(self, name: str) -> Callable[[str, Any], Any]:
        """For an argument whose name is the caller's choice."""
        if self.is_taken(name):
            raise Refusal(TypeError, f"{name} can't be a part's name: values have an attribute of that name")
        if not name.isidentifier() or keyword.iskeyword(name):
            raise Refusal(ValueError, f"{name!r:.60} can't be a part's name: it must be a word, and none of Python's")
        return self.checks[self.named or ""]

    def check_number(self, name: str, value: Any, allowed: Range, optional: bool) -> Any:
        if value is None and optional:
            return value
        if callable(value):
            if allowed.initial:
                remedy = "put scale(…) after"
                expected = f"{name} must be a number, for init alone reads it"
                raise Refusal(TypeError, f"{expected}, got {excerpt(value)}; {remedy}")
            self.check_schedule(name, value, allowed)
            return value
        return as_number(name, value, allowed, A_NUMBER if allowed.initial else self.number)

    def check_numbers(self, name: str, values: Any, own: list[Range], several: bool, optional: bool) -> Any:
        """A tuple of as many numbers as there are ranges, or of several in one of them."""
        if values is None and optional:
            return values
        if type(values) is not tuple:
            remedy = f"; write tuple({name})" if isinstance(values, list) else ""
            got = f"{type(values).__name__} {excerpt(values)}{remedy}"
            raise Refusal(TypeError, f"{name} must be a tuple of numbers, got {got}")
        ranges = own * len(values) if several else own
        if len(values) != len(ranges):
            raise Refusal(ValueError, f"{name} must be a tuple of {len(ranges)} numbers, got {len(values)}")
        pairs = enumerate(zip(values, ranges, strict=True))
        return tuple([self.check_number(f"{name}[{i}]", x, allowed, optional=False) for i, (x, allowed) in pairs])

    def check_schedule(self, name: str, value: Any, allowed: Range) -> None:
        if isinstance(value, Controlled):
            as_number(f"{name}=controlled(…)", value.arguments["value"], allowed, A_NUMBER)
        elif isinstance(value, Recipe):
            raise Refusal(TypeError, f"{name} must be {self.number}, got {what_came(value)}")
        elif not isinstance(value, Value):  # whose own numbers were checked
            require_schedule(name, value)

    def show(self, arguments: dict[str, Any]) -> str:
        words: list[str] = []
        for name, value in arguments.items():
            if name == self.variadic:
                words += map(text_of, value)
            elif (
                name not in self.defaults or name in self.shown or comparable(value) != comparable(self.defaults[name])
            ):
                words.append(f"{name}={text_of(value)}")
        return f"{self.__name__}({', '.join(words)})"


class Operator(Recipe[P, V]):
    """A factory of values made of others, printed by a form such as `({} + {})`, as they are written."""

    def __init__(self, form: str, factory: Callable[P, Any]):
        super().__init__(factory)
        self.form = form
        self.__name__ = form.format(*self.signature.parameters)  # in errors: what the user wrote

    def show(self, arguments: dict[str, Any]) -> str:
        return self.form.format(*map(text_of, arguments.values()))
