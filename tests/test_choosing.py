"""docs/choosing.md is what its generator prints, and leaves no optimizer out."""

import re
from pathlib import Path

import pytest

import gradtx as gx
from docs.choosing import PAGE, QUESTIONS, page, value_of

pytestmark = pytest.mark.slow


def test_the_page_is_what_its_generator_prints():
    assert PAGE.read_text() == page()


def test_every_optimizer_and_wrapper_answers_a_question():
    called = {name for rows in QUESTIONS.values() for call in rows for name in re.findall(r"\b(\w+)\(", call)}
    source = Path(str(gx.__file__)).read_text()
    for heading in ("Optimizers", "Wrappers over any transformation"):
        section = source.split(f"    # {heading}\n")[1].split("    # ")[0]
        names = set(re.findall(r'"(\w+)"', section))
        assert len(names) > 4
        assert names - called - {"schedule_free"} == set()  # the aliases are what is called


def test_each_row_is_a_value_and_a_sentence():
    for rows in QUESTIONS.values():
        for call, sentence in rows.items():
            assert isinstance(value_of(call), gx.Transformation)
            assert sentence.endswith(".")
