"""The table of docs/conventions.md of where peers disagree: gradtx's numbers are what its calls give."""

import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import gradtx as gx
from tests.printed import descended, fed

pytestmark = pytest.mark.slow
PAGE = (Path(__file__).parent.parent / "docs" / "conventions.md").read_text()
ROWS = re.findall(r"^\| `(.+?)` \| (F|Q) \| ([\d.]+), ([\d.]+) \| (\w+) \|", PAGE, re.MULTILINE)


@pytest.mark.parametrize(("call", "on", "m", "v"), [row[:4] for row in ROWS], ids=[row[0] for row in ROWS])
def test_the_call_gives_its_numbers(call, on, m, v):
    tx = eval(call, vars(gx) | {"minimum": jnp.minimum})
    found = fed(tx, 8 if "radam" in call else 3) if on == "F" else descended(tx)
    np.testing.assert_allclose(found, (float(m), float(v)), rtol=0, atol=6e-11)


def test_the_table_has_them():
    assert len(ROWS) >= 10
