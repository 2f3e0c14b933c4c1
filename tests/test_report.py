"""The figures of the pages are those of benchmarks/results, and none of them was measured beside other work."""

import json
import re

import pytest

from benchmarks import all as every
from benchmarks import record, report, run, tables
from benchmarks.record import pair


def spaced(text):
    """With ordinary spaces between numbers and units."""
    return text.replace("\N{NO-BREAK SPACE}", " ")


COMMAND = "python -m benchmarks.overhead"


def a_record(**changed):
    return {
        "benchmark": "overhead",
        "command": COMMAND,
        "date": "2026-11-30",
        "quick": False,
        "load": 0.25,
        "machine": {"CPU": "Processor", "cores": 2, "JAX runs on": "cpu"},
        "versions": {"jax": "1.0", "optax": "2.0"},
        "rows": [{"title": "construct", **pair([2e-5, 2e-5, 4e-5], [1e-5, 2e-5, 2e-5])}],
    } | changed


@pytest.fixture
def results(tmp_path, monkeypatch):
    """A folder in the place of that for the pages, and a page beside it."""
    folder = tmp_path / "results"
    folder.mkdir()
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("above\n<!-- benchmarks: overhead -->\n<!-- end -->\nbelow\n")
    monkeypatch.setattr(record, "RESULTS", folder)
    monkeypatch.setattr(report, "ROOT", tmp_path)
    return folder


def place(folder, **changed):
    (folder / "overhead.json").write_text(json.dumps(a_record(**changed)))


# ---- the pages ----


def test_the_pages_are_what_the_figures_say():
    found = report.blocks()
    pages = report.pages()
    for page in pages:
        text = page.read_text()
        assert report.with_blocks(text, found) == text, f"{page} is not: call python -m benchmarks.report"
    marks = [name for page in pages for name in re.findall(r"<!-- benchmarks: (\w+) -->", page.read_text())]
    assert sorted(marks) == sorted(found)  # each table is on one page


def test_every_record_there_is_for_the_pages():
    names = [path.stem for path in record.RESULTS.glob("*")]
    assert names
    for name in names:
        assert name in tables.NAMES
        assert record.read(name)


def test_a_page_is_written_once_and_a_figure_by_hand_is_found(results, capsys):
    place(results)
    with pytest.raises(SystemExit, match=r"not what benchmarks/results says: README.md; call python -m benchmarks.rep"):
        report.main(["--check"])
    report.main([])
    page = results.parent / "README.md"
    text = page.read_text()
    assert "| construct | 20.0 µs | 20.0 µs | 0.50 [0.50, 0.75] |" in spaced(text)
    assert text.startswith("above\n")
    assert text.endswith("<!-- end -->\nbelow\n")
    flat = " ".join(text.split())
    assert "on 30 November 2026 on 2 cores (Processor), with JAX 1.0, Optax 2.0, by `python -m benchmarks.over" in flat
    assert "load when it began: 0.25." in flat
    report.main(["--check"])
    report.main([])
    assert page.read_text() == text
    assert capsys.readouterr().out.splitlines()[-1] == "every page is as benchmarks/results says"
    page.write_text(text.replace("| 20.0", "| 10.0"))
    with pytest.raises(SystemExit, match="not what benchmarks/results says"):
        report.main(["--check"])


def test_what_is_not_measured_yet_says_how_it_is(results):
    report.main([])
    line = "Not measured yet on a machine without other work: overhead (`python -m benchmarks.all`)."
    assert line in (results.parent / "README.md").read_text()
    apart = report.absent("gpu", "overhead", "comparison", "zero")
    commands = ("gpu", "all", "comparison")
    assert apart.endswith(f" ({', '.join(f'`python -m benchmarks.{name}`' for name in commands)}).\n")


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("<!-- benchmarks: more -->\n<!-- end -->\n", "a page asks for 'more', expected one of accumulation, "),
        ("<!-- benchmarks: step -->\n", "a page has 1 marks of tables, and 0 end with <!-- end -->"),
        (2 * "<!-- benchmarks: step -->\n" + "<!-- end -->\n", "a page has 2 marks of tables, and 1 end"),
    ],
)
def test_marks_that_are_wrong_are_refused(page, message):
    with pytest.raises(ValueError, match=message):
        report.with_blocks(page, dict.fromkeys(["accumulation", "step"], ""))


# ---- what was measured beside other work ----


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"load": 1.25}, "it was measured at a load of 1.25, expected at most 1.0 at the start: end what else runs"),
        ({"load": None}, "its load is not recorded: end what else runs"),
        ({"quick": True}, "it was measured with --quick, which is for a look: end what else runs"),
        ({"command": f"{COMMAND} --tree one"}, "its command, .* --tree one, measures a part of what the pages have"),
    ],
)
def test_the_report_refuses_figures_that_don_t_count(results, changed, message):
    place(results, **changed)
    for arguments in ([], ["--check"]):
        with pytest.raises(SystemExit, match=f"overhead.json is refused, since {message}.* --only overhead"):
            report.main(arguments)
    assert "construct" not in (results.parent / "README.md").read_text()


def test_a_busy_machine_measures_nothing_for_the_pages(results, monkeypatch, capsys):
    monkeypatch.setattr(record, "load", lambda seconds: 1.01)

    def rows(quick):
        raise AssertionError("something is measured")

    with pytest.raises(SystemExit) as caught:
        run.main("overhead", "What calls take.", rows, ["--json", str(results / "overhead.json")])
    assert caught.value.code == run.BUSY
    words = " ".join(capsys.readouterr().err.split())
    assert "overhead.json is for the pages, and nothing is measured for it: it was measured at a load of 1.01" in words
    assert "expected at most 1.0 at the start: end what else runs, then call python -m benchmarks.all --only" in words
    assert not [*results.iterdir()]


def test_elsewhere_a_busy_machine_may_measure_and_says_its_load(results, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(record, "load", lambda seconds: 1.01)
    path = tmp_path / "numbers.json"
    run.main("overhead", "What calls take.", lambda quick: a_record()["rows"], ["--json", str(path)])
    assert "when it began: 1.01" in " ".join(capsys.readouterr().out.split())
    path.rename(results / "overhead.json")
    with pytest.raises(ValueError, match=r"a load of 1\.01"):
        record.read("overhead")


def test_what_is_no_matter_of_other_work_has_the_status_of_an_error(results, monkeypatch):
    monkeypatch.setattr(record, "load", lambda seconds: 1.01)
    with pytest.raises(SystemExit) as caught:
        run.main(
            "overhead", "What calls take.", lambda quick: [], ["--quick", "--json", str(results / "overhead.json")]
        )
    assert caught.value.code == 2


def test_the_path_of_the_figures_is_no_part_of_the_command(tmp_path):
    folder = tmp_path / "with a space"
    folder.mkdir()
    for i, arguments in enumerate((["--json", str(folder / "0.json")], [f"--json={folder / '1.json'}"])):
        run.main("overhead", "What calls take.", lambda quick: a_record()["rows"], ["--quick", *arguments])
        assert json.loads((folder / f"{i}.json").read_text())["command"] == f"{COMMAND} --quick"


def test_an_idle_machine_measures_for_the_pages(results, monkeypatch):
    monkeypatch.setattr(record, "load", lambda seconds: 1.0)
    path = str(results / "overhead.json")
    run.main("overhead", "What calls take.", lambda quick: a_record()["rows"], ["--json", path])
    found = record.read("overhead")
    assert found
    assert (found["command"], found["load"], found["rows"]) == (COMMAND, 1.0, a_record()["rows"])
    assert {"Python", "gradtx", "jax", "jaxlib", "optax"} <= found["versions"].keys()
    assert [path.name for path in results.iterdir()] == ["overhead.json"]


def test_the_load_is_that_of_others_and_elsewhere_the_average(monkeypatch):
    shown = iter(["9.00 9.00 9.00 2/300 77", "9.00 9.00 9.00 4/300 77"])
    monkeypatch.setattr(record.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(record.Path, "exists", lambda path: True)
    monkeypatch.setattr(record.Path, "read_text", lambda path: next(shown))
    assert record.load(0.1) == 2.0  # of one and of three beside this
    monkeypatch.setattr(record.Path, "exists", lambda path: False)
    monkeypatch.setattr(record.os, "getloadavg", lambda: (0.5, 9.0, 9.0))
    assert record.load() == 0.5


# ---- all in one go ----


@pytest.fixture
def calls(results, monkeypatch):
    """The commands that are run, of which those of matrices fail and those of dispatch don't end."""
    done = []

    def call(command, timeout, cwd, check):
        name = command[2].removeprefix("benchmarks.")
        done.append(name)
        if name == "dispatch":
            raise every.subprocess.TimeoutExpired(command, timeout)
        if name == "overhead":
            place(results)
        return every.subprocess.CompletedProcess(command, int(name == "matrices"))

    monkeypatch.setattr(every.subprocess, "run", call)
    monkeypatch.setattr(every.time, "sleep", lambda seconds: None)
    return done


def test_one_that_fails_leaves_the_others(calls, results, monkeypatch):
    monkeypatch.setattr(record, "load", lambda: 0.0)
    with pytest.raises(SystemExit) as caught:
        every.main([])
    assert calls == [name for name in tables.NAMES if name not in ("comparison", "gpu")]
    assert str(caught.value).splitlines() == [
        "matrices has no new figures: it ended with code 1; its error stands above",
        "dispatch has no new figures: it took more than 600 seconds",
    ]
    assert "| construct |" in (results.parent / "README.md").read_text()


def test_it_waits_until_the_machine_is_idle(calls, monkeypatch, capsys):
    loads = iter([2.0, 1.5, 0.5])
    monkeypatch.setattr(record, "load", lambda: next(loads))
    every.main(["--only", "overhead"])
    assert calls == ["overhead"]
    assert capsys.readouterr().out.count("expected at most 1.0: waiting") == 2


def test_what_other_work_comes_between_is_tried_again(calls, results, monkeypatch):
    monkeypatch.setattr(record, "load", lambda: 0.0)
    codes = [75, 75, 0]
    ended = every.subprocess.CompletedProcess
    monkeypatch.setattr(every.subprocess, "run", lambda command, **_: ended(command, codes.pop(0)))
    every.main(["--only", "overhead"])
    assert not codes
    codes += [75, 75, 75, 0]
    with pytest.raises(SystemExit, match="it ended with code 75"):
        every.main(["--only", "overhead"])
    assert codes == [0]
    codes[:] = [2, 0]  # another error, which does not go away
    with pytest.raises(SystemExit, match="it ended with code 2"):
        every.main(["--only", "overhead"])
    assert codes == [0]


def test_it_gives_up_a_machine_that_stays_busy(calls, monkeypatch):
    monkeypatch.setattr(record, "load", lambda: 2.0)
    with pytest.raises(SystemExit, match=r"overhead has no new figures: 2\.00 other tasks run after 0 minutes"):
        every.main(["--only", "overhead", "--wait", "0"])
    assert not calls
