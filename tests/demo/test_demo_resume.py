"""A run on text that is broken off ends, when it goes on, with the bits of one that is not."""

import os
import re
import signal

import jax
import numpy as np
import pytest

import gradtx as gx
from gradtx.demo import text as on
from gradtx.demo.compared import on_text
from gradtx.demo.resume import Checkpoints
from gradtx.demo.transformer import ModelSize, initial_weights
from tests.demo.commands import finish, start, wait_until

pytestmark = pytest.mark.slow

TINY = on.Setup(ModelSize(1, 16, 16), 6, 4, 0)
STEPS, NAME = 12, "adamw_8bit"  # a checkpoint after each; its second moments are rounded at random
COMMAND = ["text", "--quick", "--steps", str(STEPS), "--only", NAME, "--devices", "2"]


class Broken(Exception):
    pass


@pytest.mark.parametrize("name", ["adamw", "adamw_8bit", "muon", "soap", "schedule_free"])
def test_a_run_that_goes_on_ends_with_the_same_bits(tmp_path, name):
    def break_off(done, loss):
        if done == 4:
            raise Broken

    tx = on_text(TINY.steps)[name]
    with pytest.raises(Broken):
        on.train_on_text(tx, TINY, None, Checkpoints(tmp_path), break_off)
    assert Checkpoints(tmp_path).latest() == 3
    heard = []
    again = on.train_on_text(tx, TINY, None, Checkpoints(tmp_path), lambda done, loss: heard.append(done))
    assert heard == [4, 5, 6]
    whole = on.train_on_text(tx, TINY)
    np.testing.assert_array_equal(again.losses, whole.losses)
    np.testing.assert_array_equal(again.curve[:, [0, 2]], whole.curve[:, [0, 2]])
    jax.tree.map(np.testing.assert_array_equal, again.params, whole.params)
    seconds = again.curve[:, 1]
    assert (np.diff(seconds) > 0).all()


def test_a_run_that_is_done_is_not_done_again(tmp_path):
    run = on.train_on_text(gx.adam(1e-3), TINY, None, Checkpoints(tmp_path))
    again = on.train_on_text(gx.adam(1e-3), TINY, None, Checkpoints(tmp_path), lambda done, loss: pytest.fail("a step"))
    assert (again.bits, again.seconds) == (run.bits, run.seconds)


def test_the_last_two_checkpoints_stay(tmp_path):
    on.train_on_text(gx.adam(1e-3), TINY, None, Checkpoints(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["5", "6"]


def test_a_run_goes_on_on_other_devices(tmp_path):
    four = on.mesh_over(jax.devices()[:4])

    def break_off(done, loss):
        if done == 4:
            raise Broken

    with pytest.raises(Broken):
        on.train_on_text(gx.adamw(1e-3), TINY, four, Checkpoints(tmp_path), break_off)
    again = on.train_on_text(gx.adamw(1e-3), TINY, None, Checkpoints(tmp_path))
    np.testing.assert_allclose(again.losses, on.train_on_text(gx.adamw(1e-3), TINY).losses, rtol=1e-5)


# ---- processes that end ----


def last_of(folder):
    """The parameters and the state at the end, and what was measured."""
    params = on.lay_out_weights(initial_weights(0, on.SMALL), on.mesh_over(jax.devices()[:2]))
    tx = on_text(STEPS)[NAME]
    checkpoints = Checkpoints(folder / "text" / NAME)
    assert checkpoints.latest() == STEPS
    params, state, progress = checkpoints.restore(tx, params)
    return [np.asarray(x).tobytes() for x in jax.tree.leaves((params, gx.to_flat(tx, state)))], progress


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    finish(start(folder, *COMMAND))
    return folder


@pytest.mark.parametrize("way", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill -9"])
def test_a_command_that_is_ended_goes_on_to_the_same_bits(float32, whole, tmp_path, way):
    first = start(tmp_path, *COMMAND)
    wait_until((tmp_path / "text" / NAME / "3").exists, first)
    os.kill(first.pid, way)
    out, err = first.communicate()
    assert not out
    if way == signal.SIGINT:
        assert first.returncode == 130
        words = " ".join(["python -m gradtx.demo", *COMMAND, "--out", str(tmp_path), "--resume"])
        assert err.splitlines()[-1] == f"Stopped. {words} goes on from the last checkpoint."
    else:
        assert first.returncode == -9
    out, err = finish(start(tmp_path, *COMMAND, "--resume"))
    done = re.search(rf"^{NAME} goes on from step (\d+) of {STEPS}\.$", err, re.MULTILINE)
    assert done, err
    assert 3 <= int(done[1]) < STEPS
    assert re.search(rf"^{NAME} ", out, re.MULTILINE)
    (bits, progress), (expected, unbroken) = last_of(tmp_path), last_of(whole)
    assert bits == expected
    assert progress.losses == unbroken.losses
    assert [x[2] for x in progress.curve] == [x[2] for x in unbroken.curve]


# ---- what is refused ----


def run_tiny(shown, *arguments):
    return shown("text", "--quick", "--steps", "1", "--optimizer", "sgd(0.1)", *arguments)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--quick", "--steps", "2", "--optimizer", "sgd(0.1)"), "its number of steps was 1, not 2"),
        (
            ("--quick", "--steps", "1", "--optimizer", "sgd(0.2)"),
            r"its optimizer was sgd\(learning_rate=0.1\), not sgd",
        ),
        (("--quick", "--steps", "1", "--optimizer", "sgd(0.1)", "--seed", "1"), "its seed was 0, not 1"),
        (("--quick", "--steps", "1", "--optimizer", "sgd(0.1)", "--batch-size", "4"), "its batch size was 8, not 4"),
        (
            ("--steps", "1", "--optimizer", "sgd(0.1)"),
            "its model was layers 1, width 64, context 64, not layers 4, width 144, context 128",
        ),
    ],
    ids=["steps", "optimizer", "seed", "batch", "model"],
)
def test_checkpoints_of_another_run_are_refused(shown, refusal, tmp_path, arguments, reason):
    run_tiny(shown)
    folder = tmp_path / "new" / "out"
    message = refusal("text", *arguments, "--resume", "--out", str(folder))
    assert re.search(reason, message)
    assert f"argument --resume: the checkpoints in '{folder / 'text' / 'custom_1'}' are those of another run" in message
    assert message.endswith("give the command that made them, or leave --resume out and begin anew")
    assert (folder / "text" / "custom_1" / "1").exists()


def test_without_resume_a_run_begins_anew_and_with_it_where_there_is_nothing(shown, tmp_path, capsys):
    def made(place):
        return (tmp_path / "new" / "out" / "text" / "custom_1" / "1" / place).stat().st_mtime_ns

    run_tiny(shown, "--resume")
    first = made("params")
    run_tiny(shown, "--resume")
    assert made("params") == first
    run_tiny(shown)
    assert made("params") > first
