"""docs/optax_names.md is what its generator prints."""

import optax
import pytest

import gradtx.optax
from tests.optax.page import PAGE, names_of, page


def test_the_page_is_what_its_generator_prints():
    if f"Optax {optax.__version__}." not in PAGE.read_text():
        pytest.skip("the page is about another version")
    assert page() == PAGE.read_text(), "run python -m tests.optax.page"


def test_no_name_of_optax_is_forgotten():
    text = page()
    assert [name for name in names_of(optax) if f"`{name}`" not in text and f"`optax.{name}`" not in text] == []
    assert "| `adamw` | `adamw(learning_rate=0.001, weight_decay=0.1)` |" in text
    assert "`adafactor`" in text
    assert not hasattr(gradtx.optax, "adafactorr")
