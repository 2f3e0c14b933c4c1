"""What a step with a state in codes has in memory beside its arguments, on one device, and that chunks change nothing.

A process with one device alone knows how its arrays lie, so the measurements run in one.
"""

import json
import os
import subprocess
import sys

import jax
import pytest

PROGRAM = """
import json
import jax, jax.numpy as jnp, numpy as np
import gradtx as gx
from gradtx.core import chunks

assert jax.device_count() == 1
w = [jax.random.normal(jax.random.key(i), (1024, 1024)) for i in range(3)]
size = sum(x.size for x in w)
base = gx.adamw(1e-3)
ways = dict(
    float32=base,
    eight=gx.hold(base, mu=gx.blocks(8), nu=gx.blocks(8)),
    four=gx.hold(base, mu=gx.blocks(4, 128), nu=gx.blocks(4, 128)),
    float8=gx.hold(base, mu=gx.float8(), nu=gx.float8()),
    nu_alone=gx.hold(base, nu=gx.of_root(gx.blocks(8))),
    sixteen=gx.hold(base, mu=gx.bfloat16, nu=gx.bfloat16),
    clipped=gx.chain(gx.clip_by_global_norm(1.0), gx.hold(base, mu=gx.blocks(8), nu=gx.blocks(8))),
)
found = {}
for name, tx in ways.items():
    def step(params, state, g):
        g = jax.tree.map(lambda x: 2.0 * x, g)
        u, state = tx.update(g, state, params)
        return gx.apply_updates(params, u), state

    state = tx.init(w)
    compiled = jax.jit(step, donate_argnums=(0, 1)).lower(w, state, w).compile()
    row = dict(temporary=compiled.memory_analysis().temp_size_in_bytes / size)
    row["state"] = sum(x.nbytes for x in jax.tree.leaves(state)) / size
    row["loops"] = compiled.as_text().count(" while(")
    found[name] = row
    if name not in ("eight", "nu_alone"):
        continue
    g = [0.1 * x for x in w]
    chunked = jax.jit(lambda s: tx.update(g, s, w))(state)
    chunked = jax.jit(lambda s: tx.update(g, s, w))(chunked[1])
    chunks.CHUNK, before = {"cpu": 2**30}, chunks.CHUNK
    whole = jax.jit(lambda s: tx.update(g, s, w))(state)
    whole = jax.jit(lambda s: tx.update(g, s, w))(whole[1])
    chunks.CHUNK = before
    codes = [(a, b) for a, b in zip(*map(jax.tree.leaves, (chunked, whole))) if a.dtype == jnp.uint8]
    row["codes"] = max([0.0, *[float(np.mean(np.asarray(a) != np.asarray(b))) for a, b in codes]])
    row["updates"] = max(float(jnp.mean(jnp.abs(a - b) > 1e-8)) for a, b in zip(chunked[0], whole[0]))
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def measured():
    env = os.environ | {"XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
    out = subprocess.run([sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, check=True)
    return json.loads(out.stdout.splitlines()[-1])


@pytest.mark.skipif(jax.__version_info__ < (0, 10), reason="older XLA makes temporaries in plain sums")
def test_no_float32_copy_of_a_quantity_exists(measured):
    """Beside the updates, which are 4 bytes per parameter, an eighth of a quantity at most. In 16 bits both are
    copied as they are, since they are read for two results and overwritten by one.
    """
    assert {name: row["temporary"] < 4.5 for name, row in measured.items()} == dict.fromkeys(measured, True)
    assert measured["float32"]["temporary"] < 0.1


def test_bytes_of_the_state(measured):
    most = dict(float32=8.01, eight=2.1, four=1.2, float8=2.1, nu_alone=5.1, sixteen=4.01, clipped=2.1)
    assert {name: row["state"] <= most[name] for name, row in measured.items()} == dict.fromkeys(most, True)


def test_chunks_give_what_the_whole_gives(measured):
    """To rounding: the compiler may order a product and a sum otherwise, and a code in a thousand may be its
    neighbour, which shows in the update behind it.
    """
    in_chunks = {name for name, row in measured.items() if row["loops"] >= 3}
    assert in_chunks == {"eight", "four", "float8", "nu_alone", "clipped"}
    for name in ("eight", "nu_alone"):
        row = measured[name]
        assert row["codes"] < 1e-3, name
        assert row["updates"] < 1e-3, name
