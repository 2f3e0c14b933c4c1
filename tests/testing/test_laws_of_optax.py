"""The page that shows which laws Optax's aliases break."""

import inspect
import re

import optax
import pytest

from benchmarks.laws_of_optax import PAGE, aliases, kind, section, subjects, table
from gradtx.testing import LAWS, check_transformation, init_aliases_nothing, state_keeps_its_form, value_round_trips
from tests.broken import init_like_params, pair, promoting


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_no_alias_is_forgotten():
    home = inspect.getmodule(optax.adam)
    assert home is not None
    defined = {name for name, x in inspect.getmembers(home, inspect.isfunction) if x.__module__ == home.__name__}
    assert {name for name in defined if not name.startswith("_")} <= set(aliases())
    assert {"adam", "nadam", "nadamw", "sgd", "yogi"} <= set(aliases())
    assert list(subjects()) == sorted(aliases())


def test_the_page_has_a_line_for_each_alias_of_its_version():
    text = PAGE.read_text()
    if f"Optax {optax.__version__}," not in text:
        pytest.skip("the page is about another version")
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == sorted(aliases())
    sections = re.findall(r"^## \d+\. `(\w+)`", text, re.MULTILINE)
    assert sections == [law.name for law in LAWS if law.name in sections]


def test_what_it_shows():
    laws = [state_keeps_its_form, init_aliases_nothing, value_round_trips]
    made = {"one": pair(init_like_params, promoting), "another": pair(init_like_params, promoting), "right": pair()}
    reports = {name: check_transformation(tx, laws=laws) for name, tx in made.items()}
    assert (
        table(laws[:2], reports)
        == """\
|  | 1 | 2 |
| --- | :-: | :-: |
| `one` | ✗ |  |
| `another` | ✗ |  |
| `right` |  |  |
| broken | 2 | 0 |
"""
    )
    assert (
        section(1, state_keeps_its_form, reports)
        == """\
## 1. `state_keeps_its_form`

The state after an update has the structure, shapes, dtypes and weak types that `init` gave. The state takes its dtypes
from the parameters at `init` and from the gradients afterwards. Under mixed precision the step is compiled twice, and
`scan` refuses it.

- `one`, on params and updates bfloat16[]: expected state.trace bfloat16[] after init, got float32[] after an update;
  likewise `another`.
"""
    )
    one, other = (finding.broken for report in list(reports.values())[:2] for finding in report.broken)
    assert kind(one) == kind(other) == "state array after init | array after an update"
