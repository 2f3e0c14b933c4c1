"""`python -m tests.optax`: Optax's own tests, those that its wheel has, on gradtx.optax.

Arguments go to pytest: `-k cosine`, `--optax-slow` for all trainings and not a sample of them.
"""

import os
import subprocess
import sys

from tests.optax.plugin import ROOT
from tests.xla import with_fast_flags

FILES = [
    *[f"_src/{name}_test.py" for name in ("alias", "base", "combine", "factorized", "linesearch", "lookahead")],
    *[f"_src/{name}_test.py" for name in ("transform", "update")],
    "transforms/*_test.py",
    "schedules/*_test.py",
    "tree_utils/_state_utils_test.py",
    "contrib/_common_test.py",
    *[f"contrib/_{name}_test.py" for name in ("reduce_on_plateau", "schedule_free", "mechanic")],
    *[f"contrib/_{name}_test.py" for name in ("complex_valued", "galore", "privacy", "sam")],
]

if __name__ == "__main__":
    files = [str(path) for pattern in FILES for path in sorted(ROOT.glob(pattern))]
    options = ["-q", "-c", "/dev/null", "--rootdir", str(ROOT), "--import-mode=importlib", "--tb=line"]
    options += ["-p", "no:cacheprovider", "-p", "tests.optax.plugin", "-W", "ignore"]
    flags = {"XLA_FLAGS": with_fast_flags(os.environ.get("XLA_FLAGS", ""))}
    command = [sys.executable, "-m", "pytest", *options, *sys.argv[1:], *files]
    sys.exit(subprocess.call(command, env=os.environ | flags))
