"""Optimizers and schedules written as text: reads what values print, and evaluates nothing else."""

import ast
import difflib
import operator
import string
import warnings
from collections.abc import Callable
from typing import Any

import gradtx
from gradtx.values.recipe import Recipe
from gradtx.values.value import written

LONGEST = 4_000  # characters: within them no number is too long for Python
DEEPEST = 50  # calls and operators inside each other: all that runs over a value is recursive
BLANKS = str.maketrans(dict.fromkeys(string.whitespace, " "))
OPERATORS = {ast.Add: operator.add, ast.Mult: operator.mul, ast.BitAnd: operator.and_, ast.BitOr: operator.or_}
FACTORIES = {name: f for name in gradtx.__all__ if isinstance(f := getattr(gradtx, name), Recipe)}
ALLOWED = (
    "allowed are calls of gradtx's factories, as in adam(1e-3), numbers, strings, tuples, True, False and None, on"
    " schedules .then(…, at=…), * and +, on selectors ~, & and |"
)


class ExpressionError(ValueError):
    """What is wrong with an expression, and where: column 1 is its first character that is not blank."""


def parse(text: str) -> gradtx.Transformation:
    """The transformation that an expression such as `chain(clip_by_norm(1.0), adam(cosine(3e-3, 500)))` stands for.

    It may be spread over several lines. `parse(repr(tx)) == tx` for gradtx's own factories of plain numbers.

    **Raises:** `ExpressionError` for anything but calls of gradtx's factories, literal numbers, tuples of them, bools,
    None and what schedules print; and with a factory's own words for arguments that it refuses.
    """
    value = read(text, "adam(1e-3)")
    if isinstance(value, gradtx.Transformation):
        return value
    rate = is_number(value) or isinstance(value, gradtx.Schedule)
    remedy = f"; give it to one: sgd({shortened(written(value))})" if rate else ""
    raise ExpressionError(f"the expression is {kind(value)}, not a transformation{remedy}")


def parse_schedule(text: str) -> gradtx.Schedule:
    """The schedule that an expression such as `warmup(1.0, 30).then(cosine(1.0, 570), at=30)` stands for.

    Read and refused as `parse` does.
    """
    value = read(text, "cosine(1.0, 600)")
    if isinstance(value, gradtx.Schedule):
        return value
    remedy = f"; write constant({shortened(written(value))})" if is_number(value) else ""
    raise ExpressionError(f"the expression is {kind(value)}, not a schedule{remedy}")


def read(text: str, example: str) -> Any:
    """What a whole expression stands for."""
    source = text.translate(BLANKS).strip()
    if not source:
        raise ExpressionError(f"the expression is empty; write one such as {example}")
    if len(source) > LONGEST:
        raise ExpressionError(f"the expression has {len(source)} characters, more than {LONGEST}")
    if not source.isascii():  # ast counts columns in bytes
        column = next(i for i, character in enumerate(source) if not character.isascii())
        raise ExpressionError(f"column {column + 1}: found {source[column]!a}; only ASCII characters are allowed")
    try:
        return evaluated(syntax_tree(source))
    except (RecursionError, MemoryError):
        raise ExpressionError("the expression is nested too deeply") from None


def kind(value: Any) -> str:
    if isinstance(value, gradtx.Transformation):
        return "a transformation"
    if isinstance(value, gradtx.Schedule):
        return "a schedule"
    if isinstance(value, gradtx.Selector):
        return "a selector"
    return "a number" if is_number(value) else shortened(written(value))


def syntax_tree(source: str) -> ast.expr:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the style of literals: not for the user of a command line
            return ast.parse(source, mode="eval").body
    except SyntaxError as error:
        raise ExpressionError(f"column {max(error.offset or 1, 1)}: {error.msg}") from None
    except ValueError as error:  # a null character
        raise ExpressionError(str(error)) from None


def evaluated(node: ast.expr, depth: int = 1) -> Any:
    """What a part of the expression stands for."""

    def inside(part: ast.expr) -> Any:
        return evaluated(part, depth + 1)

    if depth > DEEPEST:
        raise refused(node, f"nested more than {DEEPEST} deep")
    match node:
        case ast.Constant(value=int() | float() | str() | None as value):
            return value
        case ast.Tuple(elts=elements):
            return tuple(map(inside, elements))
        case ast.UnaryOp(op=ast.Invert(), operand=operand) if isinstance(value := inside(operand), gradtx.Selector):
            return ~value
        case ast.UnaryOp(op=ast.USub(), operand=operand) if is_number(value := inside(operand)):
            return -value
        case ast.BinOp(left=left, op=ast.Add() | ast.Mult() as op, right=right):
            operands = inside(left), inside(right)
            if not any(isinstance(x, gradtx.Schedule) for x in operands):
                raise refused(node, f"found {excerpt(node)}; one side of + and * must be a schedule")
            return called(OPERATORS[type(op)], *operands)
        case ast.BinOp(left=left, op=ast.BitAnd() | ast.BitOr() as op, right=right):
            operands = inside(left), inside(right)
            if not all(isinstance(x, gradtx.Selector) for x in operands):
                raise refused(node, f"found {excerpt(node)}; both sides of & and | must be selectors")
            return called(OPERATORS[type(op)], *operands)
        case ast.Call(func=ast.Attribute(value=earlier, attr="then"), args=args, keywords=keywords):
            schedule = inside(earlier)
            if not isinstance(schedule, gradtx.Schedule):
                raise refused(node, f"found .then of {excerpt(earlier)}; only schedules have it")
            return called(schedule.then, *map(inside, args), **named(keywords, inside))
        case ast.Call(func=func, args=args, keywords=keywords):
            return called(factory(func), *map(inside, args), **named(keywords, inside))
        case ast.Name():
            factory(node)  # first of all it may be unknown
            raise refused(node, f"found {node.id} without arguments; call it: {node.id}(…)")
    raise refused(node, f"found {excerpt(node)}; {ALLOWED}")


def factory(node: ast.expr) -> Callable[..., Any]:
    """The factory that a name stands for."""
    if not isinstance(node, ast.Name):
        raise refused(node, f"found a call of {excerpt(node)}; {ALLOWED}")
    if node.id not in FACTORIES:
        close = difflib.get_close_matches(node.id, FACTORIES)
        known = f"known are {', '.join(list(FACTORIES)[:8])} and the other factories in gradtx.__all__"
        remedy = f"did you mean {' or '.join(close)}?" if close else known
        raise refused(node, f"unknown name {node.id!r}; {remedy}")
    return FACTORIES[node.id]


def named(keywords: list[ast.keyword], inside: Callable[[ast.expr], Any]) -> dict[str, Any]:
    """The arguments given by name."""
    found: dict[str, Any] = {}
    for keyword in keywords:
        if keyword.arg is None:
            raise refused(keyword, f"found {excerpt(keyword)}; {ALLOWED}")
        if keyword.arg in found:
            raise refused(keyword, f"{keyword.arg} is given twice")
        found[keyword.arg] = inside(keyword.value)
    return found


def called(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return function(*args, **kwargs)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise ExpressionError(str(error)) from None


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def excerpt(node: ast.AST) -> str:
    return f"`{shortened(ast.unparse(node))}`"


def shortened(text: str) -> str:
    return text if len(text) <= 60 else text[:59] + "…"


def refused(node: ast.expr | ast.keyword, problem: str) -> ExpressionError:
    return ExpressionError(f"column {node.col_offset + 1}: {problem}")
