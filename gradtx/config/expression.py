"""Optimizers and schedules written as text: reads what values print, and evaluates nothing else."""

import ast
import string
import warnings
from collections.abc import Callable
from typing import Any

from gradtx.config.names import (
    OPERATORS,
    call_factory,
    find_factories,
    find_factory,
    require_depth,
    require_operands,
)
from gradtx.core.transformation import Transformation
from gradtx.schedules.value import Schedule
from gradtx.selectors import Selector
from gradtx.values.errors import Refusal
from gradtx.values.value import text_of

LONGEST = 4_000  # characters: within them no number is too long for Python
BLANKS = str.maketrans(dict.fromkeys(string.whitespace, " "))
SIGNS_OF_SYNTAX: dict[type[ast.operator], str] = {ast.Add: "+", ast.Mult: "*", ast.BitAnd: "&", ast.BitOr: "|"}
KNOWN = "sgd, adam and the other factories in gradtx.__all__"
ALLOWED = (
    "allowed are calls of gradtx's factories, as in adam(1e-3), numbers, strings, tuples, True, False and None, on"
    " schedules .then(…, at=…), * and +, on selectors ~, & and |"
)


class ExpressionError(ValueError):
    """What is wrong with an expression, and where: column 1 is its first character that is not blank."""


def parse(text: str) -> Transformation:
    """The transformation that an expression such as `chain(clip_by_norm(1.0), adam(cosine(3e-3, 500)))` stands for.

    It may be spread over several lines. `parse(repr(tx)) == tx` for gradtx's own factories of plain numbers.

    **Raises:** `ExpressionError` for anything but calls of gradtx's factories, literal numbers, tuples of them, bools,
    None and what schedules print; and with a factory's own words for arguments that it refuses.
    """
    value = read_expression(text, "adam(1e-3)")
    if isinstance(value, Transformation):
        return value
    rate = is_plain_number(value) or isinstance(value, Schedule)
    remedy = f"; give it to one: sgd({shorten(text_of(value))})" if rate else ""
    raise ExpressionError(f"the expression is {name_kind(value)}, not a transformation{remedy}")


def parse_schedule(text: str) -> Schedule:
    """The schedule that an expression such as `warmup(1.0, 30).then(cosine(1.0, 570), at=30)` stands for.

    Read and refused as `parse` does.
    """
    value = read_expression(text, "cosine(1.0, 600)")
    if isinstance(value, Schedule):
        return value
    remedy = f"; write constant({shorten(text_of(value))})" if is_plain_number(value) else ""
    raise ExpressionError(f"the expression is {name_kind(value)}, not a schedule{remedy}")


def read_expression(text: str, example: str) -> Any:
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
        return evaluate_node(parse_syntax(source))
    except Refusal as refusal:
        raise ExpressionError(str(refusal)) from None
    except (RecursionError, MemoryError):
        raise ExpressionError("the expression is nested too deeply") from None


def parse_syntax(source: str) -> ast.expr:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the style of literals: not for the user of a command line
            return ast.parse(source, mode="eval").body
    except SyntaxError as error:
        raise ExpressionError(f"column {max(error.offset or 1, 1)}: {error.msg}") from None
    except ValueError as error:  # a null character
        raise ExpressionError(str(error)) from None


def evaluate_node(node: ast.expr, depth: int = 0) -> Any:
    """What a part of the expression stands for."""
    where = locate_node(node)
    require_depth(depth, where)

    def evaluate_part(part: ast.expr) -> Any:
        return evaluate_node(part, depth + 1)

    match node:
        case ast.Constant(value=int() | float() | str() | None as value):
            return value
        case ast.Tuple(elts=elements):
            return tuple(map(evaluate_part, elements))
        case ast.UnaryOp(op=ast.USub(), operand=operand) if is_plain_number(value := evaluate_part(operand)):
            return -value
        case ast.UnaryOp(op=ast.Invert(), operand=operand):
            return apply_operator("~", [evaluate_part(operand)], where)
        case ast.BinOp(left=left, op=op, right=right) if sign := SIGNS_OF_SYNTAX.get(type(op)):
            return apply_operator(sign, [evaluate_part(left), evaluate_part(right)], where)
        case ast.Call(func=ast.Attribute(value=earlier, attr="then"), args=args, keywords=keywords):
            schedule = evaluate_part(earlier)
            require_operands("then", [schedule], where)
            factory = schedule.then
        case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords):
            factory = find_factory(name, find_factories(), where, KNOWN)
        case ast.Call(func=func):
            raise Refusal(ValueError, f"{where}: found a call of {quote_source(func)}; {ALLOWED}")
        case ast.Name(id=name):
            find_factory(name, find_factories(), where, KNOWN)  # first of all it may be unknown
            raise Refusal(ValueError, f"{where}: found {name} without arguments; call it: {name}(…)")
        case _:
            raise Refusal(ValueError, f"{where}: found {quote_source(node)}; {ALLOWED}")
    positional = [evaluate_part(part) for part in args]
    return call_factory(factory, where, positional, evaluate_keywords(keywords, evaluate_part))


def evaluate_keywords(keywords: list[ast.keyword], evaluate_part: Callable[[ast.expr], Any]) -> dict[str, Any]:
    """The arguments given by name."""
    found: dict[str, Any] = {}
    for keyword in keywords:
        if keyword.arg is None:
            raise Refusal(ValueError, f"{locate_node(keyword)}: found {quote_source(keyword)}; {ALLOWED}")
        if keyword.arg in found:
            raise Refusal(ValueError, f"{locate_node(keyword)}: {keyword.arg} is given twice")
        found[keyword.arg] = evaluate_part(keyword.value)
    return found


def apply_operator(sign: str, operands: list[Any], where: str) -> Any:
    require_operands(sign, operands, where)
    return call_factory(OPERATORS[sign], where, operands, {})


# ---- words ----


def locate_node(node: ast.expr | ast.keyword) -> str:
    return f"column {node.col_offset + 1}"


def name_kind(value: Any) -> str:
    if isinstance(value, Transformation):
        return "a transformation"
    if isinstance(value, Schedule):
        return "a schedule"
    if isinstance(value, Selector):
        return "a selector"
    return "a number" if is_plain_number(value) else shorten(text_of(value))


def is_plain_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def quote_source(node: ast.AST) -> str:
    return f"`{shorten(ast.unparse(node))}`"


def shorten(text: str) -> str:
    return text if len(text) <= 60 else text[:59] + "…"
