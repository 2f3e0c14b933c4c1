"""Optimizers as text: what they print reads back, and anything else is refused in few words."""

import pytest

import gradtx as gx
from gradtx.config.expression import LONGEST, ExpressionError, parse, parse_schedule
from gradtx.config.names import DEEPEST
from gradtx.values.value import text_of

RATE = gx.warmup(4e-3, 30).then(gx.cosine(4e-3, 570, floor=1e-5), at=30)


@pytest.mark.parametrize(
    "tx",
    [
        gx.chain(),
        gx.identity(),
        gx.scale(-1),
        gx.sgd(0.1),
        gx.sgd(1e-05, momentum=0.9, nesterov=True),
        gx.adam(gx.exponential(0.1, 0.5, 10, staircase=True)),
        gx.adam(gx.cosine(3e-3, 500) * 0.5 + 1e-4),
        gx.adam((2 * gx.constant(1.0) + gx.linear(1, 0, 3) * gx.cosine(1, 7)).then(0.5, at=7).then(0.1, at=9)),
        gx.adam(0.1 + gx.constant(-1)),
        gx.adam(gx.piecewise_constant((10, 20), (0.1, -0.01, 1e-05)) + gx.piecewise_constant((), (0.1,))),
        gx.adam(gx.per_epoch(gx.cyclic(0.0, 0.1, 5), 100, continuous=True), b1=gx.one_cycle_momentum(100)),
        gx.chain(gx.clip_by_global_norm(1.0), gx.adamw(RATE, b1=RATE, weight_decay=0.1)),
    ],
    ids=text_of,
)
def test_what_an_optimizer_prints_reads_back(tx):
    assert parse(repr(tx)) == tx


def test_reads_what_a_user_types():
    text = "\n  chain(clip_by_norm(1),\n\trmsprop(cosine(3e-3, 500), centered=True))\n"
    assert parse(text) == gx.chain(gx.clip_by_norm(1), gx.rmsprop(gx.cosine(3e-3, 500), centered=True))
    assert parse("sgd(0.1, None)") == gx.sgd(0.1)
    assert repr(parse("sgd(0.5 * constant(1.0))")) == "sgd(learning_rate=(0.5 * constant(value=1.0)))"


ALLOWED = "; allowed are calls of gradtx's factories"
BAD = {
    # unknown names, and known ones in the wrong place
    "adamm(1e-3)": "column 1: unknown name 'adamm'; did you mean adam or radam or nadam?",
    "chain(clip_by_norm(1.0), bogus_thing(2))": "column 26: unknown name 'bogus_thing'; known are sgd, adam and",
    "__import__('os').system('true')": f"column 1: found a call of `__import__('os').system`{ALLOWED}",
    "__import__('os')": "column 1: unknown name '__import__'",
    "eval('1')": "column 1: unknown name 'eval'",
    "then(1, 2, 3)": "column 1: unknown name 'then'",
    "transformation(1)": "column 1: unknown name 'transformation'",
    "nan": "column 1: unknown name 'nan'",
    "adam": "column 1: found adam without arguments; call it: adam(…)",
    "chain(adam)": "column 7: found adam without arguments",
    # other Python
    "adam.__class__": f"column 1: found `adam.__class__`{ALLOWED}",
    "gradtx.adam(1e-3)": f"column 1: found a call of `gradtx.adam`{ALLOWED}",
    "adam(1e-3).update(1)": "column 1: found a call of `adam(0.001).update`",
    "adam(1e-3)(1)": "column 1: found a call of `adam(0.001)`",
    "adam(1e-3).then(1, at=2)": "column 1: then must follow a schedule, got adam(learning_rate=0.001)",
    "lambda g: g": f"column 1: found `lambda g: g`{ALLOWED}",
    "chain([adam(r) for r in x])": "column 7: found `[adam(r) for r in x]`",
    "chain(*x)": "column 7: found `*x`",
    "adam(**x)": "column 6: found `**x`",
    "adam('0.1')": "adam: learning_rate must be a number, a scalar array or a schedule, got str '0.1'",
    "'adam(0.1)'": "the expression is 'adam(0.1)', not a transformation",
    "by_path('a')": "the expression is a selector, not a transformation",
    "~adam(0.1)": "column 1: ~ is for selectors, got adam(learning_rate=0.1)",
    "by_path('a') & 1": "column 1: & is for selectors, got by_path(pattern='a') and 1",
    "masked(scale(0.1), by_path('('))": "by_path: pattern must be a regular expression",
    "adam(b'')": "column 6: found `b''`",
    "adam(1j)": "column 6: found `1j`",
    "adam(...)": "column 6: found `...`",
    "adam(x[0])": "column 6: found `x[0]`",
    "adam((1, 2))": "adam: learning_rate must be a number, a scalar array or a schedule, got tuple",
    "adam((1, None))": "adam: learning_rate must be a number, a scalar array or a schedule, got tuple (1, None)",
    "adam((1, (2, 3)))": "adam: learning_rate must be a number",
    "adam((*x, 1))": "column 7: found `*x`",
    "adam(piecewise_constant([1], (2, 3)))": f"column 25: found `[1]`{ALLOWED}",
    "adam(piecewise_constant((1), (2, 3)))": "piecewise_constant: boundaries must be a tuple of numbers, got int 1",
    "adam(piecewise_constant((5, 4), (1, 2, 3)))": "boundaries[1] must not be earlier than boundaries[0]=5, got 4",
    "(x := adam(1))": "column 2: found `(x := adam(1))`",
    "adam(1) if True else adam(2)": "column 1: found `adam(1) if True else adam(2)`",
    "import os": "column 1: invalid syntax",
    "adam(1); adam(2)": "column 8: invalid syntax",
    "adam(1e-3": "column 5: '(' was never closed",
    "adam(1e-3, b1=0.5, b1=0.6)": "column 20: b1 is given twice",
    # arithmetic
    "adam(1 + 2)": "column 6: + must have a schedule on one side, got 1 and 2",
    "adam(1e-3) * 2": "column 1: * must have a schedule on one side, got adam(learning_rate=0.001) and 2",
    "adam(cosine(1, 9) - 1)": f"column 6: found `cosine(1, 9) - 1`{ALLOWED}",
    "adam(10 ** 9)": "column 6: found `10 ** 9`",
    "adam(-True)": "column 6: found `-True`",
    "adam(-cosine(1, 9))": "column 6: found `-cosine(1, 9)`",
    "adam(+1)": "column 6: found `+1`",
    # what the factories refuse, in their words
    "adam(1e-3, b1=1.5)": "column 1: adam: b1 must be in [0, 1), got 1.5",
    "adam()": "adam: missing a required argument: 'learning_rate'",
    "adam(1e-3, beta=1)": "adam: unknown argument 'beta'",
    "adam(1" + "0" * 400 + ")": "adam: learning_rate must be in [0, inf), got inf",
    "chain(sgd(0.1), sgd(-1))": "column 17: sgd: learning_rate must be in [0, inf), got -1",
    "chain(1)": "chain: parts[0] must be a transformation, got int 1",
    "adam(cosine(1, 9).then(1))": "column 6: Schedule.then() missing 1 required keyword-only argument: 'at'",
    # no transformation
    "": "the expression is empty",
    " \n": "the expression is empty",
    "0.1": "the expression is a number, not a transformation; give it to one: sgd(0.1)",
    "None": "the expression is None, not a transformation",
    "(1, 2)": "the expression is (1, 2), not a transformation",
    "cosine(1, 9)": "the expression is a schedule, not a transformation; give it to one: sgd(cosine(",
    "+".join(["cosine(1.0, 9)"] * 9): "give it to one: sgd(((((((((cosine(start=1.0, steps=9) + cosine",
    # characters
    "adam(\N{EN DASH}1)": r"column 6: found '\u2013'; only ASCII characters are allowed",
    "adam(\ud800)": r"column 6: found '\ud800'",
    "adam(1)\0": "null bytes",
    # size
    "adam(" * 199 + "1" + ")" * 199: f"nested more than {DEEPEST} deep",
    "adam(" + "(" * 999 + "1": "too many nested parentheses",
    "-" * LONGEST: "column ",
    "-" * (LONGEST - 1) + "1": "nested",
    "constant(1)" + "+1" * 999: f"nested more than {DEEPEST} deep",
    "x" * (LONGEST + 1): f"the expression has {LONGEST + 1} characters, more than {LONGEST}",
    "1" * LONGEST: "the expression is a number",
}


@pytest.mark.parametrize("text", BAD, ids=lambda text: ascii(text[:30]))
def test_anything_else_is_a_short_error(text):
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    assert BAD[text] in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_selectors_are_read_with_their_operators():
    where = gx.by_path("bias$") | ~gx.by_ndim(at_least=2) & gx.by_path(r"layers/\d+")
    tx = gx.partition((where, gx.sgd(0.1)), default=gx.adam(0.1))
    assert parse(repr(tx)) == tx


@pytest.mark.parametrize("schedule", [RATE, RATE * 0.5, gx.constant(1.0) + 1, gx.exponential(1, 0.5, 2)], ids=text_of)
def test_what_a_schedule_prints_reads_back(schedule):
    assert parse_schedule(repr(schedule)) == schedule


NO_SCHEDULE = {
    "": "the expression is empty; write one such as cosine(1.0, 600)",
    "0.5": "the expression is a number, not a schedule; write constant(0.5)",
    "adam(1e-3)": "the expression is a transformation, not a schedule",
    "True": "the expression is True, not a schedule",
    "(1, 2)": "the expression is (1, 2), not a schedule",
    "cosin(1, 9)": "column 1: unknown name 'cosin'; did you mean cosine",
    "cosine": "column 1: found cosine without arguments; call it: cosine(…)",
    "cosine(1, 9).then(1, at=-1)": "at must be",
    "open('x')": "column 1: unknown name 'open'",
    "-" * LONGEST + "1": f"the expression has {LONGEST + 1} characters",
}


@pytest.mark.parametrize("text", NO_SCHEDULE, ids=lambda text: ascii(text[:30]))
def test_anything_but_a_schedule_is_a_short_error(text):
    with pytest.raises(ExpressionError) as caught:
        parse_schedule(text)
    assert NO_SCHEDULE[text] in str(caught.value)
    assert len(str(caught.value)) < 600
