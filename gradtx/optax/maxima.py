"""Optax's SM3, whose state has the maxima along each axis in a list of their own."""

from typing import Any

import jax
import jax.numpy as jnp

from gradtx.core import check
from gradtx.optax.blocks import scale_by_learning_rate
from gradtx.optax.borrow import Fixed, Real, leave_unless, optax_transformation
from gradtx.optax.states import Restated, restate
from gradtx.optax.wrappers import chain
from gradtx.optimizers import sm3 as of_sm3
from gradtx.values.errors import Refusal


@optax_transformation
def scale_by_sm3(b1: Real = 0.9, b2: Fixed = 1.0, eps: Real = 1e-8):
    leave_unless(b2=isinstance(b2, float | int) and b2 == 1.0, b1=not callable(b1), eps=not callable(eps))
    return WithAxes.of(**vars(restate(of_sm3.scale_by_sm3(b1, eps), of_sm3.ScaleBySm3State)))


class WithAxes(Restated):
    """The rule of a member whose state has a place for what has axes alone."""

    def init(self, params: Any) -> Any:
        leaves = jax.tree.leaves(params, is_leaf=check.is_none)
        for i, p in enumerate(leaves):
            if p is not None and (not jnp.ndim(p) or jnp.iscomplexobj(p)):
                what = "is complex" if jnp.iscomplexobj(p) else "has no axes"
                remedy = "leave it to another one, as partition does, or use gradtx.sm3"
                where = f"params{check.path_to(params, i)}"
                raise Refusal(ValueError, f"{where} {what}, and Optax's state has no place for it; {remedy}")
        return super().init(params)

    def inside(self, state: Any) -> Any:
        return of_sm3.ScaleBySm3State(jax.tree.map(join_maxima, state.nu, state.mu), state.nu)


def join_maxima(nu: jax.Array, maxima: list[jax.Array]) -> jax.Array:
    return maxima[0] if nu.ndim < 2 else jnp.concatenate(maxima)


@optax_transformation
def sm3(learning_rate: Real, momentum: Real = 0.9):
    return chain(scale_by_sm3(momentum), scale_by_learning_rate(learning_rate))
