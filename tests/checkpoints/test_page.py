"""docs/reference/checkpoints.md: its blocks are run."""

from pathlib import Path

import pytest

from tests.pages import blocks_of, check_blocks, shown_in

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "checkpoints.md").read_text()


@pytest.mark.usefixtures("float32")
def test_blocks_print_what_stands_below_them(capsys):
    blocks = blocks_of(PAGE)
    check_blocks(blocks, capsys)
    assert len(blocks) == PAGE.count("```python") == sum(map(bool, map(shown_in, blocks))) == 2
