"""What gradtx.plot refuses, and in which words."""

import importlib
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
import pytest

import gradtx as gx
from gradtx.demo.surfaces import SURFACES

plot: Any = importlib.import_module("gradtx.plot")  # whose lines are matplotlib's, with many types
ravine = SURFACES["ravine"].loss
pytestmark = pytest.mark.usefixtures("closed")


SGD = gx.sgd(0.1)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (
            lambda: plot.schedule(lambda t: t, steps=9),
            TypeError,
            r"plot.schedule: draws schedules and numbers, got <function .*; make a schedule .* with @gradtx.schedule",
        ),
        (lambda: plot.schedule(steps=9), ValueError, "plot.schedule: draws one schedule at least, got none"),
        (lambda: plot.curves({}), ValueError, "plot.curves: draws one history at least, got none"),
        (lambda: plot.schedule(True, steps=9), TypeError, "plot.schedule: draws schedules and numbers, got True"),
        (lambda: plot.schedule(gx.cosine(0.1, 9), steps=0), ValueError, "plot.schedule: steps must be a whole number"),
        (
            lambda: plot.schedule(0.1, steps=9, ax=plt.figure()),
            TypeError,
            r"plot.schedule: ax must be one Matplotlib Axes, got <Figure.*; take one of figure.axes",
        ),
        (
            lambda: plot.paths(ravine, SGD, (0.0, 1.0)),
            TypeError,
            r"plot.paths: draws several optimizers, got sgd\(learning_rate=0.1\); give a list .* or a dictionary",
        ),
        (
            lambda: plot.paths(ravine, [optax.sgd(0.1)], (0.0, 1.0)),
            TypeError,
            r"plot.paths: draws gradtx's transformations, got GradientTransf.*; put Optax's into gradtx.chain",
        ),
        (lambda: plot.paths(ravine, [], (0.0, 1.0)), ValueError, "plot.paths: draws one optimizer at least, got none"),
        (lambda: plot.paths(ravine, [SGD], (0.0,)), ValueError, "plot.paths: start must be two numbers, got 1"),
        (lambda: plot.paths(ravine, [SGD], "ab"), TypeError, "plot.paths: start must be real numbers, got 'ab'"),
        (
            lambda: plot.paths(lambda w: w, [SGD], (0.0, 1.0)),
            TypeError,
            r"plot.paths: the loss must return a real scalar, got float64\[2\]",
        ),
        (lambda: plot.paths(ravine, [SGD], (np.nan, 1.0)), ValueError, "the loss at the start must be finite, got nan"),
        (
            lambda: plot.paths(lambda w: jnp.log(w[0]), [SGD], (-1.0, 0.0)),
            ValueError,
            "plot.paths: the loss at the start must be finite, got nan",
        ),
        *(
            (
                lambda view=view: plot.paths(ravine, [SGD], (-8.0, 1.0), view=view),
                ValueError,
                r"plot.paths: view must be \(\(left, right\), \(bottom, top\)\), got ",
            )
            for view in [(1, 2), ((2, 1), (0, 1)), ((0, 1), (1, 1)), "ab", ((1, 2), (3,)), 0]
        ),
        (lambda: plot.paths(1.0, [SGD], (0.0, 1.0)), TypeError, "plot.paths: loss must be a function of an array"),
        (
            lambda: plot.curves([1.0, 2.0]),
            TypeError,
            r"plot.curves: draws named histories, got \[1.0, 2.0\]; give a dictionary from optimizers or names",
        ),
        (
            lambda: plot.curves({"a": [1.0, 0.0]}),
            ValueError,
            r"plot.curves: histories\['a'\] has numbers that are not positive, .*; give yscale='linear'",
        ),
        (
            lambda: plot.curves({"a": ["x"]}),
            TypeError,
            r"plot.curves: histories\['a'\] must be real numbers, got \['x'\]",
        ),
        (
            lambda: plot.curves({"a": jnp.ones((2, 3))}),
            ValueError,
            r"plot.curves: histories\['a'\] must be one number after another, got shape \(2, 3\)",
        ),
        (lambda: plot.curves({"a": [[1], [2, 3]]}), TypeError, "must be real numbers"),
        (lambda: plot.curves({"a": []}), ValueError, r"must be one number after another, got shape \(0,\)"),
        (lambda: plot.curves({"a": [1.0]}, window=0), ValueError, "plot.curves: window must be a whole number"),
        (
            lambda: plot.spectrum(jnp.eye(2)),
            ValueError,
            r"plot.spectrum: eigenvalues must be one number after another, got shape \(2, 2\); take jnp.linalg",
        ),
        (lambda: plot.spectrum(jnp.array([1j])), TypeError, r"eigenvalues must be real numbers, got complex128\[1\]"),
        (lambda: plot.spectrum([1.0, np.nan]), ValueError, "plot.spectrum: eigenvalues must be finite"),
        (lambda: plot.animation(None), TypeError, "plot.animation: ax must be what plot.paths .* got None"),
        (
            lambda: plot.animation(plt.figure().add_subplot()),
            ValueError,
            "plot.animation: ax has no line of two points",
        ),
        (lambda: plot.animation(plot.schedule(0.1, steps=9), frames=1), ValueError, "frames must be at least 2, got 1"),
    ],
)
def test_what_is_wrong_is_said(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def test_nothing_is_left_open_by_a_refusal():
    with pytest.raises(TypeError):
        plot.curves({"a": "x"})
    with pytest.raises(ValueError, match="learning_rate must be a number"):
        plot.paths(ravine, [jax.vmap(gx.sgd)(jnp.array([0.1, 0.2]))], (-8.0, 1.0))
    with pytest.raises(jax.errors.TracerArrayConversionError):
        jax.jit(lambda x: plot.curves({"a": x}))(jnp.ones(3))
    assert plt.get_fignums() == []


def test_without_matplotlib_it_says_what_to_install():
    code = "import sys; sys.modules['matplotlib'] = None; import gradtx; print('gradtx is there'); import gradtx.plot"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout == "gradtx is there\n"
    assert run.stderr.endswith("ImportError: gradtx.plot needs Matplotlib: pip install 'matplotlib>=3.10'\n")
