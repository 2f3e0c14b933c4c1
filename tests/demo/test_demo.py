"""The main job, from its command line to its files."""

import functools
import re
import sys
from typing import Any

import jax
import numpy as np
import pytest

import gradtx as gx
from gradtx.demo import digits
from gradtx.demo.__main__ import main
from gradtx.demo.compared import COMPARED, optimizers
from gradtx.plot.over_steps import smooth
from gradtx.values.value import text_of

pytestmark = pytest.mark.slow

load_once = functools.cache(digits.load)


def trained(tx, steps=5, seed=0):
    return digits.train_network(tx, load_once(), steps, 32, seed, lambda done: None)


def test_compares_all_optimizers_and_draws_them(shown, tmp_path):
    out = shown("--steps", "3", "--batch-size", "16", "--seed", "1")
    plain = " ".join(out.split())  # as if the terminal were endless
    for name, tx in optimizers("digits", 3).items():
        assert re.search(rf"^{name} +\S+e[-+]\d\d +\d+\.\d% +[\d,]+ +(0|4|8|12|16)\.0$", out, re.MULTILINE), name
        assert text_of(tx) in plain
    assert "Steps: 3, each of 16 images; seed: 1; device: cpu." in plain
    figure = tmp_path / "new" / "out" / "optimizers.png"
    assert f"Loss curves: {figure}" in out
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_an_optimizer_can_be_pasted_back_from_the_table(shown, monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    out = shown("--steps", "3", "--only", "adamw")
    _, _, row, *rest = out.splitlines()
    pasted = "\n".join(rest[: rest.index("")])
    assert pasted.count("\n") >= 2
    again = shown("--steps", "3", "--only", "sgd", "--only", "sgd", "--optimizer", pasted, "--optimizer", "chain()")
    assert [line.split()[0] for line in again.splitlines() if "%" in line] == ["sgd", "custom", "custom"]
    loss, accuracy = row.split()[1:3]
    assert re.search(rf"^custom 1 +{re.escape(loss)} +{accuracy}", again, re.MULTILINE)


@pytest.mark.parametrize("task", [(), ("--surface", "ravine")], ids=str)
def test_what_follows_the_loss_is_told_it(shown, task):
    out = shown(*task, "--steps", "3", "--optimizer", "chain(sgd(0.1), reduce_on_plateau(patience=1))")
    assert "custom 1" in out


def test_a_diverging_optimizer_is_shown_too(shown):
    assert re.search(r"^custom 1 +nan ", shown("--steps", "4", "--optimizer", "sgd(1e30)"), re.MULTILINE)


def test_the_step_compiles_once_for_all_learning_rates():
    step: Any = digits.train_step
    step.clear_cache()
    for rate in (1e-3, 1e-2):
        trained(gx.adam(rate))
    assert step._cache_size() == 1
    for steps in (20, 40):
        trained(optimizers("digits", steps)["adamw"])
    assert step._cache_size() == 2


def test_the_step_donates_parameters_and_state():
    tx, params = gx.adam(1e-3), digits.initial(0)
    state = tx.init(params)
    digits.train_step(tx, params, state, *next(digits.batches(0, *load_once().train, 8)))
    assert all(x.is_deleted() for x in jax.tree.leaves((params, state)) if x.ndim)  # a scalar may have been unused


def test_all_start_from_the_same_weights_and_see_the_same_batches():
    still = [trained(tx).losses for tx in (gx.scale(0.0), gx.sgd(0.0), gx.adam(0.0))]
    np.testing.assert_array_equal(still[0], still[1])
    np.testing.assert_array_equal(still[0], still[2])
    assert len(set(still[0])) == 5  # each batch is another one
    moving = trained(gx.adam(1e-3))
    assert moving.losses[0] == still[0][0]
    np.testing.assert_array_equal(trained(gx.adam(1e-3)).losses, moving.losses)
    assert trained(gx.adam(1e-3), seed=1).losses[0] != moving.losses[0]


def test_the_batches_of_an_epoch_hold_each_image_once():
    rows = np.arange(10, dtype=np.float32)
    seen = [images for images, _ in zip(digits.batches(0, rows, rows, 4), range(5), strict=False)]
    drawn = np.concatenate([images for images, _ in seen])
    np.testing.assert_array_equal(np.sort(drawn[:10]), rows)
    np.testing.assert_array_equal(np.sort(drawn[10:]), rows)
    assert not np.array_equal(drawn[:10], drawn[10:])


def test_training_and_test_images_are_different_ones():
    (images, labels), (others, answers) = load_once()
    assert images.dtype == others.dtype == np.float32
    assert images.shape == (1437, 64)
    assert others.shape == (360, 64)
    assert set(labels) == set(answers) == set(range(10))
    assert not {x.tobytes() for x in images} & {x.tobytes() for x in others}


def test_a_curve_is_smoothed_by_the_mean_of_the_last_steps():
    np.testing.assert_allclose(smooth(np.array([4.0, 2.0, 6.0, 1.0]), 3), [4.0, 3.0, 4.0, 3.0])


def test_adam_learns_the_digits():
    run = digits.train_network(optimizers("digits", 600)["adam"], load_once(), 600, 64, 0, lambda done: None)
    assert run.accuracy >= 0.97
    assert run.loss < 2e-3
    assert run.memory == pytest.approx(8.0, abs=0.01)


WHOLE = "must be a whole number, at least {} and below 2**31, got {}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--steps", "0"), "argument --steps: " + WHOLE.format(1, "'0'")),
        (("--steps", "1e3"), "argument --steps: " + WHOLE.format(1, "'1e3'")),
        (("--steps", "9" * 5000), "argument --steps: " + WHOLE.format(1, "'" + "9" * 39)),
        (("--batch-size", "-3"), "argument --batch-size: " + WHOLE.format(1, "'-3'")),
        (("--batch-size", "1438"), "argument --batch-size: there are 1437 training images, got 1438"),
        (("--seed", "-1"), "argument --seed: " + WHOLE.format(0, "'-1'")),
        (("--surface", "hill"), "argument --surface: invalid choice: 'hill' (choose from "),
        (("--surface", "ravine", "--seed", "0"), "argument --seed: a surface has no images and no random start; leave"),
        (("--surface", "ravine", "--batch-size", "9"), "argument --batch-size: a surface has no images and no random"),
        (
            ("--surface", "saddle", "--steps", "1000001"),
            "argument --steps: must be at most 1000000 over a surface, got",
        ),
        (("--schedule", "0.5"), "argument --schedule: the expression is a number, not a schedule; write constant(0.5)"),
        (("--schedule", "cosin(1, 9)"), "argument --schedule: column 1: unknown name 'cosin'; did you mean cosine"),
        (("--schedule", "cosine(1, -1)"), "argument --schedule: column 1: cosine: steps must be "),
        (
            ("--schedule", "cosine(1.0, 9)", "--optimizer", "chain(scale(-0.1))"),
            "argument --schedule: chain(scale(factor=-0.1)) has no learning_rate that the schedule could multiply",
        ),
        (("--only", "adma"), "argument --only: invalid choice: 'adma' (choose from "),
        (("--optimizer", "adam(1e-3, b1=1.5)"), "argument --optimizer: column 1: adam: b1 must be in [0, 1), got 1.5"),
        (("--optimizer", "0.1"), "argument --optimizer: the expression is a number, not a transformation"),
        (("--optimizer", "adamm(1)"), "argument --optimizer: column 1: unknown name 'adamm'; did you mean adam"),
    ],
    ids=lambda x: " ".join(x)[:30] if isinstance(x, tuple) else "",
)
def test_wrong_arguments_are_refused(refusal, arguments, message):
    assert message in refusal(*arguments)


def test_an_unknown_name_lists_the_names(refusal):
    message = refusal("--only", "adamm")
    assert all(name in message for name in COMPARED)


def test_a_directory_that_cannot_be_made_is_an_error(refusal, tmp_path):
    (tmp_path / "file").touch()
    message = refusal("--out", str(tmp_path / "file" / "out"))
    assert f"argument --out: can't make the directory {str(tmp_path / 'file' / 'out')!r}: Not a directory" in message


def test_a_figure_that_cannot_be_written_is_an_error(capsys, tmp_path):
    (tmp_path / "optimizers.png").mkdir()
    with pytest.raises(SystemExit):
        main(["--steps", "1", "--only", "sgd", "--out", str(tmp_path)])
    assert "argument --out: can't write" in capsys.readouterr().err


def test_missing_packages_are_named_with_the_remedy(refusal, monkeypatch):
    monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    message = refusal("--steps", "1")
    assert "rich and scikit-learn not installed; pip install rich scikit-learn" in message
