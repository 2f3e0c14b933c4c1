"""Records the paths of torch's and Keras' optimizers, for tests/test_parity_golden.py: `python -m tests.golden.record
torch`, or `keras`, in an environment with gradtx's dependencies and the peer (pip install jax optax torch, or keras).

A row's call is evaluated as it stands, among the peer's names; the gradients are JAX's, as in the test, so that only
the rule is compared. Rules of matrices have all coordinates in one, as it lies in the peer. Of the 60 steps these are
kept: enough to show any difference, and small.
"""

import importlib
import os
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import numpy as np

from tests.golden import keras_rows, torch_rows
from tests.problems import JOINTS, OF_MATRICES, START, STEPS, as_matrix, as_vector, gradient

KEPT = [1, 2, 3, 5, 10, 20, 40, 60]


def recording(peer):
    return Path(__file__).with_name(f"{peer}.npz")


def under(patch, optimizer, method):
    """The optimizer, whose method from now on runs under a patch of the peer's code."""
    own = getattr(optimizer, method)

    def patched(*args):
        with patch:
            return own(*args)

    setattr(optimizer, method, patched)
    return optimizer


def torch_step(call, start=START):
    torch: Any = importlib.import_module("torch")  # so, for a type checker that has none
    optim = torch.optim
    torch.set_default_dtype(torch.float64)  # NAdam holds a product in it
    w = [torch.tensor(x) for x in start]
    # Muon casts to bfloat16, and then writes to what it got: a copy.
    wide = mock.patch.object(torch.Tensor, "bfloat16", torch.Tensor.clone)
    names = (
        {"w": w, "in_float64": lambda optimizer: under(wide, optimizer, "step")}
        | vars(torch.nn.utils)
        | vars(optim.lr_scheduler)
        | vars(optim)
    )
    *ahead, build = call.split("; ")
    built = eval(build, names)
    scheduled = isinstance(built, optim.lr_scheduler.LRScheduler)
    optimizer = built.optimizer if scheduled else built

    def step(gradients):
        for x, g in zip(w, gradients, strict=True):
            x.grad = torch.tensor(np.asarray(g))
        for expression in ahead:
            eval(expression, names)
        optimizer.step()
        if scheduled:
            built.step()
        return tuple(x.numpy() for x in w)

    step.optimizer = optimizer
    return step


def is_wide(dtypes):
    return "float64" in map(str, dtypes)


def keras_step(call, start=START):
    os.environ["KERAS_BACKEND"] = "jax"
    keras: Any = importlib.import_module("keras")
    keras.config.set_floatx("float64")
    w = [keras.Variable(x) for x in start]
    # Norms and means have the dtype that this says, float32 where one is float64.
    dtypes = importlib.import_module("keras.src.backend.common.dtypes")
    narrow = dtypes.result_type
    wide = mock.patch.object(
        dtypes, "result_type", lambda *several: "float64" if is_wide(several) else narrow(*several)
    )
    names = {"in_float64": lambda optimizer: under(wide, optimizer, "apply")}
    optimizer = eval(call, names | vars(keras.optimizers.schedules) | vars(keras.optimizers))

    def step(gradients):
        optimizer.apply(list(gradients), w)
        return tuple(np.asarray(x) for x in w)

    return step


def step_of_a_matrix(peer, step_of, call):
    """The step of the parameters of the three problems, which are one matrix for the peer."""
    step = step_of(call, (as_matrix(np.concatenate(START), peer),))

    def step_of_parts(gradients):
        (w,) = step((as_matrix(np.concatenate(gradients), peer),))
        return tuple(np.split(as_vector(w, peer), JOINTS))

    step_of_parts.optimizer = getattr(step, "optimizer", None)
    return step_of_parts


def path(step):
    """The parameters after the steps that are kept, one row for each."""
    w, rows = START, []
    for t in range(1, STEPS + 1):
        w = step(gradient(w))
        if t in KEPT:
            rows.append(np.concatenate(w))
    return np.stack(rows)


def record(peer):
    rows, step_of = {"torch": (torch_rows.ROWS, torch_step), "keras": (keras_rows.ROWS, keras_step)}[peer]
    steps = {
        row.call: step_of_a_matrix(peer, step_of, row.call) if rule in OF_MATRICES else step_of(row.call)
        for rule, section in rows.items()
        for row in section
    }
    calls, paths = list(steps), np.stack([path(step) for step in steps.values()])
    version = sys.modules[peer].__version__
    np.savez_compressed(recording(peer), version=version, steps=KEPT, calls=calls, paths=paths)
    print(f"{peer} {version}: {len(calls)} paths, {recording(peer).stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    record(*sys.argv[1:])
