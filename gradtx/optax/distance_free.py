"""Optax's rules that find their rate, with its states: what a member keeps is in them by Optax's names."""

from typing import Any, Literal

import jax.numpy as jnp
from jax import Array

from gradtx.core.collectives import manual_axes
from gradtx.core.lift import per_array
from gradtx.core.pair import state_kind
from gradtx.core.tree import joint_norm, norm, root
from gradtx.optax.blocks import add_decayed_weights, identity, scale_by_learning_rate
from gradtx.optax.borrow import Fixed, Real, leave_unless, optax_transformation, original
from gradtx.optax.optimizers import sgd
from gradtx.optax.states import restate, stateless_member
from gradtx.optax.trees import OptionalMask
from gradtx.optax.wrappers import chain
from gradtx.optimizers import cocob as of_cocob
from gradtx.optimizers import d_adaptation as of_d_adaptation
from gradtx.optimizers import distance_over_gradients as of_distance
from gradtx.optimizers import momo as of_momo
from gradtx.optimizers import polyak as of_polyak
from gradtx.optimizers import prodigy as of_prodigy
from gradtx.optimizers.whole_tree import avoid_zero


def decayed(weight_decay: Any, mask: Any) -> Any:
    return identity() if weight_decay is None else add_decayed_weights(weight_decay, mask)


# ---- by the distance ----


@optax_transformation
def step_by_dog(init_step: Any, eps: Real = 1e-8):
    leave_unless(init_step=isinstance(init_step, tuple) and len(init_step) == 2 and init_step[0] in STARTS)
    name, number = init_step
    member = of_distance.scale_by_dog(eps=eps, **{STARTS[name]: number})

    def first(state: Any, params: Any) -> Any:
        starts = dict(distance=number, learning_rate=0.0)
        least = starts[name] if name in starts else number * (1.0 + joint_norm(params))
        return state._replace(max_dist=jnp.asarray(least, state.max_dist.dtype))

    return restate(member, of_distance.ScaleByDogState, first=first)


STARTS = {"distance": "initial_distance", "learning_rate": "initial_rate", "heuristic": "reps"}


@optax_transformation
def dog(
    learning_rate: Real = 1.0,
    init_step: Any = ("heuristic", 1e-6),
    eps: Real = 1e-8,
    weight_decay: Real | None = None,
    mask: OptionalMask = None,
):
    return chain(decayed(weight_decay, mask), step_by_dog(init_step, eps), scale_by_learning_rate(learning_rate))


@optax_transformation
def step_by_dowg(init_estim_sq_dist: Real | None = None, eps: Real = 1e-4):
    distance = None if init_estim_sq_dist is None else init_estim_sq_dist**0.5
    member = of_distance.scale_by_dowg(eps, initial_distance=distance)

    def first(state: Any, params: Any) -> Any:
        least = eps if init_estim_sq_dist is None else init_estim_sq_dist
        return state._replace(estim_sq_dist=jnp.asarray(least, state.estim_sq_dist.dtype))

    return restate(member, of_distance.ScaleByDowgState, first=first)


@optax_transformation
def dowg(
    learning_rate: Real = 1.0,
    init_estim_sq_dist: Real | None = None,
    eps: Real = 1e-4,
    weight_decay: Real | None = None,
    mask: OptionalMask = None,
):
    direction = step_by_dowg(init_estim_sq_dist, eps)
    return chain(decayed(weight_decay, mask), direction, scale_by_learning_rate(learning_rate))


@optax_transformation
def scale_by_distance_over_gradients(
    reps_rel: Real = 1e-6, eps: Real = 1e-8, param_dtype: Any = jnp.float32, global_scale: Real = 1.0
):
    """With Optax's state: sums are arrays of one number, and the first parameters have a dtype of their own."""
    leave_unless(param_dtype=jnp.issubdtype(param_dtype, jnp.floating))

    def init(p: Array) -> dict[str, Any]:
        least = jnp.asarray(0.0 if manual_axes() else reps_rel * (1.0 + norm(p)), p.dtype)
        return dict(max_dist=least, grad_sum_of_squares=jnp.zeros(1, p.dtype), init_params=p.astype(param_dtype))

    def update(g: Array, state: Any, p: Array) -> Any:
        first = state.init_params.astype(p.dtype)
        farthest = jnp.maximum(state.max_dist, norm(p - first))
        if manual_axes():  # where init did not know the size of the whole
            farthest = jnp.maximum(farthest, reps_rel * (1.0 + norm(first)))
        squares = state.grad_sum_of_squares + jnp.square(norm(g))
        rate = farthest / avoid_zero(root(squares[0] + eps))
        return global_scale * rate * g, dict(
            max_dist=farthest, grad_sum_of_squares=squares, init_params=state.init_params
        )

    return per_array(THEIR_DISTANCES, init, update)


THEIR_DISTANCES: Any = state_kind(original("scale_by_distance_over_gradients"))


@optax_transformation
def prodigy(
    learning_rate: Real = 1.0,
    betas: tuple[Real, Real] = (0.9, 0.999),
    beta3: Real | None = None,
    eps: Real = 1e-8,
    estim_lr0: Real = 1e-6,
    estim_lr_coef: Real = 1.0,
    weight_decay: Real = 0.0,
    safeguard_warmup: bool = False,
):
    leave_unless(betas=not any(map(callable, betas)))
    member = of_prodigy.prodigy(
        learning_rate,
        *betas,
        beta3,
        eps,
        weight_decay,
        d0=estim_lr0,
        coef=estim_lr_coef,
        debias=True,
        safeguard=safeguard_warmup,
    )
    return restate(member, of_prodigy.ProdigyState)


@optax_transformation
def dadapt_adamw(
    learning_rate: Real = 1.0,
    betas: tuple[Real, Real] = (0.9, 0.999),
    eps: Real = 1e-8,
    estim_lr0: Real = 1e-6,
    weight_decay: Real = 0.0,
):
    leave_unless(betas=not any(map(callable, betas)))
    member = of_d_adaptation.dadapt_adamw(learning_rate, *betas, eps, weight_decay, d0=estim_lr0)
    return restate(member, of_d_adaptation.DAdaptAdamwState)


# ---- by the loss ----


@optax_transformation
def scale_by_polyak(
    f_min: Real = 0.0, max_learning_rate: Real = 1.0, eps: Real = 0.0, variant: Literal["sps", "sps+"] = "sps"
):
    leave_unless(variant=variant in ("sps", "sps+"))
    member = of_polyak.scale_by_polyak(max_learning_rate, f_min, eps, positive=variant == "sps+")
    return stateless_member(member)


@optax_transformation
def polyak_sgd(
    max_learning_rate: Real = 1.0,
    scaling: Real = 1.0,
    f_min: Real = 0.0,
    eps: Real = 0.0,
    variant: Literal["sps", "sps+"] = "sps",
):
    return chain(sgd(scaling), scale_by_polyak(f_min, max_learning_rate, eps, variant))


@optax_transformation
def momo(
    learning_rate: Real = 1.0,
    beta: Real = 0.9,
    lower_bound: Real = 0.0,
    weight_decay: Fixed = 0.0,
    adapt_lower_bound: bool = False,
):
    leave_unless(weight_decay=isinstance(weight_decay, float | int) and weight_decay == 0)  # it decays otherwise
    member = of_momo.momo(learning_rate, beta, lower_bound, adapt_lower_bound=adapt_lower_bound)
    return restate(member, of_momo.MomoState)


@optax_transformation
def momo_adam(
    learning_rate: Real = 1e-2,
    b1: Real = 0.9,
    b2: Real = 0.999,
    eps: Real = 1e-8,
    lower_bound: Real = 0.0,
    weight_decay: Real = 0.0,
    adapt_lower_bound: bool = False,
):
    member = of_momo.momo_adam(
        learning_rate, b1, b2, eps, lower_bound, weight_decay, adapt_lower_bound=adapt_lower_bound
    )
    return restate(member, of_momo.MomoAdamState)


# ---- by bets ----


@optax_transformation
def scale_by_cocob(alpha: Real = 100.0, eps: Real = 1e-8):
    return restate(of_cocob.cocob(alpha, eps), of_cocob.CocobState)


@optax_transformation
def cocob(
    learning_rate: Real = 1.0,
    alpha: Real = 100.0,
    eps: Real = 1e-8,
    weight_decay: Real = 0.0,
    mask: OptionalMask = None,
):
    rate = scale_by_learning_rate(learning_rate, flip_sign=False)
    return chain(add_decayed_weights(weight_decay, mask), rate, scale_by_cocob(alpha, eps))
