"""One training loop, run with gradtx and with Optax in its place."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np
import optax

import gradtx as gx

OURS = gx.chain(gx.clip_by_global_norm(1.0), gx.adamw(gx.cosine(1e-2, 20), weight_decay=0.1))
THEIRS = optax.chain(
    optax.clip_by_global_norm(1.0), optax.adamw(optax.cosine_decay_schedule(1e-2, 20), weight_decay=0.1)
)


def assert_same_path(trained: Callable[[Any], Iterable], ours: Any = OURS, theirs: Any = THEIRS, rtol=1e-10):
    """`trained(tx)` yields the parameters after each step: both libraries lead along the same path, and it moves."""
    path, expected = ([jax.device_get(point) for point in trained(tx)] for tx in (ours, theirs))
    assert len(path) == len(expected) >= 3
    for point, wanted in zip(path, expected, strict=True):
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol, rtol), point, wanted)
    first, last = (np.concatenate([np.ravel(x) for x in jax.tree.leaves(p)]) for p in (path[0], path[-1]))
    assert np.mean(first != last) > 0.5
