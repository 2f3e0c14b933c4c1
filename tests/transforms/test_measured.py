"""What measurements drive, together in one chain: loops, checkpoints in the middle, and cost."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

import gradtx as gx
from tests.budgets import analysed

TX = gx.chain(
    gx.adamw(0.1),
    gx.reduce_on_plateau(0.5, 2, cooldown=1, every=2),
    gx.early_stopping(4, every=2),
    gx.average_parameters(0.9),
)
PARAMS = {"w": jnp.arange(6.0).reshape(2, 3), "b": jnp.ones(3), "frozen": None}
STEPS, HALF = 20, 5  # half way, a mean is open and a measurement without improvement has been counted
VALUES = np.array([3.0, 2, 5, np.nan, 3, 3, 3, 3, 1, 1, 2, 2, 2, 2, 2, 2, np.inf, 1, 0.5, 0.5])
random = np.random.default_rng(0)
GRADS = [jax.tree.map(lambda p: random.normal(size=p.shape), PARAMS) for _ in range(STEPS)]


@jax.jit
def step(params, state, g, value):
    updates, state = TX.update(g, state, params, value=value)
    return gx.apply_updates(params, updates), state


def looped(params, state, begin=0, end=STEPS):
    for t in range(begin, end):
        params, state = step(params, state, GRADS[t], VALUES[t])
    return params, state


def half_way():
    return looped(PARAMS, TX.init(PARAMS), end=HALF)


def assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_everything_happens_in_these_values():
    _, (_, plateau, stopping, _) = half_way()
    assert (plateau.count, plateau.plateau_count, plateau.scale, stopping.stopped) == (1, 1, 1.0, False)
    _, (_, plateau, stopping, average) = looped(PARAMS, TX.init(PARAMS))
    assert (plateau.scale, plateau.best_value, average.count) == (0.25, 0.5, STEPS)
    assert (stopping.stopped, stopping.best_value) == (True, 1.0)


def test_scan_and_loop_agree():
    def body(carry, x):
        return step(*carry, *x), None

    stacked = jax.tree.map(lambda *x: jnp.stack(x), *GRADS)
    scanned, _ = jax.lax.scan(body, (PARAMS, TX.init(PARAMS)), (stacked, VALUES))
    params, state = looped(PARAMS, TX.init(PARAMS))
    for got, expected in ((scanned, (params, state)), (gx.best_parameters(scanned[1]), gx.best_parameters(state))):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), got, expected)


def test_pickled_in_the_middle_it_goes_on_identically():
    params, state = pickle.loads(pickle.dumps(jax.tree.map(np.asarray, half_way())))
    assert_same(looped(params, state, HALF), looped(PARAMS, TX.init(PARAMS)))


@pytest.mark.filterwarnings("ignore")  # Orbax's own
def test_saved_by_orbax_in_the_middle_it_goes_on_identically(tmp_path):
    saved = half_way()
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "saved", saved)
        checkpointer.wait_until_finished()
        params, state = checkpointer.restore(tmp_path / "saved", jax.eval_shape(lambda: (PARAMS, TX.init(PARAMS))))
    assert_same(looped(params, state, HALF), looped(PARAMS, TX.init(PARAMS)))


@pytest.mark.usefixtures("float32")
def test_bytes_accessed():
    def cost(*behind):
        tx = gx.chain(gx.adam(1e-3), *behind)

        def step(params, state, g, value):
            updates, state = tx.update(g, state, params, value=value)
            return gx.apply_updates(params, updates), state

        params = jnp.ones((1024, 1024))
        lowered = jax.jit(step, donate_argnums=(0, 1)).lower(params, tx.init(params), params, 1.0)
        return analysed(lowered, params.size)

    accessed, temporary = cost()
    more, temporary_more = cost(gx.reduce_on_plateau())  # nothing but scalars
    assert more - accessed < 0.01
    assert temporary_more - temporary < 0.01
    more, temporary_more = cost(gx.average_parameters(0.99))  # the average read and written, the parameter read again
    assert more - accessed < 12.01
    assert temporary_more - temporary < 0.01
