"""The blocks of Python on a page, and what stands below each that it prints."""

import re


def blocks_of(page):
    return re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)


def shown_in(block):
    return [line.removeprefix("# ") for line in block.splitlines() if line.startswith("# ")]


def check_blocks(blocks, capsys):
    """Run them one after the other; each prints what it shows."""
    space = {}
    for block in blocks:
        exec(block, space)
        out = capsys.readouterr().out.splitlines()
        assert out == shown_in(block), "\n".join(out)
