"""Optax's AdEMAMix, ADOPT, MADGRAD and Rprop: signatures, defaults and states as there, the first three made of
gradtx's members.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from gradtx.checkpoints.rows import ROWS
from gradtx.core.factories import Composed
from gradtx.core.lift import per_array
from gradtx.core.rule import going_down
from gradtx.optax.blocks import add_decayed_weights, scale, scale_by_learning_rate
from gradtx.optax.borrow import Real, is_float32, leave_unless, optax_transformation, original
from gradtx.optax.states import restate
from gradtx.optax.trees import OptionalMask
from gradtx.optax.wrappers import chain
from gradtx.optimizers import ademamix as of_ademamix
from gradtx.optimizers import adopt as of_adopt
from gradtx.optimizers import madgrad as of_madgrad

TWO_COUNTS = ROWS[of_ademamix.ScaleByAdemamixState]._replace(read=None, write=None)  # which may differ, as in Optax


@optax_transformation
def scale_by_ademamix(
    b1: Real = 0.9,
    b2: Real = 0.999,
    b3: Real = 0.9999,
    alpha: Real = 6.0,
    eps: Real = 1e-8,
    eps_root: Real = 0.0,
    mu_dtype: Any = None,
):
    leave_unless(mu_dtype=is_float32(mu_dtype))
    direction = of_ademamix.scale_by_ademamix(b1, b2, b3, alpha, eps, eps_root=eps_root)
    return restate(direction, of_ademamix.ScaleByAdemamixState, TWO_COUNTS, clock="count_m2")


@optax_transformation
def ademamix(
    learning_rate: Real,
    b1: Real = 0.9,
    b2: Real = 0.999,
    b3: Real = 0.9999,
    alpha: Real = 5.0,
    eps: Real = 1e-8,
    eps_root: Real = 0.0,
    mu_dtype: Any = None,
    weight_decay: Real = 0.0,
    mask: OptionalMask = None,
):
    direction = scale_by_ademamix(b1, b2, b3, alpha, eps, eps_root, mu_dtype)
    return chain(direction, add_decayed_weights(weight_decay, mask), scale_by_learning_rate(learning_rate))


@optax_transformation
def scale_by_simplified_ademamix(
    b1: Real = 0.99, b2: Real = 0.95, alpha: Real = 0.0, eps: Real = 1e-8, eps_root: Real = 0.0
):
    direction = of_ademamix.scale_by_simplified_ademamix(b1, b2, alpha, eps, eps_root=eps_root)
    return restate(direction, of_ademamix.ScaleBySimplifiedAdemamixState)


@optax_transformation
def simplified_ademamix(
    learning_rate: Real,
    b1: Real = 0.99,
    b2: Real = 0.95,
    alpha: Real = 0.0,
    eps: Real = 1e-8,
    eps_root: Real = 0.0,
    weight_decay: Real = 0.0,
    mask: OptionalMask = None,
):
    direction = scale_by_simplified_ademamix(b1, b2, alpha, eps, eps_root)
    return chain(direction, add_decayed_weights(weight_decay, mask), scale_by_learning_rate(learning_rate))


class FourthRoot:
    """Optax's default bound of ADOPT, equal to it; it pickles by its name, since a lambda doesn't."""

    def __call__(self, count: jax.Array) -> jax.Array:
        return count**0.25

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FourthRoot) or any(other is bound for bound in THEIR_BOUNDS)

    def __hash__(self) -> int:
        return hash(FourthRoot)

    def __reduce__(self) -> str:
        return "FOURTH_ROOT"


THEIR_BOUNDS = [x.__kwdefaults__["clip_value_fn"] for x in map(original, ("adopt", "scale_by_adopt")) if x]
FOURTH_ROOT = FourthRoot()


@optax_transformation
def scale_by_adopt(
    b1: Real = 0.9,
    b2: Real = 0.9999,
    eps: Real = 1e-6,
    mu_dtype: Any = None,
    *,
    nesterov: bool = False,
    use_clipping: bool = True,
    clip_value_fn: Callable[[jax.Array], jax.Array] = FOURTH_ROOT,
):
    leave_unless(clip_value_fn=clip_value_fn == FOURTH_ROOT or not use_clipping)
    direction = of_adopt.scale_by_adopt(b1, b2, eps, clip=use_clipping, nesterov=nesterov)
    return restate(direction, of_adopt.ScaleByAdoptState, dtypes=dict(mu=mu_dtype))


@optax_transformation
def adopt(
    learning_rate: Real,
    b1: Real = 0.9,
    b2: Real = 0.9999,
    eps: Real = 1e-6,
    mu_dtype: Any = None,
    *,
    nesterov: bool = False,
    use_clipping: bool = True,
    clip_value_fn: Callable[[jax.Array], jax.Array] = FOURTH_ROOT,
):
    direction = scale_by_adopt(
        b1, b2, eps, mu_dtype, nesterov=nesterov, use_clipping=use_clipping, clip_value_fn=clip_value_fn
    )
    return chain(direction, scale_by_learning_rate(learning_rate))


@optax_transformation
def scale_by_madgrad(learning_rate: Real, momentum: Real = 0.9, eps: Real = 1e-6):
    direction = of_madgrad.madgrad(learning_rate, momentum, eps)
    return restate(direction, of_madgrad.MadgradState)


@optax_transformation
def madgrad(learning_rate: Real, momentum: Real = 0.9, weight_decay: Real = 0.0, eps: Real = 1e-6):
    return chain(add_decayed_weights(weight_decay), scale_by_madgrad(learning_rate, momentum, eps))


@optax_transformation
def scale_by_rprop(
    learning_rate: Real,
    eta_minus: Real = 0.5,
    eta_plus: Real = 1.2,
    min_step_size: Real = 1e-6,
    max_step_size: Real = 50.0,
):
    def init(p: jax.Array) -> dict[str, Any]:
        return dict(step_sizes=jnp.full_like(p, learning_rate), prev_updates=jnp.zeros_like(p))

    def update(g: jax.Array, state: Any) -> Any:  # what goes out is the step that the last gradient asked for
        agreement = jnp.sign(g * state.prev_updates)
        longer = jnp.where(agreement > 0.0, eta_plus, eta_minus) * state.step_sizes
        sizes = jnp.where(agreement == 0.0, state.step_sizes, jnp.clip(longer, min_step_size, max_step_size))
        turned = agreement < 0.0
        after = jnp.where(turned, 0.0, sizes * jnp.sign(g))
        return jnp.where(turned, 0.0, state.prev_updates), dict(step_sizes=sizes, prev_updates=after)

    return per_array(optax.ScaleByRpropState, init, update)


@optax_transformation
def rprop(
    learning_rate: Real,
    eta_minus: Real = 0.5,
    eta_plus: Real = 1.2,
    min_step_size: Real = 1e-6,
    max_step_size: Real = 50.0,
):
    steps = scale_by_rprop(learning_rate, eta_minus, eta_plus, min_step_size, max_step_size)
    return going_down(Composed.of(tx=chain(steps, scale(-1.0))))
