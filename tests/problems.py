"""Three problems in float64 for every library to walk on, all at once; without gradtx, for peers are recorded on them.

Gradient descent with momentum is stable on all three with a rate of 5e-4.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

STEPS = 60
CURVATURE = np.logspace(0, 3, 6)
INPUTS = np.random.default_rng(0).normal(size=(16, 3))
TARGETS = np.sin(INPUTS.sum(axis=1))


def quadratic(w):
    """Of condition number 1000."""
    return 0.5 * jnp.sum(CURVATURE * w**2)


def rosenbrock(w):
    return jnp.sum(100 * (w[1:] - w[:-1] ** 2) ** 2 + (1 - w[:-1]) ** 2)


def network(w):
    """Three inputs, four tanh units, one output."""
    hidden = jnp.tanh(INPUTS @ w[:12].reshape(3, 4) + w[12:16][None])
    return jnp.mean((hidden @ w[16:20] + w[20] - TARGETS) ** 2)


PROBLEMS = {
    quadratic: np.ones(6),
    rosenbrock: np.array([-1.2, 1.0, 0.5]),
    network: np.random.default_rng(1).normal(size=21),
}
START = tuple(PROBLEMS.values())
JOINTS = np.cumsum([start.size for start in START])[:-1]


@jax.jit
@jax.grad
def gradient(w):
    """Of the three, which stand in a tuple, or in one vector: that compiles three times faster."""
    parts = w if isinstance(w, tuple) else jnp.split(w, JOINTS)
    return sum(loss(part) for loss, part in zip(PROBLEMS, parts, strict=True))


def trajectory(tx, start=START):
    """The parameters after each step, one row for each."""

    @jax.jit
    def step(w, state, g):
        updates, state = tx.update(g, state, w)
        return jax.tree.map(jnp.add, w, updates), state

    w, path = start, []
    state = tx.init(w)
    for _ in range(STEPS):
        w, state = step(w, state, gradient(w))
        path.append(np.concatenate(jax.tree.leaves(w)))
    return np.stack(path)


OF_MATRICES = ("Adafactor", "Muon")  # the rules for which all coordinates are one matrix


def as_matrix(vector, peer=""):
    """All coordinates as a layer of 5 inputs and 6 outputs; torch has the outputs first."""
    kernel = vector.reshape(5, 6)
    return kernel.T if peer == "torch" else kernel


def as_vector(matrix, peer=""):
    return (matrix.T if peer == "torch" else matrix).reshape(-1)


def on_a_matrix(tx, peer=""):
    """The transformation on the vector of all coordinates as a matrix."""

    def update(g: Any, state: Any, w: Any = None) -> Any:
        u, state = tx.update(as_matrix(g, peer), state, as_matrix(w, peer))
        return as_vector(u, peer), state

    made: Any = optax.GradientTransformation  # whose functions name their arguments
    return made(lambda w: tx.init(as_matrix(w, peer)), update)


def by_problem(paths):
    return {problem.__name__: x for problem, x in zip(PROBLEMS, np.split(paths, JOINTS, axis=-1), strict=True)}


def apart(path, expected):
    """How far two paths are from each other on each problem, relative to its largest coordinate."""
    largest = {name: np.abs(x).max() for name, x in by_problem(expected).items()}
    return {name: np.abs(x).max() / largest[name] for name, x in by_problem(path - expected).items()}


def moves(path):
    """How far the coordinate goes that goes farthest, on each problem."""
    return {name: np.ptp(x, axis=0).max() for name, x in by_problem(path).items()}
