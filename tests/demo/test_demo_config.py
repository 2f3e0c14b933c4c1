"""The demo compares optimizers that stand in files."""

import json

import pytest

import gradtx as gx
from gradtx.values.value import text_of

pytestmark = pytest.mark.slow

TX = gx.chain(gx.clip_by_global_norm(1.0), gx.adamw(gx.cosine(3e-3, 3), weight_decay=0.1))


@pytest.fixture
def file(tmp_path):
    def write(content, name="adamw.json"):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    return write


def test_files_are_compared_beside_expressions_in_their_order(shown, file):
    first, last = file(gx.to_config(TX)), file(gx.to_config(gx.sgd(0.25)), "sgd.json")
    out = shown("--steps", "3", "--config", first, "--optimizer", "adam(1e-3)", "--config", last)
    plain = " ".join(out.split())
    places = [plain.index(text) for text in (text_of(TX), "adam(learning_rate=0.001)", "sgd(learning_rate=0.25)")]
    assert places == sorted(places)
    assert [line.split()[:2] for line in out.splitlines() if "%" in line and "custom" in line] == [
        ["custom", "1"],
        ["custom", "2"],
        ["custom", "3"],
    ]


def test_a_file_walks_over_a_surface_under_a_schedule(shown, file):
    out = shown(
        "--surface",
        "ravine",
        "--steps",
        "3",
        "--config",
        file(gx.to_config(gx.sgd(0.25))),
        "--schedule",
        "constant(0.5)",
    )
    assert "sgd(learning_rate=(constant(value=0.5) * 0.25))" in " ".join(out.split())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no JSON: Expecting property name enclosed in double quotes: line 1 column 2"),
        ({"gradtx": 9, "optimizer": {}}, "from_config: the config is of version 9; this gradtx reads version 1"),
        (
            {"gradtx": 1, "optimizer": {"chain": {"parts": [{"adamm": {}}]}}},
            "from_config: parts[0]: unknown name 'adamm'; did you mean adam",
        ),
        (
            {"gradtx": 1, "optimizer": {"sgd": {"learning_rate": -1}}},
            "from_config: the value: sgd: learning_rate must be in [0, inf), got -1",
        ),
        (gx.to_config(gx.constant(1.0)), "adamw.json' holds a schedule, not an optimizer"),
    ],
)
def test_a_file_that_is_refused_says_why(refusal, file, content, message):
    line = refusal("--config", file(content))
    assert "argument --config: " in line
    assert message in line


def test_a_file_that_is_not_there(refusal, tmp_path):
    line = refusal("--config", str(tmp_path / "none.json"))
    assert line.endswith(f"argument --config: can't read {str(tmp_path / 'none.json')!r}: No such file or directory")


def test_an_optimizer_that_does_not_suit_the_parameters(refusal, file):
    tx = gx.chain(gx.sgd(0.1), gx.freeze(gx.by_path("bias")))
    message = refusal("--optimizer", "sgd(0.1)", "--config", file(gx.to_config(tx)))
    assert "the optimizer custom 2 does not suit the parameters: freeze: where, by_path(pattern='bias')" in message
    assert "does not suit" in refusal("--surface", "saddle", "--config", file(gx.to_config(tx)))
