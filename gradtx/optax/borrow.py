"""How a name of Optax is made of gradtx's members: the decorators, and what is left to Optax."""

import inspect
import re
import warnings
from typing import Annotated, Any, ParamSpec

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

from gradtx.core.check import Unfit
from gradtx.core.factories import Composed, composition
from gradtx.core.flow import Flow
from gradtx.core.rule import Rule
from gradtx.optax.trees import PlainTree
from gradtx.precision.codec import as_codec, resolve
from gradtx.precision.hold import hold
from gradtx.precision.writing import HALVES
from gradtx.schedules.value import schedule
from gradtx.values.annotations import Check, Number
from gradtx.values.errors import Refusal
from gradtx.values.ranges import Range, require_number
from gradtx.values.recipe import Controlled

P = ParamSpec("P")
LARGEST = 2**31 - 1  # of the integers in JAX
ANY_NUMBER = Range(ends="[]")


def keep_number(name: str, value: Any) -> Any:
    """A number as it is given: a count of steps stays whole, and is exact however large."""
    if callable(value):  # a schedule
        return value
    require_number(name, value, ANY_NUMBER)
    if isinstance(value, int) and not -LARGEST <= value <= LARGEST:
        return float(value)
    return np.asarray(value)[()] if isinstance(value, np.ndarray) else value


def as_plain_number(name: str, value: Any) -> Any:
    """An array that is a number as one of Python, where it has a value to look at."""
    is_array = isinstance(value, jax.Array | np.ndarray | np.generic) and not isinstance(value, Tracer)
    return value.item() if is_array else value


Real = Annotated[Number, ANY_NUMBER]  # a number of any size, infinite too: Optax has no ranges
StepCount = Annotated[Number, Check(keep_number), ANY_NUMBER]
Fixed = Annotated[float, Check(as_plain_number)]  # decides in Python where something is, and so is no leaf


class Leave(Refusal):
    """Raised where gradtx has no such thing: the call goes to Optax's own function."""

    def __init__(self, what: str):
        super().__init__(ValueError, f"{what} is Optax's own")


def leave_unless(**unusual: bool) -> None:
    """Leave a call to Optax where one of these arguments is one that gradtx lacks."""
    for name, is_usual in unusual.items():
        if not is_usual:
            raise Leave(name)


def is_float32(dtype: Any) -> bool:
    """Whether moments are to be held in what gradtx holds them in."""
    return dtype is None or (np.dtype(dtype) == np.float32 and jnp.result_type(float) == np.float32)


def held_in(tx: Any, **dtypes: Any) -> Any:
    """The member with quantities in Optax's narrower dtype, to which it rounds to the nearest number."""
    narrow = {name: dtype for name, dtype in dtypes.items() if not is_float32(dtype)}
    if not narrow:
        return tx
    has_schedule = any(map(callable, tx.arguments.values()))
    leave_unless(**{name: np.dtype(dtype) in HALVES and not has_schedule for name, dtype in narrow.items()})
    return hold(tx, **{name: resolve(as_codec(name, dtype), stochastic=False) for name, dtype in narrow.items()})


class Left(Composed):
    """The rule of a call that is left to Optax, whose transformations may take and return whole numbers."""

    advance_if: Any = None  # its part has none

    def advance(self, flow: Flow, state: Any, extra: dict[str, Any]) -> Any:
        pass_on(flow)
        after = super().advance(flow, state, extra)
        pass_on(flow)
        return after


def pass_on(flow: Flow, places: list[bool] | None = None) -> None:
    """Let what is no array of floats go on as it is, in these places or in all."""
    own = zip(flow.leaves, places or [True] * len(flow.leaves), strict=True)
    flow.set({i: u.leaf for i, (u, meant) in enumerate(own) if meant and isinstance(u, Unfit)})


class optax_transformation(composition[P]):
    """Makes a factory with the signature of one of Optax's a factory of values, printed as it is called there.

    Where the members refuse what they are given, since Optax has no ranges, or where an argument asks for what they
    lack, the value is made of Optax's own transformation.
    """

    def __init__(self, factory: Any):
        super().__init__(factory)
        self.theirs = original(self.__name__)
        self.__dict__["__doc__"] = documented_as(self.theirs, factory)

    def rule(self, arguments: dict[str, Any]) -> Rule:
        try:
            return super().rule(arguments)
        except (ValueError, TypeError, Refusal) as refusal:
            is_range = isinstance(refusal, ValueError) or getattr(refusal, "kind", TypeError) is ValueError
            is_schedule = any(map(callable, arguments.values()))  # perhaps one that can't be traced
            if self.theirs is None or not (is_range or is_schedule):
                raise
            for name, x in arguments.items():
                if isinstance(x, Controlled):
                    if not isinstance(refusal, Refusal):  # a part has said what is wrong
                        raise
                    problem = f"{name} can't be controlled where the call is left to Optax: {refusal}"
                    raise Refusal(TypeError, f"{problem}; take gradtx's own names") from None
            return Left.of(tx=self.theirs(**{name: as_given(x) for name, x in arguments.items()}))

    def check_schedule(self, name: str, value: Any, allowed: Range) -> None:
        """None here: one that gradtx refuses is left to Optax."""


class Outdated(optax_transformation[P]):
    """As `optax_transformation`, for a name that Optax will take away: a call warns as it does there."""

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Any:
        warn_of(self.__name__, f"{self.__name__}_v2")
        return super().__call__(*args, **kwargs)


def warn_of(name: str, successor: str) -> None:
    words = f"`{name}` is deprecated, please use `{successor}` instead."
    warnings.warn(words, DeprecationWarning, stacklevel=3)


class optax_schedule(schedule[P]):
    """Makes a factory with the signature of one of Optax's schedules a factory of values.

    What is refused goes to Optax, which may make a plain function of it, or refuse it too.
    """

    def __init__(self, factory: Any):
        super().__init__(factory)
        self.theirs = original(self.__name__)
        self.__dict__["__doc__"] = documented_as(self.theirs, factory)

    def make(self, arguments: dict[str, Any]) -> Any:
        given = dict(arguments)
        try:
            return super().make(arguments)
        except (ValueError, TypeError):
            return self.theirs(**{name: as_given(x) for name, x in given.items()})


def original(name: str) -> Any:
    """Optax's own object of a name, None where it has none."""
    return getattr(optax.contrib, name, None) or getattr(optax, name, None)  # which warns of what is in contrib, too


SHOWN_CALLS = re.compile(r"^Examples?:.*\n(?:[ \t]+.*\n|\n)*(?:[ \t]+.*$)?", re.MULTILINE)


def documented_as(theirs: Any, factory: Any) -> str:
    """What `help` and an editor show: a line of ours, and Optax's own text without its examples: they print numbers."""
    own = factory.__doc__ or f"Optax's `{factory.__name__}`, made of gradtx; what differs is in `help(gradtx.optax)`."
    text = SHOWN_CALLS.sub("", inspect.getdoc(theirs) or "") if theirs is not None else ""
    return "\n\n".join([own, *(x for x in text.split("\n\n") if ">>>" not in x)]).rstrip()


def as_given(x: Any) -> Any:
    """An argument as it came, without what makes it comparable."""
    return x.tree if isinstance(x, PlainTree) else x
