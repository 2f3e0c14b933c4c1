"""The paths that torch and Keras walked, as tests/golden/record.py recorded them: ours is the same at every one of the
recorded steps.
"""

import functools
from typing import NamedTuple

import numpy as np
import pytest

import gradtx as gx
from tests.golden import keras_rows, torch_rows
from tests.golden.record import recording
from tests.problems import OF_MATRICES, START, apart, gradient, moves, on_a_matrix, trajectory
from tests.row import BOUND

pytestmark = pytest.mark.slow  # formulas do not turn on versions

PEERS = {"torch": torch_rows.ROWS, "keras": keras_rows.ROWS}
CASES = [(peer, rule, row) for peer, rules in PEERS.items() for rule, rows in rules.items() for row in rows]


class Recording(NamedTuple):
    version: str
    steps: np.ndarray
    paths: dict[str, np.ndarray]  # by call


@functools.cache
def recorded(peer):
    with np.load(recording(peer)) as data:
        paths = dict(zip(data["calls"].tolist(), data["paths"], strict=True))
        return Recording(str(data["version"]), data["steps"], paths)


@pytest.mark.parametrize("peer", PEERS)
def test_every_row_is_recorded(peer):
    rows = {row.call for p, _, row in CASES if p == peer}
    assert recorded(peer).paths.keys() == rows, f"run: python -m tests.golden.record {peer}"


@pytest.mark.parametrize(("peer", "rule", "row"), CASES, ids=[f"{peer}: {row.call}" for peer, _, row in CASES])
def test_same_path_as_recorded(peer, rule, row):
    expected = recorded(peer).paths[row.call]
    assert min(moves(expected).values()) > 1e-2
    seen = (on_a_matrix(row.ours, peer), np.concatenate(START)) if rule in OF_MATRICES else (row.ours, START)
    distances = apart(trajectory(*seen)[recorded(peer).steps - 1], expected)
    if row.apart:  # no option equals it
        assert max(distances.values()) == pytest.approx(row.apart, rel=0.2), distances
    else:
        assert max(distances.values()) < BOUND, distances


def test_clip_grad_norm_of_torch_goes_short_by_1e_6_over_the_norm():
    (row,) = (row for row in torch_rows.ROWS["Clipping"] if row.apart)
    first_steps = [
        path[0] - np.concatenate(START) for path in (recorded("torch").paths[row.call], trajectory(row.ours))
    ]
    theirs, ours = map(np.linalg.norm, first_steps)
    norm = float(gx.global_norm(gradient(START)))
    assert norm > 100.0
    assert 1.0 - theirs / ours == pytest.approx(1e-6 / norm, rel=1e-3)
