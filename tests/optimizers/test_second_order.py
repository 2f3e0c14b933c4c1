"""L-BFGS and Newton's method: beside the formula, Optax and SciPy, and on Hessians that are not positive definite."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize
from sklearn.datasets import load_breast_cancer

import gradtx as gx
from gradtx.core.transformation import composed_of
from tests.reference import second_order

pytestmark = pytest.mark.slow

RANDOM = np.random.default_rng(0)
INPUTS = RANDOM.normal(size=(16, 3))


def rosenbrock(w):
    return jnp.sum(100 * (w[1:] - w[:-1] ** 2) ** 2 + (1 - w[:-1]) ** 2)


def quadratic(w):
    """Of condition number 1000."""
    return 0.5 * jnp.sum(jnp.logspace(0, 3, w.size) * w**2)


def network(w):
    hidden = jnp.tanh(INPUTS @ w[:24].reshape(3, 8) + w[None, 24:32])
    return jnp.mean((hidden @ w[32:40] + w[40] - jnp.sin(INPUTS.sum(axis=1))) ** 2)


@functools.cache
def logistic():
    """The mean loss of logistic regression on the breast-cancer data, with a penalty, so that there is a minimum."""
    x, y = load_breast_cancer(return_X_y=True)
    signed = ((x - x.mean(axis=0)) / x.std(axis=0)) * (2.0 * y - 1.0)[:, None]
    signed = np.concatenate([signed, (2.0 * y - 1.0)[:, None]], axis=1)
    return lambda w: jnp.mean(jnp.logaddexp(0.0, -(signed @ w))) + 0.5e-3 * jnp.sum(w[:-1] ** 2)


def step(tx, loss):
    """A jitted step that takes value and gradient from where the line search left them."""

    @jax.jit
    def one(w, state):
        value, grad = optax.value_and_grad_from_state(loss)(w, state=state)
        updates, state = tx.update(grad, state, w, value=value, grad=grad, value_fn=loss, loss_fn=loss)
        return optax.apply_updates(w, updates), state

    return one


# ---- the direction ----


def test_lbfgs_is_its_matrix_written_out():
    """60 steps with a curvature of its own in each; every seventh is negative and left out."""
    n, steps = 6, 60
    params = np.cumsum(RANDOM.normal(size=(steps, n)), axis=0)
    grads = [RANDOM.normal(size=n)]
    for t in range(1, steps):
        root = RANDOM.normal(size=(n, n))
        sign = -1.0 if t % 7 == 0 else 1.0
        grads.append(grads[-1] + sign * (root @ root.T / n + np.eye(n)) @ (params[t] - params[t - 1]))
    for memory_size in (1, 4):
        tx = gx.scale_by_lbfgs(memory_size)
        state, update, got = tx.init(jnp.zeros(n)), jax.jit(tx.update), []
        for w, g in zip(params, grads, strict=True):
            u, state = update(g, state, w)
            assert u @ g > 0.0
            got.append(u)
        expected = np.stack(list(second_order.lbfgs(params, grads, memory_size)))
        np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-12 * np.abs(expected).max())


def test_a_pair_of_no_positive_curvature_is_left_out():
    tx, w, g = gx.scale_by_lbfgs(2), jnp.array([1.0, 2.0]), jnp.array([1.0, -1.0])
    _, state = tx.update(g, tx.init(w), w)
    for change in (-jnp.ones(2), jnp.zeros(2), jnp.array([1.0, -1.0])):  # negative, none, and across the step
        _, after = tx.update(g + change, state, w + 1.0)
        assert not after.weights_memory.any()
        assert after.next_pair == 0
        np.testing.assert_array_equal(after.params, w + 1.0)
    _, after = tx.update(g + 1.0, state, w + 1.0)
    np.testing.assert_array_equal(after.weights_memory, [0.5, 0.0])
    assert after.next_pair == 1


def test_newton_solves_for_the_direction():
    root = RANDOM.normal(size=(20, 20))
    matrix, w = root @ root.T + np.eye(20), jnp.asarray(RANDOM.normal(size=20))

    def loss(w):
        return 0.5 * w["x"] @ matrix @ w["x"]

    params = {"x": w, "frozen": None}
    g = jax.grad(loss)(params)
    for damping in (0.0, 10.0):
        tx = gx.scale_by_newton(damping, tol=1e-12, max_steps=100)
        got, _ = jax.jit(lambda g, tx=tx: tx.update(g, tx.init(params), params, loss_fn=loss))(g)
        np.testing.assert_allclose(got["x"], np.linalg.solve(matrix + damping * np.eye(20), g["x"]), rtol=1e-9)


def directions(eigenvalues, seed, dtype=jnp.float64):
    """Newton's directions and gradients at random points, one for each row of eigenvalues."""
    random = np.random.default_rng(seed)
    rows, n = eigenvalues.shape
    rotations = np.linalg.qr(random.normal(size=(rows, n, n)))[0]
    matrices = jnp.asarray(np.einsum("rij,rj,rkj->rik", rotations, eigenvalues, rotations), dtype)
    tx = gx.scale_by_newton()

    @jax.jit
    @jax.vmap
    def one(matrix, w):
        def loss(w):
            return 0.5 * w @ matrix @ w

        g = jax.grad(loss)(w)
        return tx.update(g, tx.init(w), w, loss_fn=loss)[0], g

    return map(np.asarray, one(matrices, jnp.asarray(random.normal(size=(rows, n)), dtype)))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_newton_leads_downward_on_indefinite_hessians(dtype):
    eigenvalues = RANDOM.normal(size=(300, 7)) * 10.0 ** RANDOM.uniform(-3, 3, size=(300, 7))
    eigenvalues[:20] = -np.abs(eigenvalues[:20])  # negative definite
    eigenvalues[20:40, ::2] = 0.0  # singular
    eigenvalues[40:60] = np.where(np.arange(7) == 3, -1.0, 1.0)
    assert ((eigenvalues.min(axis=1) < 0) & (eigenvalues.max(axis=1) > 0)).sum() > 200
    got, g = directions(eigenvalues, 1, dtype)
    cosine = (got * g).sum(axis=1) / np.linalg.norm(got, axis=1) / np.linalg.norm(g, axis=1)
    assert np.isfinite(got).all()
    assert cosine.min() > 5e-5


def test_newton_takes_arrays_of_several_dtypes_for_one_vector():
    def loss(w):
        return 2.0 * jnp.sum(w["narrow"] ** 2) + 8.0 * w["wide"] ** 2

    w = {"narrow": jnp.array([1.0, -3.0], jnp.float32), "wide": jnp.array(2.0)}
    tx = gx.scale_by_newton(tol=1e-6)
    direction, _ = tx.update(jax.grad(loss)(w), tx.init(w), w, loss_fn=loss)
    assert jax.tree.map(lambda u: u.dtype, direction) == jax.tree.map(lambda x: x.dtype, w)
    np.testing.assert_allclose(direction["narrow"], w["narrow"], rtol=1e-5)  # a quadratic's minimum in one step
    np.testing.assert_allclose(direction["wide"], w["wide"], rtol=1e-5)


def test_newton_without_curvature_is_gradient_descent():
    tx, w = gx.scale_by_newton(), jnp.array([1.0, 2.0])
    got, _ = tx.update(jnp.array([3.0, 4.0]), tx.init(w), w, loss_fn=lambda w: 3.0 * w[0] + 4.0 * w[1])
    np.testing.assert_array_equal(got, [3.0, 4.0])


# ---- Optax ----


@pytest.mark.parametrize(
    ("loss", "start"),
    [(quadratic, np.ones(100)), (rosenbrock, np.tile([-1.2, 1.0], 10)), (network, RANDOM.normal(size=41))],
)
def test_lbfgs_steps_as_optax_does(loss, start):
    """Along Optax's path, so that the rounding of one step does not grow in the next: 60 steps, each the same."""
    theirs, ours, w = optax.lbfgs(), gx.lbfgs(), jnp.asarray(start)

    @jax.jit
    def both(w, states):
        value, grad = jax.value_and_grad(loss)(w)
        extra = dict(value=value, grad=grad, value_fn=loss)
        expected, theirs_after = theirs.update(grad, states[0], w, **extra)
        got, ours_after = ours.update(grad, states[1], w, **extra)
        return expected, got, (theirs_after, ours_after)

    states = theirs.init(w), ours.init(w)
    for _ in range(60):
        expected, got, states = both(w, states)
        assert np.abs(expected).max() > 1e-9, "nothing moves"
        np.testing.assert_allclose(got, expected, rtol=1e-8, atol=1e-10 * np.abs(expected).max())
        found, wanted = (state[-1].info.num_linesearch_steps for state in states[::-1])
        assert found == wanted
        w = w + expected


def test_lbfgs_hands_its_limits_to_the_line_search():
    limits = dict(slope_rtol=0.2, curv_rtol=0.5, max_learning_rate=3.0)
    search = gx.scale_by_zoom_linesearch(7, **limits)
    tx = gx.lbfgs(5, max_linesearch_steps=7, **limits)
    assert composed_of(tx) == gx.chain(gx.scale_by_lbfgs(5), gx.scale(-1.0), search)


def test_the_line_search_leaves_value_and_gradient_for_the_next_step():
    w = jnp.array([-1.2, 1.0])
    for tx in (gx.lbfgs(), gx.newton()):
        after, state = step(tx, rosenbrock)(w, tx.init(w))
        value, grad = jax.value_and_grad(rosenbrock)(after)
        np.testing.assert_allclose(optax.tree.get(state, "value"), value, rtol=1e-12)
        np.testing.assert_allclose(optax.tree.get(state, "grad"), grad, rtol=1e-9)


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("tx", [gx.lbfgs(), gx.newton()], ids=repr)
def test_minimum_in_lower_precision(tx, dtype):
    def loss(w):
        return jnp.sum(jnp.array([1.0, 10.0, 100.0]) * (w.astype(jnp.float32) - 2.0) ** 2)

    @jax.jit
    def one(w, state):
        value, grad = jax.value_and_grad(loss)(w)
        updates, state = tx.update(grad, state, w, value=value, grad=grad, value_fn=loss, loss_fn=loss)
        return gx.apply_updates(w, updates), state

    w = jnp.zeros(3, dtype)
    state = tx.init(w)
    for _ in range(12):
        w, state = one(w, state)
    np.testing.assert_allclose(w.astype(jnp.float32), 2.0, rtol=1e-2)


# ---- SciPy ----


def evaluations_of_scipy(loss, start):
    """The minimum, and the evaluations that L-BFGS-B makes until it is within 1e-6 of it."""
    value_and_grad = jax.jit(jax.value_and_grad(loss))
    seen = []

    def evaluated(w):
        value, grad = value_and_grad(w)
        seen.append(float(value))
        return seen[-1], np.asarray(grad)

    options = dict(maxiter=10_000, maxfun=100_000, ftol=1e-15, gtol=1e-9)
    least = scipy.optimize.minimize(evaluated, start, jac=True, method="L-BFGS-B", options=options).fun
    return least, int(np.argmax(np.array(seen) <= least + 1e-6)) + 1


def evaluations(tx, loss, start, least):
    """Until the loss is within 1e-6 of the minimum: those of loss and gradient, by the line search's own count, and all
    runs of the loss, counted as they happen, which are those and the Hessian-vector products.
    """
    runs = []

    def counted(w):
        jax.debug.callback(lambda: runs.append(1))
        return loss(w)

    w = jnp.asarray(start)
    state, one, made = tx.init(w), step(tx, counted), 1
    while optax.tree.get(state, "value") > least + 1e-6:
        w, state = one(w, state)
        made += int(optax.tree.get(state, "num_linesearch_steps"))
        assert made < 3_000
    jax.effects_barrier()
    np.testing.assert_allclose(loss(w), optax.tree.get(state, "value"), rtol=1e-9)
    return made, len(runs)


@pytest.mark.parametrize(
    ("problem", "start"),
    [
        (lambda: rosenbrock, np.tile([-1.2, 1.0], 5)),
        (lambda: rosenbrock, np.tile([-1.2, 1.0], 50)),
        (logistic, np.zeros(31)),
    ],
    ids=["rosenbrock 10", "rosenbrock 100", "logistic"],
)
def test_the_minimum_of_scipy_in_no_more_than_twice_its_evaluations(problem, start):
    least, theirs = evaluations_of_scipy(problem(), start)
    for tx in (gx.lbfgs(), gx.newton()):
        made, runs = evaluations(tx, problem(), start, least)
        print(f"{tx!r}: {made} evaluations, SciPy {theirs}; {runs - made} Hessian-vector products")
        assert made <= 2 * theirs
        if tx == gx.lbfgs():
            assert runs == made
