"""Optax's wrappers that change the steps of any optimizer and are gradtx's with another state."""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax

from gradtx.core import check
from gradtx.core.count import value_at
from gradtx.core.flow import Flow
from gradtx.core.lift import copy_params
from gradtx.core.rule import Part, Rule, going_down
from gradtx.core.transformation import advance, start
from gradtx.optax.blocks import add_decayed_weights, scale_by_learning_rate, scale_by_rms
from gradtx.optax.borrow import Fixed, Real, as_plain_number, is_float32, leave_unless, optax_transformation
from gradtx.optax.optimizers import sgd
from gradtx.optax.schedules import warmup_constant_schedule
from gradtx.optax.states import restate
from gradtx.optax.wrappers import as_pair, chain
from gradtx.values.annotations import Check
from gradtx.wrappers import mechanize as of_mechanize
from gradtx.wrappers.branch import cast_like
from gradtx.wrappers.schedule_free import ScheduleFreeState, move_average

Optimizer = Annotated[optax.GradientTransformation, Check(as_pair)]
STATE_OF_BASE = ("base_optimizer_state",)


def start_anew(tx: Any, params: Any, state: Any) -> Any:
    """The fresh state of a part in the form of the one that it takes the place of: a mask has marks of its own there,
    in the places of other arrays.
    """
    leaves, structure = jax.tree.flatten(state)
    pairs = zip(jax.tree.leaves(start(tx, params)), leaves, strict=True)
    return structure.unflatten([cast_like(jnp.asarray(fresh), jnp.asarray(old)) for fresh, old in pairs])


@optax_transformation
def schedule_free(
    base_optimizer: Optimizer,
    learning_rate: Real,
    b1: Real = 0.9,
    weight_lr_power: Real = 2.0,
    state_dtype: Any = None,
):
    leave_unless(state_dtype=is_float32(state_dtype), b1=not callable(b1))
    kind = optax.contrib.ScheduleFreeState

    def init(params: Any) -> Any:
        dtype = jnp.result_type(float)
        zeros = dict(weight_sum=jnp.zeros([], dtype), max_lr=jnp.zeros([], dtype))
        inside = start(base_optimizer, params)
        count = jnp.ones([], jnp.int32)
        z = copy_params(params)
        return kind(b1=jnp.array(b1, dtype), step_count=count, base_optimizer_state=inside, z=z, **zeros)

    def advance_averaged(flow: Flow, state: Any, extra: dict[str, Any]) -> Any:
        check.require_state(state, kind)
        inside = advance(base_optimizer, flow, state.base_optimizer_state, extra, "base_optimizer")
        rate = value_at(learning_rate, state.step_count).astype(state.max_lr.dtype)
        own = ScheduleFreeState(state.step_count, state.b1, state.weight_sum, state.max_lr, state.z, inside)
        after = move_average(flow, own, rate, jnp.ones_like(rate), b1, weight_lr_power, 0.0)
        return kind(after.b1, after.weight_sum, after.count, after.max_lr, inside, after.z)

    parts = {"base_optimizer": Part(base_optimizer, STATE_OF_BASE)}
    return going_down(Rule(init, advance_averaged, parts=parts, counts=(("step_count",),)))


@optax_transformation
def schedule_free_sgd(
    learning_rate: Real = 1.0,
    warmup_steps: Fixed | None = None,
    b1: Real = 0.9,
    weight_decay: Real | None = None,
    weight_lr_power: Real = 2.0,
    state_dtype: Any = None,
):
    rate = learning_rate if warmup_steps is None else warmup_constant_schedule(0.0, learning_rate, warmup_steps)
    optimizer = sgd(rate)
    if weight_decay is not None:
        optimizer = chain(add_decayed_weights(weight_decay), optimizer)
    return schedule_free(optimizer, rate, b1, weight_lr_power, state_dtype)


@optax_transformation
def schedule_free_adamw(
    learning_rate: Real = 0.0025,
    warmup_steps: Fixed | None = None,
    b1: Real = 0.9,
    b2: Real = 0.999,
    eps: Real = 1e-8,
    weight_decay: Real = 0.0,
    weight_lr_power: Real = 2.0,
    state_dtype: Any = None,
):
    rate = learning_rate if warmup_steps is None else warmup_constant_schedule(0.0, learning_rate, warmup_steps)
    optimizer = chain(
        scale_by_rms(decay=b2, eps=eps, eps_in_sqrt=False, bias_correction=True),
        add_decayed_weights(weight_decay),
        scale_by_learning_rate(rate),
    )
    return schedule_free(optimizer, rate, b1, weight_lr_power, state_dtype)


@optax_transformation
def mechanize(
    base_optimizer: Optimizer,
    weight_decay: Real = 1e-2,
    eps: Real = 1e-8,
    s_init: Real = 1e-6,
    num_betas: Annotated[int, Check(as_plain_number)] = 6,
):
    tx = of_mechanize.mechanize(base_optimizer, weight_decay, eps, s_init, num_betas)
    rule = restate(tx, of_mechanize.MechanizeState)
    if rule is not tx:
        rule.parts = {"base_optimizer": Part(base_optimizer, STATE_OF_BASE)}
    return rule
