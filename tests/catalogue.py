"""Every public transformation and schedule, once or once per form, with what the laws have to know of it."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

import gradtx as gx
from gradtx import Schedule, Transformation


@dataclass(frozen=True)
class Member:
    tx: Transformation
    extra: Callable[[Any, Any], dict[str, Any]] = lambda updates, params: {}  # arguments that its update needs
    needs_params: bool = False
    elementwise: bool = True  # each element's update depends on nothing but its own past
    linear: bool = False  # a complex number may pass as it is: conjugating it is the point
    unused: tuple[str, ...] = ()  # hyperparameters that may not be given, or decide nothing, together with the others

    def update(self, updates: Any, state: Any, params: Any = None, *, tx: Any = None) -> tuple[Any, Any]:
        """The update of the member, or of a relative of it that takes the same extra arguments."""
        return (tx or self.tx).update(updates, state, params, **self.extra(updates, params))


WHOLE: dict[str, Any] = dict(needs_params=True, elementwise=False)


def problem(updates: Any, params: Any, sign: float = 1.0) -> dict[str, Any]:
    """The extra arguments of a loss that has the updates for its gradient, and curvature that differs by element."""

    leaves, structure = jax.tree.flatten(updates, is_leaf=lambda x: x is None)

    def part(u: Any, p: Any, x: Any) -> Any:
        if u is None:
            return 0.0
        change, u = (jnp.asarray(a, jnp.promote_types(a.dtype, jnp.float32)) for a in (x - p, u))
        curved = jnp.linspace(0.5, 1.5, x.shape[-1] if x.ndim else 1).reshape((1,) * (x.ndim - 1) + (-1,))
        squares = curved.astype(change.real.dtype) * (change * change.conj()).real
        fourth = jnp.real(change) ** 4 + jnp.imag(change) ** 4
        return jnp.sum(sign * (u.conj() * change).real + squares + 0.2 * fourth)

    def loss(w: Any) -> Any:
        others = (structure.flatten_up_to(tree) for tree in (params, w))
        return jnp.asarray(1.0 + sum(map(part, leaves, *others)))

    grad = jax.tree.map(lambda u: sign * jnp.conj(u), updates)
    return dict(value=1.0, grad=grad, value_fn=loss, loss_fn=loss)


TRANSFORMATIONS = [
    Member(gx.identity()),
    Member(gx.chain()),
    Member(gx.scale(0.5)),
    Member(gx.conjugate(), linear=True),
    Member(gx.scale_by_learning_rate(0.1)),
    Member(gx.scale_by_momentum(0.9)),
    Member(gx.scale_by_momentum(0.9, nesterov=True, dampening=0.1)),
    Member(gx.ema(0.9)),
    Member(gx.bias_correction(0.9)),
    Member(gx.scale_by_rms(0.9)),
    Member(gx.scale_by_rms(0.9, eps_root=1e-8, centered=True, debias=True, initial=0.1)),
    Member(gx.scale_by_adam()),
    Member(gx.scale_by_adam(0.8, 0.99, eps_root=1e-8, nesterov=True)),
    Member(gx.clip_by_value(0.3)),
    Member(gx.clip_by_norm(0.3), elementwise=False),
    Member(gx.clip_by_global_norm(0.3), elementwise=False),
    Member(gx.add_decayed_weights(0.1), needs_params=True),
    Member(gx.sgd(0.1), unused=("dampening",)),
    Member(gx.sgd(0.1, momentum=0.9, nesterov=True)),
    Member(gx.rmsprop(0.1)),
    Member(gx.rmsprop(0.1, centered=True, momentum=0.9)),
    Member(gx.adam(0.1)),
    Member(gx.adamw(0.1, weight_decay=0.1), needs_params=True),
    Member(gx.scale_by_lbfgs(), **WHOLE),
    Member(gx.lbfgs(3, curv_rtol=0.1, max_learning_rate=2.0), problem, unused=("slope_rtol",), **WHOLE),
    Member(gx.scale_by_newton(0.1), problem, **WHOLE),
    Member(gx.newton(max_steps=5), problem, **WHOLE),
    # One of a line search's two conditions decides its step: the stricter one.
    Member(
        gx.scale_by_zoom_linesearch(5, slope_rtol=0.9, curv_rtol=0.1),
        functools.partial(problem, sign=-1.0),
        unused=("curv_rtol",),
        **WHOLE,
    ),
    Member(gx.chain(gx.clip_by_global_norm(0.3), gx.adamw(0.1)), needs_params=True, elementwise=False),
]

SCHEDULES: list[Schedule] = [
    gx.constant(0.1),
    gx.linear(0.1, 0.01, 10),
    gx.exponential(0.1, 0.5, 10),
    gx.exponential(0.1, 0.5, 10, staircase=True),
    gx.cosine(0.1, 10, floor=0.01),
    gx.warmup(0.1, 10),
    gx.warmup(0.1, 5).then(gx.cosine(0.1, 10), at=5),
    gx.cosine(0.1, 10) * 0.5 + gx.constant(0.01),
]
