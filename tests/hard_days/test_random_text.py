"""Configs and expressions of random text: a value, or a refusal that says what is wrong. Nothing is imported, and
nothing is run.
"""

import json
import traceback
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gradtx as gx
from gradtx.config.expression import ExpressionError, parse, parse_schedule
from gradtx.config.names import OPERATORS, find_factories
from gradtx.config.read import from_file
from gradtx.values.value import text_of
from tests.catalogue import SCHEDULES, TRANSFORMATIONS
from tests.hard_days.tries import tries
from tests.hard_days.watch import nothing_happens
from tests.hard_days.whose import require_refusal

pytestmark = pytest.mark.slow

some = tries("GRADTX_TESTS_TEXTS", 500)
FACTORIES = sorted(find_factories())  # which are imported here, once
ARGUMENTS = sorted({name for factory in find_factories().values() for name in factory.signature.parameters})
FORBIDDEN = [
    "__import__('os').system('x')",
    "eval",
    "exec",
    "open('x')",
    "().__class__",
    "os",
    "lambda: 0",
    "jnp.zeros",
]

# ---- expressions ----

TEXTS = [text_of(x) for x in [*(member.tx for member in TRANSFORMATIONS if member.printed), *SCHEDULES]]
TOKENS = [
    *[
        "(",
        ")",
        ",",
        "=",
        ".",
        " ",
        "+",
        "*",
        "~",
        "&",
        "|",
        "-",
        "**",
        "[",
        "]",
        "{",
        "}",
        ":",
        "'",
        '"',
        "\\",
        "#",
        "\n",
    ],
    *[
        "0",
        "1",
        "0.1",
        "1e-3",
        "1e999",
        "-1",
        "0x10",
        "1_0",
        "1j",
        "True",
        "None",
        "inf",
        "nan",
        "'w'",
        "b'w'",
        "f'{1}'",
    ],
    *["...", "9" * 30, "é", "\0", "if", "for", "in", "=lambda x:", ":=", "await ", "(" * 60, "~" * 60, ".then(", "at="],
]
tokens = st.sampled_from(TOKENS) | st.sampled_from(FACTORIES) | st.sampled_from(ARGUMENTS) | st.sampled_from(FORBIDDEN)
phrases = st.lists(tokens, max_size=12).map("".join)


@st.composite
def damaged(draw: Any, texts: Any, pieces: Any) -> str:
    """A text with something left out, and something else in its place."""
    text = draw(st.sampled_from(texts))
    start = draw(st.integers(0, len(text)))
    end = draw(st.integers(start, min(start + 12, len(text))))
    return text[:start] + draw(pieces) + text[end:]


def read_text(text: str, read: Any) -> Any:
    """What an expression stands for, None where it is refused."""
    try:
        with nothing_happens():
            return read(text)
    except ExpressionError as error:
        assert str(error)  # noqa: PT017  # any other error goes on
        return None


@some
@given(st.text(max_size=60) | phrases | damaged(TEXTS, phrases | st.text(max_size=3) | st.just("")))
def test_expressions(text: str):
    value = read_text(text, parse)
    if value is not None:
        assert isinstance(value, gx.Transformation)
        assert parse(text_of(value)) == value
    schedule = read_text(text, parse_schedule)
    if schedule is not None:
        assert parse_schedule(text_of(schedule)) == schedule


@pytest.mark.parametrize("text", FORBIDDEN)
def test_what_would_run_is_refused(text):
    for around in ("{}", "adam({})", "chain({}, adam(0.1))", "adam(learning_rate={})", "by_path({})"):
        assert read_text(around.format(text), parse) is None


# ---- configs ----

CONFIGS: list[Any] = []
for value in [*(member.tx for member in TRANSFORMATIONS if member.printed), *SCHEDULES]:
    try:
        CONFIGS.append(gx.to_config(value))
    except (TypeError, ValueError):  # what no plain data can stand for
        continue
KEYS = ["gradtx", "optimizer", "schedule", "selector", "name", "float32", "int8", "parts", "named", *OPERATORS]
words = (
    st.sampled_from(FACTORIES) | st.sampled_from(ARGUMENTS) | st.sampled_from(KEYS + FORBIDDEN) | st.text(max_size=3)
)
data = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=2),
    max_leaves=6,
)
whole_configs = data | st.builds(lambda kind, x: {"gradtx": 1, kind: x}, st.sampled_from(KEYS[1:4]), data)


@st.composite
def changed(draw: Any, configs: Any) -> Any:
    """A config with something else in one place."""

    def go(x: Any) -> Any:
        if draw(st.integers(0, 3)) == 0 or not isinstance(x, dict | list) or not x:
            return draw(data)
        places = list(x) if isinstance(x, dict) else range(len(x))
        place = draw(st.sampled_from(places))
        if isinstance(x, list):
            return [go(one) if i == place else one for i, one in enumerate(x)]
        if draw(st.integers(0, 3)) == 0:
            return {(draw(words) if key == place else key): one for key, one in x.items()}
        return {key: go(one) if key == place else one for key, one in x.items()}

    return go(draw(st.sampled_from(configs)))


def read_config(config: Any) -> Any:
    try:
        with nothing_happens():
            return gx.from_config(config)
    except (TypeError, ValueError) as error:
        for one in (error, *behind(error)):
            require_refusal(one)
        return None


def behind(error: BaseException) -> list[Exception]:
    """The errors of factories that a refusal is made of: one that is none has been caught too widely."""
    found: list[Exception] = []
    refusal = error.__context__
    if refusal is not None and traceback.extract_tb(refusal.__traceback__)[-1].name == "call_factory":
        inside = refusal.__context__
        assert isinstance(inside, Exception)
        found.append(inside)
    return found


@some
@given(whole_configs | changed(CONFIGS))
def test_configs(config: Any):
    value = read_config(config)
    if value is not None:
        assert gx.from_config(gx.to_config(value)) == value


@some
@given(damaged([json.dumps(x) for x in CONFIGS], phrases | st.text(max_size=3)) | st.text(max_size=40))
def test_files(tmp_path_factory: Any, text: str):
    path = tmp_path_factory.getbasetemp() / "config.json"
    path.write_bytes(text.encode(errors="surrogatepass"))
    try:
        assert isinstance(from_file(path), gx.Transformation)
    except (TypeError, ValueError) as error:
        assert str(error)  # noqa: PT017  # any other error goes on


def test_what_was_damaged_is_whole():
    """Else the tests above would show nothing."""
    assert all(read_config(config) is not None for config in CONFIGS)
    assert all(read_text(text, parse) or read_text(text, parse_schedule) for text in TEXTS if "<" not in text)
    assert len(CONFIGS) > 150
