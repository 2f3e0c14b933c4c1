"""What `import gradtx` does beyond `import optax`, which it can't do without: as little as it needs."""

import json
import subprocess
import sys

import pytest

CODE = """
import json, sys
import optax
before = {*sys.modules}
import gradtx
from gradtx.values.recipe import Recipe
factories = {name: x for name, x in vars(gradtx).items() if isinstance(x, Recipe)}
print(json.dumps(dict(
    modules=sorted({*sys.modules} - before),
    factories=len(factories),
    documented=[name for name, x in factories.items() if "__doc__" in vars(x)],
    read=[name for name, x in factories.items() if "signature" in vars(x)],
)))
"""
OF_JAX = {"jax.experimental.shard_alike", "jax.scipy.linalg", "jax.scipy.sparse", "jax.scipy.sparse.linalg"}


def test_an_import_loads_no_other_package_and_reads_no_docstring():
    run = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True, timeout=120)
    found = json.loads(run.stdout)
    assert "gradtx.core.flow" in found["modules"]
    assert {name.partition(".")[0] for name in found["modules"]} - sys.stdlib_module_names <= {"gradtx", "jax"}
    of_jax = {name for name in found["modules"] if name.startswith("jax.") and not name.startswith("jax._")}
    assert of_jax <= OF_JAX
    assert not {"gradtx.plot", "gradtx.testing", "gradtx.demo", "gradtx.optax"} & {*found["modules"]}
    assert found["factories"] > 150
    assert found["documented"] == []
    assert len(found["read"]) < 30  # those that others are made of


@pytest.mark.parametrize("name", ["gradtx", "gradtx.optax", "gradtx.testing", "gradtx.plot"])
def test_an_import_starts_no_backend(name):
    """Before one is started, a user may still want to set flags and to join processes."""
    program = f"import {name}; from jax._src import xla_bridge; assert not xla_bridge.backends_are_initialized()"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
