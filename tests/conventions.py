"""Writes the tables of docs/conventions.md from the rows of the parity tests: python -m tests.conventions

In a section of the page everything behind the mark is made here, the prose ahead of it by hand.
"""

import inspect
from pathlib import Path

from gradtx.values.value import text_of
from tests.golden.keras_rows import folded
from tests.optimizers import test_parity_golden, test_parity_optax
from tests.problems import STEPS
from tests.row import BOUND, Row
from tests.schedules import test_parity_schedules

PAGE = Path(__file__).parent.parent / "docs" / "conventions.md"
MARK = "<!-- made by python -m tests.conventions -->"
LIBRARIES = {
    "Optax": test_parity_optax.ROWS,
    "torch": test_parity_golden.PEERS["torch"],
    "Keras": test_parity_golden.PEERS["keras"],
}

SCHEDULES = {
    "Optax": test_parity_schedules.OPTAX,
    "torch": test_parity_schedules.TORCH,
    "Keras": test_parity_schedules.KERAS,
}


def table(head: list[str], lines: list[list[str]]) -> str:
    return "".join(f"| {' | '.join(cells)} |\n" for cells in [head, ["---"] * len(head), *lines])


def number(x: float) -> str:
    return f"{x:.0e}".replace("e-0", "e-")


def line(library: str, row: Row) -> list[str]:
    words = [f"`{row.call}`", f"`{text_of(row.ours)}`", *filter(None, [row.remark])]
    return [library, "<br>".join(words), f"no option; {number(row.apart)}" if row.apart else number(BOUND)]


def table_of_rule(rule: str) -> str:
    lines = [line(library, row) for library, rules in LIBRARIES.items() for row in rules.get(rule, [])]
    return table(["library", "its call, and below it gradtx's", "equal to"], lines)


def table_of_schedules() -> str:
    lines = [
        [library, f"`{call}`<br>`{text_of(ours)}`", number(test_parity_schedules.bound(call))]
        for library, calls in SCHEDULES.items()
        for call, ours in calls.items()
    ]
    return table(["library", "its call, and below it gradtx's", "equal to"], lines)


def table_of_libraries() -> str:
    lines = [["Optax", "the one installed with the tests", f"each of {STEPS}"]]
    for library in ("torch", "Keras"):
        recording = test_parity_golden.recorded(library.lower())
        lines.append([library, recording.version, ", ".join(map(str, recording.steps))])
    return table(["library", "version", "compared at the steps"], lines)


def made() -> dict[str, str]:
    """What stands behind the mark, by section."""
    rules = dict.fromkeys(rule for rules in LIBRARIES.values() for rule in rules)
    return {rule: table_of_rule(rule) for rule in rules} | {
        "How they were compared": table_of_libraries(),
        "Schedules by themselves": table_of_schedules(),
        "The schedule `folded`": f"```python\n{inspect.getsource(folded.factory)}```\n",
    }


def page(text: str) -> str:
    """The text of the page with what is made in it made anew."""
    new = made()
    sections = text.split("\n## ")
    for i, section in enumerate(sections):
        content = new.pop(section.partition("\n")[0], None)
        if content is not None:
            sections[i] = f"{section.partition(MARK)[0]}{MARK}\n\n{content}"
    assert not new, f"docs/conventions.md has no section {', '.join(new)}: write its heading, a sentence, and the mark"
    return "\n## ".join(sections)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
