"""docs/few_bytes.md: its blocks are run, and its tables are those of the last run of the benchmark."""

import json

import pytest

from benchmarks.few_bytes import NUMBERS, PAGE, WRITTEN, errors, tables, trap, walk, with_tables
from tests.pages import blocks_of, check_blocks

TEXT = PAGE.read_text()
BLOCKS = blocks_of(TEXT)
RECORDED = json.loads(NUMBERS.read_text())
pytestmark = pytest.mark.usefixtures("float32")  # as users have it, and as the examples show it


def test_blocks_print_what_stands_below_them(capsys):
    check_blocks(BLOCKS, capsys)
    assert len(BLOCKS) == TEXT.count("```python") >= 8
    assert sum("print(" in block for block in BLOCKS) == len(BLOCKS)


def test_tables_are_those_of_the_recorded_numbers():
    found = tables(RECORDED)
    assert len(found) == TEXT.count("made by python -m benchmarks.few_bytes") == 6
    assert with_tables(TEXT, found) == TEXT


def test_a_table_without_its_mark_is_refused():
    with pytest.raises(ValueError, match="the page has 0 marks of the table 'more', expected one"):
        with_tables(TEXT, {"more": "| |\n"})


def test_errors_are_what_is_measured():
    for name, own in errors(2**16).items():
        recorded = RECORDED["errors"][name]
        assert own["bytes"] == recorded["bytes"]
        for kind in own.keys() - {"bytes", "zeros"}:
            assert own[kind] == pytest.approx(recorded[kind], rel=0.05), (name, kind)
        assert own["zeros"] == pytest.approx(recorded["zeros"], abs=0.01)


def test_the_trap_and_small_steps_are_what_is_measured():
    assert trap() == pytest.approx(RECORDED["trap"], abs=1e-4)
    for name, write in WRITTEN.items():
        assert walk(write) == pytest.approx(RECORDED["walks"][name], abs=1e-4)


def test_eight_bits_learn_as_float32_does_within_the_spread_of_its_seeds():
    for trained in RECORDED["trained"].values():
        losses = {name: own["losses"] for name, own in trained.items()}
        least, most = min(losses["float32"]), max(losses["float32"])
        for name in ("bfloat16()", "blocks(8)", "blocks(8), nu of_root(blocks(8))", "write_stochastically, blocks(8)"):
            assert least <= sum(losses[name]) / len(losses[name]) <= most
        assert all(a > b for a, b in zip(losses["to the nearest"], losses["float32"], strict=True))
    nearest, random = RECORDED["moments"]["to the nearest"], RECORDED["moments"]["at random"]
    assert all(abs(a - 1) > 0.1 > 0.05 > abs(b - 1) for a, b in zip(nearest, random, strict=True))
