"""Draws docs/bound.png, `python -m docs.bound`: gradient descent on the demo's network from near its minimum, at rates
just below and just above 2/λ_max there. Below it stays; above it is thrown out, comes back, and is thrown out again.
"""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

import gradtx as gx
from gradtx.demo import digits

PENALTY = 1e-2  # of the squared weights: with it there is a minimum
SHARES = {0.9: ":", 0.98: "-.", 1.02: "--", 1.1: "-"}
AWAY = 1e-6  # of each weight, from the minimum to where the descent starts
STEPS = 300


def problem() -> Any:
    images, labels = map(jnp.asarray, digits.load().train)

    def loss(w: Any) -> jax.Array:
        penalty = sum(jnp.sum(x**2) for x in jax.tree.leaves(w))
        return digits.cross_entropy(w, images, labels) + 0.5 * PENALTY * penalty

    return loss, jax.tree.map(lambda x: x.astype(float), digits.initial(0))


def minimized(loss: Any, w: Any, steps: int) -> Any:
    """The parameters after so many steps of L-BFGS."""
    tx = gx.lbfgs()

    def step(at: Any, _: None) -> Any:
        w, state = at
        value, grad = optax.value_and_grad_from_state(loss)(w, state=state)
        updates, state = tx.update(grad, state, w, value=value, grad=grad, value_fn=loss)
        return (gx.apply_updates(w, updates), state), None

    return jax.jit(lambda w: jax.lax.scan(step, (w, tx.init(w)), None, steps))(w)[0][0]


@partial(jax.jit, static_argnums=0)
def losses(loss: Any, tx: gx.Transformation, w: Any) -> jax.Array:
    """The loss before each step of the descent."""

    def step(at: Any, _: None) -> Any:
        w, state = at
        value, grad = jax.value_and_grad(loss)(w)
        updates, state = tx.update(grad, state)
        return (gx.apply_updates(w, updates), state), value

    return jax.lax.scan(step, (w, tx.init(w)), None, STEPS)[1]


def draw(path: Path) -> None:
    loss, start = problem()
    w = minimized(loss, start, 1_000)
    bound = gx.max_learning_rate(loss, w)
    print(f"bound at the start: {gx.max_learning_rate(loss, start):.4f}")
    print(f"loss at the minimum: {loss(w):.4f}, bound: {bound:.4f}")
    noise = jax.tree.map(lambda x: AWAY * jax.random.normal(jax.random.key(0), x.shape), w)
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    for share, dashes in SHARES.items():
        values = np.asarray(losses(loss, gx.sgd(share * bound), gx.apply_updates(w, noise)))
        print(f"{share} of the bound: loss {values[0]:.4f}, largest {values.max():.4f}, last {values[-1]:.4f}")
        axes.plot(values, dashes, color="black" if share > 1 else "tab:blue", label=f"{share:g} of 2/λ_max")
    axes.set(yscale="log", xlabel="step of gradient descent from near the minimum", ylabel="training loss with penalty")
    axes.set_yticks([0.3, 0.5, 1.0, 2.0, 5.0], labels=["0.3", "0.5", "1", "2", "5"])
    axes.minorticks_off()
    axes.legend(frameon=False, loc="upper right")
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    draw(Path(__file__).with_suffix(".png"))
