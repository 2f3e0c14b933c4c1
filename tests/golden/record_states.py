"""Records what torch's optimizers have in their states in the middle of the paths of tests/golden/record.py, for
tests/checkpoints/test_of_torch.py: `python -m tests.golden.record_states`, in the environment of that one.
"""

import json
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

from tests.golden import torch_rows
from tests.golden.record import step_of_a_matrix, torch_step
from tests.problems import START, gradient

MIDDLE = 5  # steps; one of those at which the parameters are recorded
RECORDING = Path(__file__).with_name("torch_states.npz")


def state_dict_in_the_middle(call: str) -> dict[str, Any]:
    is_matrix = call in torch_rows.MATRICES_TAKEN_OVER
    w, step = START, step_of_a_matrix("torch", torch_step, call) if is_matrix else torch_step(call)
    for _ in range(MIDDLE):
        w = step(gradient(w))
    return step.optimizer.state_dict()


def record() -> None:
    """All arrays in one, and beside it, as JSON, what each is, and the groups."""
    index: dict[str, dict[str, Any]] = {}
    arrays: list[Any] = []
    for call in (*torch_rows.TAKEN_OVER, *torch_rows.MATRICES_TAKEN_OVER):
        found = state_dict_in_the_middle(call)
        index[call] = dict(param_groups=found["param_groups"], state={})
        for place, fields in found["state"].items():
            several = {name: np.asarray(x) for name, x in fields.items() if x is not None}
            index[call]["state"][place] = {name: x.shape for name, x in several.items()}
            arrays += [x.ravel() for x in several.values()]
    version = sys.modules["torch"].__version__
    np.savez_compressed(RECORDING, version=version, index=json.dumps(index), arrays=np.concatenate(arrays))
    print(f"torch {version}: {RECORDING.stat().st_size / 1e3:.0f} kB")


def state_dicts() -> dict[str, dict[str, Any]]:
    """What was recorded, by call, as torch's `state_dict()` has it."""
    with np.load(RECORDING) as data:
        index, rest = json.loads(str(data["index"])), data["arrays"]
    for found in index.values():
        state: dict[int, dict[str, Any]] = {}
        for place, shapes in found["state"].items():
            state[int(place)] = own = {}
            for name, shape in shapes.items():
                size = int(np.prod(shape))
                own[name], rest = rest[:size].reshape(shape), rest[size:]
        found["state"] = state
    return index


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    record()
