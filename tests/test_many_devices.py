"""docs/many_devices.md: its blocks are run, and its tables are what the arrays and the compiled programs say."""

from pathlib import Path

import jax
import pytest
from jax.sharding import AxisType

from tests.pages import blocks_of, check_blocks, shown_in

PAGE = (Path(__file__).parent.parent / "docs" / "many_devices.md").read_text()
BLOCKS = blocks_of(PAGE)
pytestmark = pytest.mark.usefixtures("float32")  # as users have it, and as the examples show it


def test_blocks_print_what_stands_below_them(capsys):
    check_blocks(BLOCKS, capsys)
    assert all(map(shown_in, BLOCKS))
    assert len(BLOCKS) == PAGE.count("```python") > 10


def test_tables_are_what_is_measured():
    from docs.many_devices import N, tables

    held, sent, written = tables(jax.make_mesh((N,), ("data",), axis_types=(AxisType.Auto,)))
    for text in written:
        assert text in PAGE
    assert held["replicated"]["state"] == pytest.approx(8 * held["FSDP"]["state"], rel=1e-4)
    assert sum(sent["psum_scatter, across"].values()) == pytest.approx(sum(sent["replicated"].values()), rel=1e-4)
