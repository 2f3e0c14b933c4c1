"""What values print: one line where it fits, else as a formatter writes it; either reads back."""

import optax
import pytest

import gradtx as gx
from gradtx.config.expression import parse, parse_schedule
from gradtx.values.printing import WIDTH, excerpt, indent
from gradtx.values.value import text_of
from tests.catalogue import SCHEDULES, TRANSFORMATIONS

RATE = gx.warmup(4e-3, 30).then(gx.cosine(4e-3, 570, floor=1e-5), at=30)
CLIPPED = gx.chain(gx.clip_by_global_norm(1.0), gx.adamw(RATE, b1=RATE, weight_decay=0.1))


def test_a_long_value_is_written_one_argument_to_a_line():
    assert repr(CLIPPED) == (
        "chain(\n"
        "    clip_by_global_norm(max_norm=1.0),\n"
        "    adamw(\n"
        "        learning_rate=warmup(value=0.004, steps=30).then(\n"
        "            cosine(start=0.004, steps=570, floor=1e-05),\n"
        "            at=30,\n"
        "        ),\n"
        "        b1=warmup(value=0.004, steps=30).then(cosine(start=0.004, steps=570, floor=1e-05), at=30),\n"
        "        weight_decay=0.1,\n"
        "    ),\n"
        ")"
    )
    assert str(CLIPPED) == repr(CLIPPED)


def test_operators_begin_the_lines_and_numbers_fill_them():
    pieces = gx.piecewise_constant(tuple(range(1, 40)), tuple(0.1 * i for i in range(39, -1, -1)))
    text = repr(gx.adam(RATE * 2.0 + pieces))
    lines = [line.strip() for line in text.splitlines()]
    assert lines[:3] == ["adam(", "learning_rate=(", "("]
    assert lines[3].startswith("warmup(value=0.004, steps=30).then(cosine(")
    assert lines[4] == "* 2.0"
    assert "+ piecewise_constant(" in lines
    assert "boundaries=(" in lines
    numbers = lines[lines.index("boundaries=(") + 1]
    assert numbers.startswith("1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14")
    assert max(map(len, text.splitlines())) <= WIDTH


LONG = {
    "joints": RATE.then(RATE, at=600).then(0.5, at=900).then(gx.constant(1.0), at=1000),
    "operators": RATE * RATE + 0.5 * RATE + gx.constant(1.0),
    "numbers": gx.piecewise_constant(tuple(range(1, 60)), tuple(-1e-05 * i for i in range(60))),
}


@pytest.mark.parametrize("schedule", LONG.values(), ids=LONG)
def test_what_is_indented_reads_back(schedule):
    for value, read in ((schedule, parse_schedule), (gx.chain(CLIPPED, gx.sgd(schedule)), parse)):
        assert "\n" in repr(value)
        assert max(map(len, repr(value).splitlines())) <= WIDTH
        assert eval(repr(value), dict(vars(gx))) == value
        assert read(repr(value)) == value
        assert "\n" not in text_of(value)
        assert read(text_of(value)) == value


@pytest.mark.parametrize("value", [m.tx for m in TRANSFORMATIONS] + SCHEDULES, ids=text_of)
def test_a_line_is_broken_only_where_it_must_be(value):
    assert (repr(value) == text_of(value)) == (len(text_of(value)) <= WIDTH)


def test_exactly_the_width_fits():
    fits = "f(" + "x" * (WIDTH - 3) + ")"
    assert indent(fits) == fits
    assert indent("f(" + "x" * (WIDTH - 2) + ")") == "f(\n    " + "x" * (WIDTH - 2) + ",\n)"
    inner = "f(" + "x" * (WIDTH - 8) + ")"  # with its indent and its comma
    assert indent(f"chain({inner}, y)") == f"chain(\n    {inner},\n    y,\n)"


def test_what_stands_in_a_string_or_in_foreign_words_is_left_alone():
    by_path = f"by_path({'(a, b) + (' * 12!r})"
    assert indent(by_path) == f"by_path(\n    {'(a, b) + (' * 12!r},\n)"
    assert indent(f"{by_path} | ~{by_path}").startswith("(\n    by_path(\n        '(a, b)")
    assert indent(by_path.replace("'", '"')).startswith('by_path(\n    "(a, b)')
    tx = gx.chain(optax.trace(0.9), gx.scale(lambda t: 0.1), *[gx.scale(0.1)] * 2)
    assert "\n    <optax.trace>,\n    scale(\n        factor=<test_what_stands_in" in repr(tx)
    unbalanced = "chain(<it's an (odd one>, " + "x" * WIDTH + ")"
    assert indent(unbalanced) == unbalanced
    assert indent("x" * 200) == "x" * 200


def test_an_excerpt_is_one_short_line():
    assert excerpt(CLIPPED) == "chain(clip_by_global_norm(max_norm=1.0), adamw(learning_r..."
    assert excerpt(gx.sgd(0.1)) == "sgd(learning_rate=0.1)"
