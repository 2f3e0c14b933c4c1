"""The steps of a transformation in words and mathematics."""

import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any, NamedTuple

import optax

from gradtx.core.combine import chain
from gradtx.core.transformation import composed_of
from gradtx.inspect.report import Document, as_code
from gradtx.schedules.value import Schedule
from gradtx.values.errors import Refusal, errors_of
from gradtx.values.mathematics import UNBROKEN, readable, without_breaks
from gradtx.values.printing import WIDTH, what_came
from gradtx.values.value import Value, text_of

# In a docstring's paragraph of arguments `name` $symbol$, or with its range `name` $symbol \ge 0$.
SYMBOL = re.compile(r"`(\w+)` \$(?!\s*(?:\\in\b|\\[gl]e\b|[<>]))([^$]+?)(?:\s*(?:\\in\b|\\[gln]e\b|[<>=,])[^$]*)?\$")


def describe(tx: Any) -> Document:
    r"""What a transformation does: its steps, nested as it is built, each with its rule and its arguments' values.

    The rule is the start of the docstring; behind the name of an argument stands its symbol there. Below a composition
    are the steps that it is built of, below a step its schedules. A transformation of Optax is named, no more.

    **Arguments:** `tx`, a transformation or a schedule.

    **Returns:** what prints as text, and what a notebook shows as Markdown, with the mathematics set.

    **Raises:** `TypeError` for anything else.

    >>> import gradtx
    >>> gradtx.describe(gradtx.sgd(0.1))
    sgd
      Gradient descent, w ← w - η g; with `momentum`, w ← w - η v.
      learning_rate (η) = 0.1, momentum (μ) = None, nesterov = False, dampening = 0.0
      1. scale_by_learning_rate
         The step down, -η g: the one place where the sign flips. What comes out is added to the
         parameters.
         learning_rate (η) = 0.1
    """
    with errors_of("describe"):
        if not isinstance(tx, optax.GradientTransformation | Schedule):
            raise Refusal(TypeError, f"tx must be a transformation or a schedule, got {what_came(tx)}")
    step = step_of(tx)
    return Document("\n".join(text(step)), "\n".join(markdown(step)))


# ---- what there is to say ----


class Name(NamedTuple):
    """What something is called in code, and its symbol in TeX if it has one."""

    code: str = ""
    symbol: str = ""


UNNAMED = Name()


class Step(NamedTuple):
    role: Name  # to the step around it
    name: str
    rule: str
    values: list[tuple[Name, str]]  # of the arguments that are no steps
    inside: list["Step"]


def step_of(value: Any, role: Name = UNNAMED) -> Step:
    if not isinstance(value, Value):
        return Step(role, text_of(value), "", [], [])
    rule, symbols = read_docstring(value.recipe.factory.__doc__)
    if isinstance(value, Schedule) and not rule:  # an operator: what is told are the schedules that it joins
        return Step(role, text_of(value), "", [], [step_of(part) for part in operands_of(value)])
    variadic = value.recipe.variadic
    names = {name: Name(name, symbols.get(name, "")) for name in value.arguments} | {variadic: UNNAMED}
    numbers = value.recipe.ranges
    nested = {name: list(parts(x, in_place=name if name in numbers else "")) for name, x in value.arguments.items()}
    wraps = any(isinstance(part, optax.GradientTransformation) for found in nested.values() for _, part in found)
    steps = None if wraps else composed_of(value)
    if steps is not None:  # a composition: its arguments, schedules too, are seen again in its steps
        step, nested = step_of(steps), {}
        inside = step.inside if steps.recipe is chain else [step]
    else:
        places = [(name, *found) for name, several in nested.items() for found in several]
        inside = [step_of(part, Name(beside) if beside else names[name]) for name, beside, part in places]
    own = {name: x for name, x in value.arguments.items() if name != variadic}
    shown = {name: x for name, x in own.items() if not nested.get(name) or (type(x) is tuple and name in numbers)}
    values = [(Name(name) if isinstance(x, bool) else names[name], text_of(x)) for name, x in shown.items()]
    return Step(role, value.recipe.__name__, rule, values, inside)


def operands_of(schedule: Schedule) -> Iterator[Schedule]:
    """The schedules inside of operators, by their operators alone."""
    for argument in schedule.arguments.values():
        if isinstance(argument, Schedule):
            yield from [argument] if argument.recipe.factory.__doc__ else operands_of(argument)


def parts(argument: Any, beside: str = "", in_place: str = "") -> Iterator[tuple[str, Any]]:
    """The transformations and schedules in an argument, each with what stands beside it, as a selector does; with its
    place in a tuple of numbers of this name.
    """
    if isinstance(argument, optax.GradientTransformation | Schedule):
        yield beside, argument
    elif type(argument) is tuple:
        steps = (optax.GradientTransformation, Schedule, tuple)
        others = ", ".join(text_of(x) for x in argument if not isinstance(x, steps))
        for i, x in enumerate(argument):
            yield from parts(x, f"{in_place}[{i}]" if in_place else others)


def read_docstring(doc: str | None) -> tuple[str, dict[str, str]]:
    """The rule at the head of a docstring, with a formula that is set off, and the symbols of the arguments."""
    paragraphs = [" ".join(p.split("\n")) for p in inspect.cleandoc(doc or "").split("\n\n")]
    rule = [] if paragraphs[0].startswith(("**", ">>>")) else paragraphs[:1]
    rule += [p for p in paragraphs[1:2] if p.startswith("$$")]
    arguments = [p for p in paragraphs if p.startswith("**Arguments:**")]
    return " ".join(rule), dict(pair for p in arguments for pair in SYMBOL.findall(p))


# ---- how it is written ----


def text(step: Step, number: str = "", indent: int = 0) -> Iterator[str]:
    inner = indent + max(len(number), 2)

    def wrapped(words: str, first: str = " " * inner) -> str:
        options: Any = dict(break_long_words=False, break_on_hyphens=False)
        filled = textwrap.fill(words, WIDTH, initial_indent=first, subsequent_indent=" " * inner, **options)
        return filled.replace(UNBROKEN, " ")

    def named(name: Name) -> str:
        return f"{name.code} ({readable(f'${name.symbol}$')})" if name.symbol else name.code

    role = f"{named(step.role)}: " if step.role.code else ""
    yield wrapped(f"{role}{step.name}", " " * indent + number)
    if step.rule:
        yield wrapped(readable(step.rule))
    if step.values:
        yield wrapped(", ".join(without_breaks(f"{named(name)} = {value}") for name, value in step.values))
    for i, part in enumerate(step.inside, 1):
        yield from text(part, f"{number.strip()}{i}. ", inner)


def markdown(step: Step, number: str = "", indent: int = 0) -> Iterator[str]:
    inner = indent + len(number)

    def named(name: Name) -> str:
        return f"{as_code(name.code)} (${name.symbol}$)" if name.symbol else as_code(name.code)

    role = f"{named(step.role)}: " if step.role.code else ""
    values = ", ".join(f"{named(name)} = {as_code(value)}" for name, value in step.values)
    head = f"{role}**{as_code(step.name)}**"
    lines = [f"{head}: {step.rule}" if step.rule else head, *filter(None, [values])]
    yield " " * indent + number + f"  \n{' ' * inner}".join(lines)  # the two spaces break the line
    if not number and step.inside:
        yield ""
    for i, part in enumerate(step.inside, 1):
        yield from markdown(part, f"{i}. ", inner)
