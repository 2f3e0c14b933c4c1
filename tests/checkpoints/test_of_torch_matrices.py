"""States of torch's optimizers of matrices, in which the outputs come first."""

from typing import Any

import jax
import numpy as np
import pytest

import gradtx as gx
from tests.checkpoints.test_of_torch import MIDDLE, states
from tests.golden.torch_rows import MATRICES_TAKEN_OVER
from tests.optimizers.test_parity_golden import recorded
from tests.problems import apart, as_matrix, as_vector, gradient
from tests.refusals import refused
from tests.row import BOUND

NAMES = {"kernel": (0, np.transpose)}


def kernel_at(call, step):
    known = recorded("torch")
    return {"kernel": as_matrix(known.paths[call][list(known.steps).index(step)])}


@pytest.mark.parametrize("call", MATRICES_TAKEN_OVER)
def test_goes_on_as_torch_did(call):
    tx, w = MATRICES_TAKEN_OVER[call].ours, kernel_at(call, MIDDLE)
    tx = tx.replace(view=gx.matrices()) if "Muon" in call else tx  # the inputs come first here
    state = gx.from_torch(tx, w, states()[call], NAMES)
    assert jax.tree.structure(state) == jax.tree.structure(tx.init(w))
    update = jax.jit(tx.update)
    for _ in range(MIDDLE, 10):
        updates, state = update({"kernel": as_matrix(gradient(as_vector(w["kernel"])))}, state, w)
        w = gx.apply_updates(w, updates)
    found, expected, fresh = (as_vector(x["kernel"]) for x in (w, kernel_at(call, 10), kernel_at(call, MIDDLE)))
    distances = apart(np.asarray(found), np.asarray(expected))
    assert max(distances.values()) < BOUND, distances
    assert max(apart(np.asarray(fresh), np.asarray(expected)).values()) > 1e-4


def test_another_muon_is_refused():
    call = "in_float64(Muon(w, 1e-2))"
    same = "take over with the number of the state, and change it behind that"
    decay = "torch's weight_decay of kernel is 0.1 in the state, and 0"
    cases = [
        (gx.muon(1e-2, 0.9, weight_decay=0.1), "torch's decay is 0.95 in the state, and decay is 0.9 in scale_by_mom"),
        (gx.muon(1e-2, nesterov=False, weight_decay=0.1), "torch's nesterov is 1 in the state, and nesterov is 0 in"),
        (gx.muon(0.5, weight_decay=0.1), "lr is 0.01 in the state, and learning_rate is 0.5 in scale_by_learning_ra"),
        (gx.muon(1e-2), f"{decay} in the transformation; put add_decayed_weights there, behind scale_by_momentum"),
        (gx.muon(1e-2, weight_decay=0.2), f"{decay}.2 in the transformation; {same}"),
    ]
    for tx, message in cases:
        with refused(ValueError, f"from_torch: {message}" if "torch's" in message else message):
            gx.from_torch(tx, kernel_at(call, MIDDLE), states()[call], NAMES)


# ---- Adafactor ----

FACTORED = gx.scale_by_factored_rms(min_dim=1, eps=0.0, dims=(-2, -1))
GROUP = dict(lr=1.0, beta2_decay=-0.8, eps=(None, 1e-3), d=1.0, weight_decay=0.0, maximize=False)


def adafactor_of(g, **more):
    """torch's state behind a first gradient."""
    means = (
        dict(row_var=np.mean(g**2, -1, keepdims=True), col_var=np.mean(g**2, -2, keepdims=True)) if g.ndim > 1 else {}
    )
    state = dict(step=1.0) | (means or dict(variance=g**2))
    return dict(state={0: state}, param_groups=[GROUP | dict(params=[0]) | more])


@pytest.mark.parametrize("shape", [(6, 5), (5, 6), (4, 4), (6, 1), (1, 3), (2, 6, 5), (3,)])
@pytest.mark.parametrize("turn", [np.asarray, lambda x: np.swapaxes(x, -1, -2) if x.ndim > 1 else x])
def test_means_are_found_however_the_array_lies(shape, turn):
    g = np.random.default_rng(0).normal(size=shape)
    w = {"w": np.zeros(turn(g).shape)}
    taken = gx.from_torch(FACTORED, w, adafactor_of(g), {"w": (0, turn)})
    _, expected = FACTORED.update({"w": turn(g)}, FACTORED.init(w))
    assert jax.tree.structure(taken) == jax.tree.structure(expected)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), taken, expected)


def test_arrays_that_are_not_factored_there_or_here_are_refused():
    g = np.ones((3, 2))
    message = (
        "from_torch: scale_by_factored_rms: torch has no variance of w, but step, row_var, col_var; it factors the last"
        " two axes of any size, min_dim=1 and dims=(-2, -1)"
    )
    with refused(ValueError, message):
        gx.from_torch(gx.scale_by_factored_rms(), {"w": g}, adafactor_of(g), {"w": 0})
    with refused(ValueError, "torch has no row_var, col_var of new, but none"):
        gx.from_torch(FACTORED, {"w": g, "new": g}, adafactor_of(g), {"w": 0})
    with refused(ValueError, "torch's decay_rate is 0.5 in the state, and decay_rate is 0.8 in scale_by_factored_rms"):
        gx.from_torch(FACTORED, {"w": g}, adafactor_of(g, beta2_decay=-0.5), {"w": 0})
    state = gx.from_torch(FACTORED, {"w": g, "new": g}, adafactor_of(g), {"w": 0}, fresh=["new"])
    assert float(state.v_row["w"][0]) == 1.0
    assert float(state.v_row["new"][0]) == 0.0


def test_the_decay_of_adafactor_is_times_the_rate():
    g = np.ones((3, 2))
    means: dict[str, Any] = dict(min_dim=1, eps=0.0, dims=(-2, -1))
    state = adafactor_of(g, weight_decay=0.1, lr=0.2)
    gx.from_torch(gx.adafactor(0.2, weight_decay=0.02, **means), {"w": g}, state, {"w": 0})
    inside = gx.chain(FACTORED, gx.clip_by_rms(1.0), gx.add_decayed_weights(0.1), gx.scale_by_learning_rate(0.2))
    gx.from_torch(inside, {"w": g}, state, {"w": 0})
    with refused(ValueError, "torch's weight_decay of w is 0.02 in the state, and 0.1 in the transformation"):
        gx.from_torch(gx.adafactor(0.2, weight_decay=0.1, **means), {"w": g}, state, {"w": 0})
