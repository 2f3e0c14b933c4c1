"""The comparison of optimizers on text, with a model that learns nothing in its few steps."""

import json

import pytest

from benchmarks import comparison
from gradtx.demo.compared import ON_TEXT

pytestmark = pytest.mark.slow


def test_every_optimizer_of_the_demo_is_in_it():
    assert comparison.MIDDLE.keys() == ON_TEXT.keys()


@pytest.fixture(scope="module")
def row():
    return comparison.compare("adafactor", comparison.QUICK)


def test_a_row_has_the_best_of_five_rates_and_three_seeds(row):
    assert len(row["rates"]) == len(row["bits"]) == 5
    assert row["rates"] == [0.001, 0.0032, 0.01, 0.032, 0.1]
    assert row["bits"][row["best"]] == min(row["bits"]) == row["seeds"][0] == row["curve"][-1][1]
    assert len({*row["bits"]}) == 5
    assert len({*row["seeds"]}) == 3
    assert str(row["rates"][row["best"]]) in row["optimizer"]


def test_what_diverges_is_nothing_in_json():
    assert json.dumps(comparison.finite(float("nan"))) == "null"
    assert comparison.mean([1.0, None]) == float("inf")


def test_the_figure_is_drawn_where_something_diverged_too(row, tmp_path):
    broken = row | {"title": "broken", "bits": [3.0, *[None] * 4], "best": 0, "seeds": [3.0, None, None]}
    comparison.draw([row, broken], tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000
