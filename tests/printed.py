"""What peers printed for a matrix M and a vector V: three gradients of each, or those of a loss at the current ones."""

import jax
import jax.numpy as jnp
import numpy as np

import gradtx as gx

M = np.array([[0.5, -1.0, 1.5], [2.0, 0.25, -0.75]])
V = np.array([1.0, -2.0, 3.0])
GRADS_M = np.array(
    [
        [[0.1, -0.2, 0.3], [0.4, 0.05, -0.1]],
        [[0.3, 0.1, -0.2], [-0.1, 0.2, 0.4]],
        [[-0.2, 0.5, 0.1], [0.3, -0.3, 0.2]],
    ]
)
GRADS_V = np.array([[0.1, -0.2, 0.3], [0.4, 0.1, -0.2], [-0.1, 0.5, 0.2]])


def checksum(x):
    """Σ k·x_k, from 1 on in the order of the rows."""
    x = np.ravel(x)
    return float(x @ np.arange(1, x.size + 1))


def after(tx, start, grads, steps=None):
    """The parameters behind these steps, with gradients that repeat."""
    params = jnp.asarray(start)
    state, update = tx.init(params), jax.jit(tx.update)
    for t in range(steps or len(grads)):
        updates, state = update(jnp.asarray(grads[t % len(grads)]), state, params)
        params = gx.apply_updates(params, updates)
    return np.asarray(params)


def golden(direction, start=M, grads=GRADS_M, *, transposed=False, steps=None, rate=0.1):
    """The checksum behind a direction times a rate; transposed for a peer whose kernels are outputs by inputs."""
    turn = (lambda x: np.swapaxes(x, -1, -2)) if transposed else (lambda x: x)
    tx = gx.chain(direction, gx.scale_by_learning_rate(rate))
    return checksum(turn(after(tx, turn(start), turn(grads), steps)))


# ---- the tree of both ----

TREE = {"m": M, "v": V}
CURVATURE = np.array([1.0, 0.5, 0.25])


def loss(params):
    return 0.5 * (jnp.sum(params["m"] ** 2) + jnp.sum(CURVATURE * params["v"] ** 2))


def sums(params):
    return checksum(params["m"]), checksum(params["v"])


def fed(tx, steps=3):
    """The checksums behind these steps with the gradients in turn, which repeat."""
    grads = [{"m": GRADS_M[t % 3], "v": GRADS_V[t % 3]} for t in range(steps)]
    return sums(path(tx, lambda t, params: grads[t], steps)[0])


def descended(tx, steps=3):
    """The checksums behind these steps with the gradient of `loss` at the current parameters."""
    return sums(path(tx, lambda t, params: jax.grad(loss)(params), steps)[0])


def path(tx, grad, steps):
    """The parameters and the state behind these steps; the update is given what it takes of the loss."""
    params = jax.tree.map(jnp.asarray, TREE)
    state = tx.init(params)
    for t in range(steps):
        g = grad(t, params)
        known = dict(value=loss(params), grad=g, value_fn=loss, loss_fn=loss, grad_fn=jax.grad(loss))
        updates, state = tx.update(g, state, params, **gx.extra_for(tx, known))
        params = gx.apply_updates(params, updates)
    return params, state
