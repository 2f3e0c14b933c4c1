"""What has no counterpart in Optax, and what is misspelt, gets no state by accident."""

from typing import Any

import pytest

import gradtx as gx
from gradtx.optax.states import restate
from gradtx.optimizers.adam import ScaleByAdamState
from gradtx.transforms.record import RecordState


def test_a_state_without_a_row_is_no_empty_state():
    with pytest.raises(KeyError, match="RecordState"):
        restate(gx.scale_by_adam(), RecordState)


def test_a_misspelt_option_is_refused():
    options: dict[str, Any] = dict(abscent=dict(mu=None))
    with pytest.raises(TypeError, match="abscent"):
        restate(gx.scale_by_adam(), ScaleByAdamState, **options)
