"""What an annotation says of an argument: which numbers a hyperparameter may be, and what becomes of another one."""

import ast
import inspect
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, Protocol, get_args, get_origin

from gradtx.values.ranges import Range

# What a type checker reads. A caller may give a function of the count, such as a schedule; the factory's body gets the
# array that it is at a count. One annotation must serve both, so here a function counts as an array: to be accepted it
# needs the members below, in a body it has the members of an array. NumPy's numbers are accepted in the same way.
if TYPE_CHECKING:
    from jax import Array
    from jax.typing import ArrayLike

    class NumpyNumber(Array, Protocol):  # pyright: ignore[reportGeneralTypeIssues]  # the base is no protocol
        @property
        def __array_interface__(self) -> dict[str, Any]: ...

    class CountFunction(Array, Protocol):  # pyright: ignore[reportGeneralTypeIssues]  # as above
        def __call__(self, count: Any, /) -> ArrayLike: ...

    Number = float | Array | NumpyNumber | CountFunction
else:
    Number = Any

Scalar = Annotated[Number, Range()]
"""The annotation of a hyperparameter, a leaf of the value's pytree: any finite number.

A transformation takes a number, a scalar array or a schedule for it. `Scalar | None` may be None too;
`tuple[Scalar, ...]` is a tuple of such, each a hyperparameter with a path of its own: `ws[0]`, `ws[1]`.

>>> import gradtx
>>> gradtx.scale(-1.5)
scale(factor=-1.5)
>>> gradtx.scale(float("inf"))
Traceback (most recent call last):
    ...
ValueError: scale: factor must be finite, got inf
"""

Positive = Annotated[Number, Range(0)]
"""A `Scalar` above zero.

>>> import gradtx
>>> gradtx.scale_by_adadelta(eps=0.0)
Traceback (most recent call last):
    ...
ValueError: scale_by_adadelta: eps must be in (0, inf), got 0
"""

Bound = Annotated[Number, Range(0, ends="(]")]
"""A `Scalar` above zero, or `inf` for none, as what clips takes it.

>>> import gradtx
>>> gradtx.clip_by_norm(float("inf"))
clip_by_norm(max_norm=inf)
"""

NonNegative = Annotated[Number, Range(0, ends="[)")]
"""A `Scalar` that is zero or above, as learning rates are.

>>> import gradtx
>>> gradtx.sgd(-0.1)
Traceback (most recent call last):
    ...
ValueError: sgd: learning_rate must be in [0, inf), got -0.1
"""

Fraction = Annotated[Number, Range(0, 1, "[]")]
"""A `Scalar` from 0 to 1, both included.

>>> import gradtx
>>> gradtx.sgd(0.1, momentum=1.5)
Traceback (most recent call last):
    ...
ValueError: sgd: momentum must be in [0, 1], got 1.5
"""

Decay = Annotated[Number, Range(0, 1, "[)")]
"""A `Scalar` from 0 to below 1, the share of itself that an average keeps: with 1 it would keep nothing else.

>>> import gradtx
>>> gradtx.ema(1.0)
Traceback (most recent call last):
    ...
ValueError: ema: decay must be in [0, 1), got 1
"""

Steps = Annotated[Number, Range(1, 2**31 - 1, "[]", whole=True)]  # the count is an int32
"""A whole number of steps, at least 1; it stays an integer.

>>> import gradtx
>>> gradtx.exponential(0.1, 0.5, every=2.5)
Traceback (most recent call last):
    ...
ValueError: exponential: every must be a whole number in [1, 2147483647], got 2.5; round(2.5) is 2
"""

Natural = Annotated[Number, Range(0, 2**31 - 1, "[]", whole=True)]
"""A whole number of steps, zero among them.

>>> import gradtx
>>> gradtx.skip_nonfinite(gradtx.adam(1e-3), limit=-1)
Traceback (most recent call last):
    ...
ValueError: skip_nonfinite: limit must be a whole number in [0, 2147483647], got -1
"""


def document_annotations() -> None:
    """Give each annotation the string below it, as the site and editors read it, for `help`: Python drops it."""
    lines = ast.parse(inspect.getsource(sys.modules[__name__])).body
    for line, below in pairwise(lines):
        if isinstance(line, ast.Assign) and isinstance(below, ast.Expr):
            globals()[ast.unparse(line.targets[0])].__doc__ = ast.literal_eval(below.value)


with suppress(OSError):  # installed without its source
    document_annotations()


class Initial:
    """In an annotation, `Annotated[NonNegative, Initial]`: a number of which `init` makes the state and which no update
    reads. A schedule and `controlled(…)` would change nothing there, and are refused.

    >>> import gradtx
    >>> gradtx.adagrad(0.1, initial=gradtx.controlled(0.1))
    Traceback (most recent call last):
        ...
    TypeError: adagrad: initial must be a number, for init alone reads it, got controlled(value=0.1); put scale(…) after
    """


@dataclass(frozen=True)
class Check:
    """In an annotation, `Annotated[T, Check(f)]`: what becomes of an argument, `f(name, value) -> value`.

    Of an argument with a star it gets all values as a tuple.
    """

    function: Callable[[str, Any], Any]
    selects: bool = False  # whether the argument decides which arrays are meant
    words: str = ""  # what to give where it is missing

    def __repr__(self) -> str:
        return f"Check({getattr(self.function, '__name__', '')})"  # as `help` shows a signature: no address in it


def check_in(annotation: Any) -> Check | None:
    """The check in `Annotated[T, Check(f)]`, or in that `| None`."""
    inside = [annotation, *get_args(annotation)]
    return next((x for a in inside for x in get_args(a) if isinstance(x, Check)), None)


def numbers_of_tuple(annotation: Any) -> tuple[Any, ...]:
    """The annotations of the numbers in `tuple[Scalar, ...]`, `tuple[Decay, Positive]` or one of these `| None`."""
    return next((get_args(x) for x in (annotation, *get_args(annotation)) if get_origin(x) is tuple), ())


def range_of(annotation: Any) -> Range | None:
    """The range in `Scalar`, `Scalar | None` and the like."""
    found = [x for x in (annotation, *get_args(annotation)) if isinstance(x, Range)]
    nested = [r for x in get_args(annotation) if (r := range_of(x))] if annotation is not None else []
    allowed = next(iter(found + nested), None)
    return replace(allowed, initial=True) if allowed and Initial in get_args(annotation) else allowed
