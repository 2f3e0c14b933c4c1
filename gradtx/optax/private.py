"""Optax's aggregation of the examples' gradients, of which little can be learned of one of them."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from gradtx.core import check
from gradtx.core.collectives import Axes
from gradtx.core.flow import Flow
from gradtx.core.keys import Seed, make_key
from gradtx.core.rule import Rule
from gradtx.core.tree import narrow, widen
from gradtx.optax.blocks import identity, scale_by_learning_rate, trace
from gradtx.optax.borrow import Real, leave_unless, optax_transformation
from gradtx.optax.wrappers import chain
from gradtx.transforms.examples import factors_of_examples, put_sums, sum_of_examples, sum_over, take_examples
from gradtx.values.errors import Refusal, errors_of

PRIVATE = optax.contrib.DifferentiallyPrivateAggregateState


@optax_transformation
def differentially_private_aggregate(
    l2_norm_clip: Real, noise_multiplier: Real, key: Seed | None = None, *, seed: Any = None
):
    """With Optax's numbers: its key, which is in the state, splits at each step into one for each array."""
    leave_unless(key=key is not None, seed=seed is None)  # for which Optax has a warning

    def init(params: Any) -> Any:
        return PRIVATE(jnp.copy(make_key(key)))

    def advance_private(flow: Flow, state: Any, extra: dict[str, Any]) -> Any:
        check.require_state(state, PRIVATE)
        places, arrays, axes = take_examples(flow)
        factors = factors_below(arrays, axes, [l2_norm_clip], one_norm=True)
        after, *keys = jax.random.split(state.rng_key, len(arrays) + 1)
        drawn = dict(zip(places, zip(keys, arrays, strict=True), strict=True))

        def mean_with_noise(total: Array, i: int) -> Array:
            own, x = drawn[i]
            noise = widen(jax.random.normal(own, x.shape[1:], check.promote(x.dtype)))
            deviation = jnp.asarray(l2_norm_clip * noise_multiplier, total.dtype)
            return (total + deviation * noise) / (max(len(x), 1) * sum_over(axes, 1))

        put_sums(flow, places, arrays, axes, factors, mean_with_noise)
        return PRIVATE(after)

    return Rule(init, advance_private, selects=True)


@optax_transformation
def dpsgd(
    learning_rate: Real,
    l2_norm_clip: Real,
    noise_multiplier: Real,
    seed: Seed,
    momentum: Real | None = None,
    nesterov: bool = False,
):
    mean = differentially_private_aggregate(l2_norm_clip, noise_multiplier, seed)
    velocity = identity() if momentum is None else trace(momentum, nesterov)
    return chain(mean, velocity, scale_by_learning_rate(learning_rate))


def factors_below(arrays: list[Array], axes: Axes, bounds: list[Any], *, one_norm: bool) -> list[Array]:
    """What each example's gradient of each array is multiplied by, 1 for zeros below a bound of 0, as in Optax."""
    factors, _ = factors_of_examples(arrays, axes, lambda arrays: bounds, one_norm)
    return [jnp.where(jnp.isnan(factor), 1.0, factor) for factor in factors]


# ---- functions of trees ----


def per_example_global_norm_clip(grads: Any, l2_norm_clip: Any) -> tuple[Any, Array]:
    """Optax's function: the sum of the examples' gradients, each brought to a norm, and how many were above it."""
    with errors_of("per_example_global_norm_clip"):
        leaves, structure = jax.tree.flatten(grads)
        arrays = as_examples(leaves)
        factors = factors_below(arrays, (), [l2_norm_clip], one_norm=True)
        sums = [narrow(sum_of_examples(x, factor), x.dtype) for x, factor in zip(arrays, factors, strict=True)]
        return structure.unflatten(sums), jnp.sum(factors[0] < 1.0)


def per_example_layer_norm_clip(grads: Any, global_l2_norm_clip: Any, uniform: bool = True) -> tuple[Any, Any]:
    """Optax's function: the same with a norm of its own for each array, and as many counts."""
    with errors_of("per_example_layer_norm_clip"):
        leaves, structure = jax.tree.flatten(grads)
        arrays = as_examples(leaves)
        sizes = [1 if uniform else max(x[0].size, 1) for x in arrays]
        bounds = [global_l2_norm_clip * (size / sum(sizes)) ** 0.5 for size in sizes]
        factors = factors_below(arrays, (), bounds, one_norm=False)
        sums = [narrow(sum_of_examples(x, factor), x.dtype) for x, factor in zip(arrays, factors, strict=True)]
        return structure.unflatten(sums), structure.unflatten([jnp.sum(factor < 1.0) for factor in factors])


def as_examples(leaves: list[Any]) -> list[Array]:
    """Gradients of equally many examples, as arrays of numbers that have a norm."""
    arrays = [jnp.asarray(x) for x in leaves]
    shapes = [x.shape for x in arrays]
    if not arrays or any(not shape or shape[0] != shapes[0][0] for shape in shapes):
        remedy = "as jax.vmap(jax.grad(loss), (None, 0)) makes them"
        problem = f"grads must have equally many examples along the first axis of each array, {remedy}"
        raise Refusal(ValueError, f"{problem}; got shapes {', '.join(map(str, shapes[:5])) or 'of none'}")
    return [x if check.is_inexact(x.dtype) else x.astype(jnp.result_type(float)) for x in arrays]
