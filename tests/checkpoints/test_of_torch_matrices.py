"""States of torch's optimizers of matrices, in which the outputs come first."""

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
    tx, w = MATRICES_TAKEN_OVER[call].ours.replace(view=gx.matrices()), kernel_at(call, MIDDLE)  # the inputs come first
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
