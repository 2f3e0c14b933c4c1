"""What a law is, how it finds its smallest example, and how it says what it expected and what came."""

import inspect
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr, tree_leaves_with_path

from gradtx.testing.examples import Example, form
from gradtx.testing.remedies import line_in_question, remedy_of
from gradtx.testing.subject import Subject


class Broken(AssertionError):
    """A law does not hold: what was expected, what came, on which example, and what to do where that is known.

    >>> import optax
    >>> from gradtx.testing import Broken, Subject, init_aliases_nothing
    >>> keep = optax.GradientTransformation(lambda params: params, lambda updates, state, params=None: (updates, state))
    >>> try:
    ...     init_aliases_nothing(Subject(keep))
    ... except Broken as broken:
    ...     print(broken.expected)
    buffers of its own in a fresh state
    """

    def __init__(self, expected: str, got: str, example: Example | None = None, remedy: str = ""):
        super().__init__(expected, got, example, remedy)
        self.expected = expected.strip()
        self.got = got.strip()
        self.example = example
        self.remedy = remedy

    @property
    def finding(self) -> str:
        """What is wrong, without what to do about it."""
        return f"on {self.example}: expected {self.expected}, got {self.got}"

    def __str__(self) -> str:
        return f"{self.finding.removesuffix('.')}; {self.remedy}" if self.remedy else self.finding


@dataclass(frozen=True)
class Law:
    """A rule that transformations keep. Called with a `Subject` it returns, or raises `Broken` with the smallest
    example that it finds; `excuse` says why it does not apply to a subject, or nothing; `remedy` what to do where it is
    broken, if that is always the same.

    >>> import gradtx
    >>> from gradtx.testing import Subject, zeros_stay_finite
    >>> zeros_stay_finite(Subject(gradtx.adam(1e-3)))  # held
    >>> zeros_stay_finite.statement
    'Zero gradients of zero parameters give finite updates and states.'
    """

    body: Callable[[Subject, Example], None]
    on: Callable[[Subject], Sequence[Example]]
    excuse: Callable[[Subject], str]
    remedy: str = ""
    special: bool = False  # whether its examples are such that errors have this remedy, too

    @property
    def name(self) -> str:
        return self.body.__name__

    @property
    def statement(self) -> str:
        return " ".join(inspect.cleandoc(self.body.__doc__ or "").split("\n\n")[0].split())

    def __repr__(self) -> str:
        return self.name

    def __call__(self, subject: Subject) -> None:
        examples = self.on(subject)
        if not examples:
            raise ValueError(f"{self.name}: there is no example for it to hold on; its excuse must say why")
        for example in examples:
            if breach := self.breach(subject, example):
                smaller = (self.breach(subject, one) for one in example.smaller)
                raise next(filter(None, smaller), breach)

    def breach(self, subject: Subject, example: Example) -> Broken | None:
        broken = breach_of(lambda: self.body(subject, example))
        if broken:
            broken.example = example
            if self.special or not broken.__cause__:
                broken.remedy = broken.remedy or self.remedy
        return broken


def breach_of(check: Callable[[], None]) -> Broken | None:
    """What a check finds; what a transformation raises is a finding, whatever it is."""
    try:
        check()
    except Broken as broken:
        return broken
    except Exception as error:
        broken = Broken("no error", in_one_line(error), remedy=remedy_of(error))
        broken.__cause__ = error
        return broken
    return None


def law(
    on: Callable[[Subject], Sequence[Example]],
    excuse: Callable[[Subject], str] = lambda subject: "",
    remedy: str = "",
    special: bool = False,
) -> Callable[[Callable[[Subject, Example], None]], Law]:
    """Makes a function of a subject and an example a law that must hold on all of these examples."""
    return lambda body: Law(body, on, excuse, remedy, special)


def in_one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {textwrap.shorten(lines[0], 200, placeholder=' …')}{line_in_question(error)}"


# ---- comparisons ----


def lines_of(jaxpr: Any) -> list[str]:
    """A program, line by line, without the addresses of functions."""
    return [line.strip() for line in re.sub("0x[0-9a-f]+", "", str(jaxpr)).splitlines()]


def exact(loose: float, tight: float) -> float:
    """A tolerance in float64, or the one that float32 needs without x64."""
    return tight if jnp.result_type(float) == jnp.float64 else loose


def leaves_by_path(tree: Any) -> dict[str, Any]:
    return {keystr(path): x for path, x in tree_leaves_with_path(tree)}


def abstract(tree: Any) -> Any:
    return jax.tree.map(as_struct, tree)


def as_struct(x: Any) -> jax.ShapeDtypeStruct:
    if isinstance(x, jax.ShapeDtypeStruct):
        return x
    x = jax.typeof(x)
    return jax.ShapeDtypeStruct(x.shape, x.dtype, weak_type=x.weak_type)


def same_form(expected: Any, got: Any, name: str, before: str, after: str) -> None:
    """The same structure, shapes, dtypes and weak types: the first place where two trees differ in these."""
    one, other = ({path: form(x) for path, x in leaves_by_path(abstract(tree)).items()} for tree in (expected, got))
    for path in [*one, *other]:
        wanted, came = one.get(path, "nothing"), other.get(path, "nothing")
        if wanted != came:
            raise Broken(f"{name}{path} {wanted} {before}", f"{came} {after}")
    if jax.tree.structure(expected) != jax.tree.structure(got):
        raise Broken(f"{name} of the same structure {before}", f"another one {after}")


def same(expected: Any, got: Any, name: str, before: str, after: str, rtol: float = 0.0, atol: float = 0.0) -> None:
    """The same trees with the same numbers, to a tolerance: the place where they differ most."""
    same_form(without_weak_types(expected), without_weak_types(got), name, before, after)
    worst = 0.0, "", ""
    for (path, one), (_, other) in zip(leaves_by_path(expected).items(), leaves_by_path(got).items(), strict=True):
        wanted, came = as_doubles(one), as_doubles(other)
        with np.errstate(all="ignore"):
            apart = np.abs(came - wanted) - (atol + rtol * np.abs(wanted))
        alike = (wanted == came) | (np.isnan(wanted) & np.isnan(came))
        apart = np.where(alike, 0.0, np.nan_to_num(apart, nan=np.inf, posinf=np.inf))
        if apart.size and apart.max() > worst[0]:
            at = np.unravel_index(apart.argmax(), apart.shape)
            where = f"{name}{path}[{', '.join(map(str, at))}]" if at else f"{name}{path}"
            worst = float(apart.max()), f"{where} {wanted[at]:.9g} {before}", f"{came[at]:.9g} {after}"
    if worst[0]:
        raise Broken(worst[1], worst[2])


def finite(tree: Any, name: str) -> None:
    for path, x in leaves_by_path(tree).items():
        numbers = as_doubles(x)
        if not np.isfinite(numbers).all():
            raise Broken(f"finite numbers in {name}{path}", f"{numbers[~np.isfinite(numbers)][0]}")


def without_weak_types(tree: Any) -> Any:
    """The tree without weak types, which decide nothing of a result."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), abstract(tree))


def as_doubles(x: Any) -> np.ndarray:
    """The numbers of an array in double precision, those of a random key among them."""
    if jnp.issubdtype(jnp.result_type(x), jax.dtypes.prng_key):
        x = jax.random.key_data(x)
    x = np.asarray(x)
    return x.astype(complex if np.iscomplexobj(x) else float)
