"""The flags that the tests run under, and what is let go of between them."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax._src import pjit

from tests.conftest import (
    COMPILED,
    IS_FAST,
    LOWERED,
    caches_of_jax,
    let_go_of_programs,
    pytest_collection_modifyitems,
    pytest_ignore_collect,
)
from tests.xla import FAST_XLA, accepts

COMPILATION = "/jax/core/compile/backend_compile_duration"


def test_a_flag_that_xla_does_not_know_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert not accepts("--xla_no_such_flag=true")
    (verdict,) = tmp_path.iterdir()
    assert verdict.read_text() == "no"
    verdict.write_text("yes")  # read, not tried again
    assert accepts("--xla_no_such_flag=true")


def test_flags_are_on_once_where_they_are_on():
    assert os.environ.get("XLA_FLAGS", "").count(FAST_XLA) == IS_FAST


def test_what_is_measured_runs_with_the_default_flags_alone():
    def collected(**environment):
        run = [
            sys.executable,
            "-m",
            "pytest",
            "-n",
            "0",
            "--collect-only",
            "-q",
            "tests/wrappers/test_wrapper_costs.py",
        ]
        ours = {name: x for name, x in os.environ.items() if name not in ("XLA_FLAGS", "GRADTX_TESTS_DEFAULT_XLA")}
        return subprocess.run(run, env=ours | environment, capture_output=True, text=True).stdout

    assert ("deselected" in collected()) == accepts(FAST_XLA)
    assert "deselected" not in collected(GRADTX_TESTS_DEFAULT_XLA="1")


@pytest.mark.parametrize(
    ("wanted", "name", "is_read"),
    [
        ("default_xla and not slow", "test_budget", True),
        ("default_xla and not slow", "test_layout", False),
        ("default_xla or slow", "test_layout", True),
        ("not slow", "test_layout", True),
        ("", "test_layout", True),
    ],
)
def test_a_run_of_what_is_measured_reads_its_files_alone(wanted, name, is_read):
    config: Any = SimpleNamespace(option=SimpleNamespace(markexpr=wanted))
    assert pytest_ignore_collect(Path(f"tests/{name}.py"), config) is (None if is_read else True)
    assert pytest_ignore_collect(Path("tests"), config) is None


def test_what_is_measured_elsewhere_is_refused(request):
    item = request.node
    item.add_marker(pytest.mark.default_xla)
    with pytest.raises(pytest.UsageError, match="is marked default_xla: it belongs in a file named test_benchmark, "):
        pytest_collection_modifyitems(request.config, [item])


def test_a_cache_of_compiled_programs_has_room_for_a_new_function(monkeypatch):
    assert len(caches_of_jax(COMPILED)) == 2
    small = pjit.make_jit_cpp_cache(8)
    for module, name in COMPILED:
        monkeypatch.setattr(sys.modules[module], name, small)

    def run() -> Any:
        f = jax.jit(lambda x, i: x + i, static_argnums=1)
        for i in range(12):
            f(1.0, i)
        return f

    first, second = run(), run()
    assert first._cache_size() == 8
    assert second._cache_size() == 0  # what a test that counts would see
    let_go_of_programs()
    assert run()._cache_size() > 0


def test_lowered_programs_are_let_go_of_and_compiled_ones_are_not():
    compiled = []

    def note(event: str, duration_secs: float, **rest: str | int) -> None:
        compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(note)
    step, x = jax.jit(lambda x: 3 * x + 1), jnp.ones(7)
    step(x)
    assert COMPILATION in compiled
    caches = caches_of_jax(LOWERED)
    assert caches
    assert all(cache.cache_info().currsize for cache in caches)
    let_go_of_programs()
    assert not any(cache.cache_info().currsize for cache in caches)
    compiled.clear()
    step(x)
    assert COMPILATION not in compiled
