"""docs/conventions.md says what the rows of the parity tests say."""

from tests.conventions import PAGE, page


def test_tables_are_made_of_the_rows():
    text = PAGE.read_text()
    assert page(text) == text, "the rows of a parity test changed; run: python -m tests.conventions"
