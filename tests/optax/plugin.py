"""A pytest plugin for Optax's own tests: gradtx's names in the places of Optax's, and the list of what fails.

The names are put there before a test file is imported. Where a listed test passes, or one that is not listed fails, the
run fails.
"""

import fnmatch
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import optax
import pytest
from absl import flags

import gradtx.optax
from gradtx.optax import contrib, schedules, transforms

PAIRS = [(gradtx.optax, optax), (schedules, optax.schedules), (transforms, optax.transforms), (contrib, optax.contrib)]
ROOT = Path(optax.__file__).parent
LIST = Path(__file__).parent / "known_failures.txt"
SLOW = ("_src/alias_test.py", "contrib/_common_test.py")  # whole trainings of every optimizer
SAMPLE = 12  # one of so many cases of these


def known_failures() -> dict[str, str]:
    """The tests that fail, with the reason of each."""
    rows = [line.partition(" | ") for line in LIST.read_text().splitlines() if not line.startswith("#")]
    return {name.strip(): reason.strip() for name, _, reason in rows}


def replacements() -> dict[int, Any]:
    """gradtx's objects by the identities of Optax's that they stand for."""
    found: dict[int, Any] = {}
    for ours, theirs in PAIRS:
        for name in dir(theirs):
            if not name.startswith("__") and not isinstance(getattr(theirs, name), type(sys)):
                own, original = getattr(ours, name), getattr(theirs, name)
                if own is not original:
                    found[id(original)] = own
    return found


def replace() -> int:
    """Put them into all modules of Optax; how many places that were."""
    own, places = replacements(), 0
    for module in [module for name, module in sys.modules.items() if name.partition(".")[0] == "optax"]:
        for name, x in list(vars(module).items()):
            if id(x) in own:
                setattr(module, name, own[id(x)])
                places += 1
    return places


def name_of(nodeid: str) -> str:
    """The name of a test in the list: its file in Optax, its class, itself."""
    return nodeid.rpartition("site-packages/optax/")[2]


def compare(run: set[str], failed: set[str], known: Iterable[str]) -> tuple[list[str], list[str]]:
    """The tests that fail without being listed, and the rows of the list of which none fails, though some ran."""
    rows = {row: set(fnmatch.filter(run, row)) for row in known}
    new = failed - set().union(*rows.values())
    return sorted(new), sorted(row for row, tests in rows.items() if tests and not tests & failed)


class Outcomes:
    """What became of the tests of one run."""

    def __init__(self) -> None:
        self.failed: set[str] = set()
        self.run: set[str] = set()

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.run.add(name_of(report.nodeid))
        if report.failed:
            self.failed.add(name_of(report.nodeid))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: Any) -> None:
        new, fixed = compare(self.run, self.failed, known_failures())
        print(f"\n{len(self.run)} of Optax {optax.__version__}'s tests ran on gradtx.optax, {len(self.failed)} fail")
        for title, names in {"not in the list, and fails": new, "in the list, and passes": fixed}.items():
            for name in names:
                print(f"{title}: {name}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED if new or fixed or not self.run else pytest.ExitCode.OK


def pytest_addoption(parser: Any) -> None:
    parser.addoption("--optax-slow", action="store_true", help="all trainings, not a sample of them")


def pytest_configure(config: Any) -> None:
    config.addinivalue_line("markers", "optax_slow: trains until it converges")
    config.pluginmanager.register(Outcomes())
    flags.FLAGS(["pytest"])  # Chex reads some
    assert replace() > 100, "Optax's modules hold other objects than expected"


def pytest_collection_modifyitems(config: Any, items: list[Any]) -> None:
    slow = [item for item in items if name_of(item.nodeid).startswith(SLOW)]  # a tuple: either of them
    for item in slow:
        item.add_marker(pytest.mark.optax_slow)
    if not config.getoption("--optax-slow"):
        left_out = set(slow) - set(slow[::SAMPLE])
        items[:] = [item for item in items if item not in left_out]
