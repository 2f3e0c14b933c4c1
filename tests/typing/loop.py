"""An ordinary training loop, as a user writes it: clean in a type checker's strict mode (`tests/test_typing.py`)."""

from typing import Any, NamedTuple, assert_type

import jax
import jax.numpy as jnp
from jax import Array

import gradtx as gx

Params = dict[str, Array]
Batch = tuple[Array, Array]


class TwoRatesState(NamedTuple):
    """The state of `two_rates`."""

    fast: Array
    slow: Array
    share: Array


@gx.transformation
def two_rates(fast: gx.Decay = 0.5, slow: gx.Decay = 0.99, floor: gx.NonNegative | None = None):
    """A rule of one's own: the mean of two averages of gradients."""

    def init(p: Array):
        return dict(fast=jnp.zeros_like(p), slow=jnp.zeros_like(p))

    def update(g: Array, state: TwoRatesState):
        quick = fast * state.fast + (1.0 - fast) * g
        calm = slow * state.slow + (1.0 - slow) * g
        mean = 0.5 * (quick + calm / (1.0 - state.share))
        if floor is not None:
            mean = jnp.where(jnp.abs(mean) < floor, -(floor**2), jnp.clip(mean, -floor, jnp.maximum(mean, floor)))
        return mean, dict(fast=quick, slow=calm)

    def follow(state: TwoRatesState):
        return slow * state.share

    return gx.per_array(TwoRatesState, init, update, shared=dict(share=(0.9, follow)))


@gx.transformation
def shrink(threshold: gx.NonNegative):
    """A rule in one line."""
    return gx.stateless(lambda g: jnp.sign(g) * jnp.maximum(jnp.abs(g) - threshold, 0.0))


@gx.composition
def two_rates_sgd(learning_rate: gx.NonNegative, *, fast: gx.Decay = 0.5):
    """A rule made of others."""
    return gx.chain(two_rates(fast), shrink(1e-6), gx.scale_by_learning_rate(learning_rate))


def make_data(key: Array, size: int = 64) -> Batch:
    x = jax.random.normal(key, (size, 3))
    return x, x @ jnp.array([1.0, -2.0, 0.5]) + 0.1


def compute_loss(params: Params, batch: Batch) -> Array:
    x, y = batch
    return jnp.mean((x @ params["w"] + params["b"] - y) ** 2)


rate = gx.warmup(0.05, 10).then(gx.cosine(0.05, 90), at=10) * 0.5
tx = gx.chain(gx.clip_by_global_norm(1.0), gx.adamw(rate, weight_decay=1e-3))


@jax.jit
def step(tx: gx.Transformation, params: Params, state: Any, batch: Batch) -> tuple[Params, Any, Array]:
    value, grads = jax.value_and_grad(compute_loss)(params, batch)
    updates, state = tx.update(grads, state, params)
    return gx.apply_updates(params, updates), state, value


def train(tx: gx.Transformation, steps: int = 20) -> float:
    batch = make_data(jax.random.key(0))
    params: Params = {"w": jnp.zeros(3), "b": jnp.zeros([])}
    state = tx.init(params)
    value = jnp.inf
    for _ in range(steps):
        params, state, value = step(tx, params, state, batch)
    for name, number in gx.metrics(state).items():
        print(f"{name} {float(number):.4f}")
    print(gx.hyperparameters(tx, state))
    print(gx.summary(tx, params))
    assert gx.find(state, "mu")["w"].shape == params["w"].shape
    return float(value)


def halve(count: Array) -> Array:
    return 0.1 * 0.5 ** (count / 10)


def hold_types(params: Params, updates: Params) -> None:
    """What an editor knows of gradtx's results."""
    assert_type(tx, gx.Transformation)
    assert_type(tx.replace(weight_decay=0.1), gx.Transformation)
    assert_type(tx.update(updates, tx.init(params), params), tuple[Any, Any])
    assert_type(gx.apply_updates(params, updates), Params)
    assert_type(gx.adam(1e-3).learning_rate, Any)
    assert_type(rate, gx.Schedule)
    assert_type(1.0 - rate * 0.5, gx.Schedule)
    assert_type(rate(3), Array)
    assert_type(two_rates(), gx.Transformation)
    assert_type(gx.ScaleByAdamState(jnp.array(0), updates, updates).count, Array)
    assert_type(gx.global_norm(updates), Array)


if __name__ == "__main__":
    assert train(tx) < train(tx.replace(weight_decay=1.0))
    for other in (
        gx.sgd(0.1, momentum=0.9),
        gx.adam(jnp.float32(1e-2)),
        gx.sgd(halve),
        gx.sgd(lambda count: 0.1 / (1.0 + count)),
        gx.sgd(gx.controlled(0.1)),
        two_rates_sgd(0.1, fast=gx.linear(0.5, 0.9, 20)),
        gx.skip_nonfinite(gx.accumulate(gx.adam(1e-2), 2), limit=3),
        gx.partition((gx.by_path("b"), gx.sgd(0.1)), default=gx.adam(1e-2)),
        gx.only(gx.lion(1e-3), gx.by_ndim(1)),
    ):
        print(other)
    print(gx.adam(1e-3).learning_rate, gx.piecewise_constant((5, 10), (0.1, 0.01, 0.001))(7))
