"""What all tests run under: 64-bit types, no silent broadcasting, eight devices, and XLA's fast way to a slower
program.
"""

import gc
import itertools
import os
import sys

import pytest

from tests.xla import DEVICES, FAST_XLA, with_fast_flags

# LAPACK's threads would wait for those of the other workers.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Tests of what users' programs cost, and of peers to the last bits, run with the defaults, as users do.
DEFAULT_XLA = ("test_benchmark", "test_budget", "test_parity_", "test_wrapper_costs")


def choose_xla() -> bool:
    """Whether the tests run with the fast flags; set before JAX is imported, and handed on to workers."""
    flags = os.environ.get("XLA_FLAGS", "")
    if "jax" not in sys.modules:
        flags = flags if DEVICES in flags else f"{flags} {DEVICES}".strip()
        os.environ["XLA_FLAGS"] = flags = with_fast_flags(flags)
    return FAST_XLA in flags


IS_FAST = choose_xla()

import jax  # noqa: E402  # behind its flags

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")


LOWERED = (("jax._src.pjit", "_pjit_lower"), ("jax._src.interpreters.pxla", "_cached_lowering_to_hlo"))
COMPILED = (("jax._src.pjit", "_cpp_pjit_cache_fun_only"), ("jax._src.pjit", "_cpp_pjit_cache_explicit_attributes"))
EVERY = 25  # tests


def caches_of_jax(names):
    """Those that there are: JAX may rename them; tests then take longer."""
    found = (getattr(sys.modules.get(module), name, None) for module, name in names)
    return [cache for cache in found if cache is not None]


def let_go_of_programs():
    """JAX keeps up to 2048 programs as they were before XLA compiled them, 1.4 MB each, and every further program is
    lowered the slower the more there are. Of compiled ones it keeps 8192, and when it is full a new function finds no
    place: `_cache_size()` is 0 and each call takes the long way. They are dropped only then, since they are compiled
    anew.
    """
    for cache in caches_of_jax(LOWERED):
        cache.cache_clear()
    for cache in caches_of_jax(COMPILED):
        if cache.size() > cache.capacity() * 3 // 4:
            cache.clear()


def set_aside():
    """Python's collector looks no more at what is there now: JAX calls it after each trace under `jax.checking_leaks`,
    and going through all imported modules took three quarters of such a test. Now and then again, for what has come
    since and the garbage among it.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def pytest_collection_finish():
    set_aside()


def pytest_runtest_teardown(item, count=itertools.count(1)):  # noqa: B008  # one count for all tests
    done = next(count)
    if done % EVERY == 0:
        let_go_of_programs()
    if done % (8 * EVERY) == 0:
        set_aside()


def pytest_configure(config):
    config.addinivalue_line("markers", "default_xla: measures what XLA makes of a program with its default flags")


def pytest_report_header():
    if IS_FAST:
        return "XLA: flags that compile fast; what is marked default_xla runs with GRADTX_TESTS_DEFAULT_XLA=1"
    return "XLA: default flags"


def pytest_ignore_collect(collection_path, config):
    """A run of nothing but what is measured reads no other file of tests."""
    wanted = config.option.markexpr
    alone = wanted.startswith("default_xla") and " or " not in wanted
    if alone and collection_path.suffix == ".py" and not collection_path.stem.startswith(DEFAULT_XLA):
        return True
    return None  # others decide


def pytest_collection_modifyitems(config, items):
    for item in items:
        if item.path.stem.startswith(DEFAULT_XLA):
            item.add_marker(pytest.mark.default_xla)
        elif item.get_closest_marker("default_xla"):
            beginnings = ", ".join(DEFAULT_XLA)
            raise pytest.UsageError(f"{item.nodeid} is marked default_xla: it belongs in a file named {beginnings}…")
    if IS_FAST:
        measured = [item for item in items if item.get_closest_marker("default_xla")]
        config.hook.pytest_deselected(items=measured)
        items[:] = [item for item in items if item not in measured]


@pytest.fixture
def float32():
    jax.config.update("jax_enable_x64", False)
    yield
    jax.config.update("jax_enable_x64", True)


@pytest.fixture
def closed():
    """Leaves no figure open."""
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


@pytest.fixture
def shown(tmp_path, capsys):
    """Runs the demo with its figure in a fresh directory; gives what it prints."""
    from gradtx.demo.__main__ import main

    def run(*arguments):
        main([*arguments, "--out", str(tmp_path / "new" / "out")])
        return capsys.readouterr().out

    return run


@pytest.fixture
def refusal(capsys):
    """Runs the demo with wrong arguments; gives its last line on stderr."""
    from gradtx.demo.__main__ import main

    def run(*arguments):
        with pytest.raises(SystemExit) as caught:
            main(list(arguments))
        assert caught.value.code == 2
        out, err = capsys.readouterr()
        assert not out
        return err.splitlines()[-1]

    return run
