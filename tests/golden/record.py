"""Records the paths of torch's and Keras' optimizers, for tests/test_parity_golden.py: `python -m tests.golden.record
torch`, or `keras`, in an environment with gradtx's dependencies and the peer (pip install jax optax torch, or keras).

A row's call is evaluated as it stands, among the peer's names; the gradients are JAX's, as in the test, so that only
the rule is compared. Of the 60 steps these are kept: enough to show any difference, and small.
"""

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

from tests.golden import keras_rows, torch_rows
from tests.problems import START, STEPS, gradient

KEPT = [1, 2, 3, 5, 10, 20, 40, 60]


def recording(peer):
    return Path(__file__).with_name(f"{peer}.npz")


def torch_step(call):
    torch: Any = importlib.import_module("torch")  # so, for a type checker that has none
    optim = torch.optim
    torch.set_default_dtype(torch.float64)  # NAdam holds a product in it
    w = [torch.tensor(x) for x in START]
    names = {"w": w} | vars(torch.nn.utils) | vars(optim.lr_scheduler) | vars(optim)
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


def keras_step(call):
    os.environ["KERAS_BACKEND"] = "jax"
    keras: Any = importlib.import_module("keras")
    keras.config.set_floatx("float64")
    w = [keras.Variable(x) for x in START]
    optimizer = eval(call, vars(keras.optimizers.schedules) | vars(keras.optimizers))

    def step(gradients):
        optimizer.apply(list(gradients), w)
        return tuple(np.asarray(x) for x in w)

    return step


def path(step):
    """The parameters after the steps that are kept, one row for each."""
    w, rows = START, []
    for t in range(1, STEPS + 1):
        w = step(gradient(w))
        if t in KEPT:
            rows.append(np.concatenate(w))
    return np.stack(rows)


def record(peer):
    rows, step = {"torch": (torch_rows.ROWS, torch_step), "keras": (keras_rows.ROWS, keras_step)}[peer]
    calls = [row.call for section in rows.values() for row in section]
    paths = np.stack([path(step(call)) for call in calls])
    version = sys.modules[peer].__version__
    np.savez_compressed(recording(peer), version=version, steps=KEPT, calls=calls, paths=paths)
    print(f"{peer} {version}: {len(calls)} paths, {recording(peer).stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    record(*sys.argv[1:])
