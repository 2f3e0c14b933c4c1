"""The runner of Optax's own tests: what it puts where, and what it calls a failure."""

import subprocess
import sys

from tests.optax.plugin import ROOT, compare, known_failures, replacements


def test_a_new_failure_and_a_listed_test_that_passes_are_told():
    known = ["a::one", "a::two*", "b::three"]
    assert compare({"a::one", "a::two1", "a::two2"}, {"a::one", "a::two2"}, known) == ([], [])
    assert compare({"a::one", "a::two1"}, {"a::two1", "a::four"}, known) == (["a::four"], ["a::one"])
    assert compare({"a::two1", "a::two2"}, set(), known) == ([], ["a::two*"])


def test_every_listed_failure_has_a_reason_and_a_test_of_its_name():
    for row, reason in known_failures().items():
        file, _, test = row.split("::")
        assert reason
        assert f"def {test.rstrip('*0123456789')}" in (ROOT / file).read_text()


def test_optaxs_names_are_replaced_wherever_they_stand():
    names = {getattr(own, "__name__", "") for own in replacements().values()}
    assert {"adam", "scale_by_adam", "masked", "cosine_decay_schedule", "reduce_on_plateau"} <= names


def test_the_command_runs_tests_of_optax_on_gradtx():
    command = [
        sys.executable,
        "-m",
        "tests.optax",
        "-p",
        "no:xdist",
        "-k",
        "test_freeze or test_rms_match or test_masked_state_structure",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout
    assert "tests ran on gradtx.optax, 1 fail" in done.stdout
