"""Optax's wrappers that act where a function says so, and its blocks that wait or look."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from gradtx.core import check
from gradtx.core.count import increment, period_of
from gradtx.core.flow import Flow
from gradtx.core.lift import PerArray
from gradtx.core.rule import NONE, Keys, Part, Rule
from gradtx.core.transformation import start
from gradtx.core.walk import writes
from gradtx.optax.borrow import StepCount, optax_transformation
from gradtx.optax.over_any import Optimizer
from gradtx.values.errors import Refusal
from gradtx.wrappers.branch import advance_where, in_form_of, run_branch


@optax_transformation
def conditionally_transform(inner: Optimizer, should_transform_fn: Any, forward_extra_args: bool = False):
    kind = optax.transforms.ConditionallyTransformState
    exact = writes(inner)

    def advance_or_pass(flow: Flow, state: Any, extra: dict[str, Any]) -> Any:
        check.require_state(state, kind)
        updates = flow.updates()
        acts = ask(should_transform_fn, state.step, extra if forward_extra_args else {})
        as_it_is = in_form_of(updates, updates, exact), state.inner_state
        out, inner_state = jax.lax.cond(
            acts, lambda: run_branch(inner, flow, state.inner_state, extra, "inner", exact), lambda: as_it_is
        )
        flow.put(out)
        return kind(inner_state=inner_state, step=increment(jnp.asarray(state.step)))

    return rule_of_condition(kind, inner, forward_extra_args, advance_or_pass)


@optax_transformation
def conditionally_mask(inner: Optimizer, should_transform_fn: Any, forward_extra_args: bool = False):
    kind = optax.transforms.ConditionallyMaskState

    def advance_or_stop(flow: Flow, state: Any, extra: dict[str, Any]) -> Any:
        check.require_state(state, kind)
        acts = ask(should_transform_fn, state.step, extra if forward_extra_args else {})
        inner_state = advance_where(acts, inner, flow, state.inner_state, extra, "inner")
        return kind(step=increment(jnp.asarray(state.step)), inner_state=inner_state)

    return rule_of_condition(kind, inner, forward_extra_args, advance_or_stop)


def rule_of_condition(kind: Any, inner: Any, forwards: bool, advance: Callable[..., Any]) -> Rule:
    def init(params: Any) -> Any:
        return kind(step=jnp.zeros([], jnp.int32), inner_state=start(inner, params))

    takes = None if forwards else NONE  # the function may ask for any
    parts = {"inner": Part(inner, ("inner_state",))}
    return Rule(init, advance, takes=takes, parts=parts)


def ask(function: Any, step: Any, extra: dict[str, Any]) -> jax.Array:
    """Whether the inner transformation acts, as the user's function says."""
    said = jnp.asarray(function(step, **extra))
    if said.shape or said.dtype != bool:
        problem = f"should_transform_fn must return one truth value, got {said.dtype}{list(said.shape)}"
        raise Refusal(TypeError, f"{problem}; write a comparison of the step, such as step % 10 == 0")
    return said


# ---- sums of several gradients ----


class Sums(PerArray):
    """The rule of sums that start anew every so many updates; its count does too."""

    every: Any

    @property
    def counts(self) -> tuple[Keys, ...]:
        return ()

    def scalars(self) -> dict[str, tuple[Any, Callable[[Any], Any]]]:
        return {"count": (0, lambda state: increment(state.count) % period_of(self.every))}


@optax_transformation
def apply_every(k: StepCount = 1):
    def init(p: jax.Array) -> dict[str, Any]:
        return dict(grad_acc=jnp.zeros_like(p))

    def update(g: jax.Array, state: Any) -> Any:
        total = jnp.where(state.count == 0.0, 0.0, state.grad_acc) + g
        full = state.count + 1.0 >= jnp.asarray(k).astype(g.dtype)
        return jnp.where(full, total, 0.0), dict(grad_acc=total)

    return Sums.of(state_type=optax.ApplyEvery, init_one=init, update_one=update, shared={}, every=k)


# ---- a look on the way ----


@optax_transformation
def snapshot(measure_name: str, measure: Any):
    def init(params: Any) -> Any:
        return optax.transforms.SnapshotState({measure_name: measure(params)})

    def advance_unchanged(flow: Flow, state: Any, extra: dict[str, Any]) -> Any:
        check.require_state(state, optax.transforms.SnapshotState)
        return optax.transforms.SnapshotState({measure_name: measure(flow.updates())})

    return Rule(init, advance_unchanged)
