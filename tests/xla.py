"""Flags of XLA for tests; nothing here imports JAX, before which they have to be set."""

import hashlib
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

DEVICES = "--xla_force_host_platform_device_count=8"  # all of them are this one processor
# LLVM makes slower code sooner, which rounds otherwise; XLA's loops and memory are what they are without.
SAME_LOOPS = (
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
    "--xla_cpu_parallel_codegen_split_count=1"
)
# Most tests compile many small programs and run each a few times: with these that takes half the time.
FAST_XLA = f"{SAME_LOOPS} --xla_cpu_use_fusion_emitters=false"


def accepts(flags: str) -> bool:
    """Whether this jaxlib knows all flags: XLA aborts a process on one that it does not know, so a child tries.

    The verdict stays in a file, so that not every run and not every worker has to try.
    """
    key = hashlib.sha256(f"{version('jaxlib')} {flags}".encode()).hexdigest()[:16]
    verdict = Path(tempfile.gettempdir()) / f"gradtx-fast-xla-{os.getuid()}-{key}"
    if not verdict.exists():
        run = [sys.executable, "-c", "import jax; jax.jit(lambda x: x + 1)(1.0)"]
        child = subprocess.run(run, env=os.environ | {"XLA_FLAGS": flags}, capture_output=True)
        whole = verdict.with_name(f"{verdict.name}.{os.getpid()}")
        whole.write_text("no" if child.returncode else "yes")
        whole.replace(verdict)  # at once: another worker may be reading
    return verdict.read_text() == "yes"


def with_fast_flags(flags: str) -> str:
    """These flags and the fast ones, where they are not among them, are known and are wanted."""
    if os.environ.get("GRADTX_TESTS_DEFAULT_XLA") == "1" or FAST_XLA in flags or not accepts(FAST_XLA):
        return flags
    return f"{flags} {FAST_XLA}".strip()
