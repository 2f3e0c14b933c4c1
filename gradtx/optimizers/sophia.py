"""Sophia: an average over an estimate of the Hessian's diagonal, each element no longer than one."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from gradtx.core import check
from gradtx.core.combine import chain
from gradtx.core.count import Count, period_of
from gradtx.core.factories import composition, transformation
from gradtx.core.flow import Flow, keep_promises
from gradtx.core.lift import per_array
from gradtx.core.placement import lay_tree_like
from gradtx.core.quantity import Slow
from gradtx.core.rule import Part, Rule
from gradtx.core.transformation import Updates, advance, start
from gradtx.core.walk import require_no_writing
from gradtx.optimizers.hessian import hutchinson
from gradtx.selectors import Mask
from gradtx.transforms import momentum
from gradtx.transforms.decay import add_decayed_weights
from gradtx.transforms.rate import scale_by_learning_rate
from gradtx.values.annotations import Bound, Decay, NonNegative, Steps

HUTCHINSON = hutchinson()


class ScaleBySophiaState(NamedTuple):
    """The state of `scale_by_sophia`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.scale_by_sophia(b1=0.5, b2=0.75, hessian=gradtx.square())
    >>> _, state = tx.update(jnp.array([2.0]), tx.init(jnp.zeros(1)))
    >>> state.mu, state.nu
    (Array([1.], dtype=float32), Array([1.], dtype=float32))
    """

    count: Count
    mu: Updates  # the average of gradients
    nu: Slow  # that of the estimates; an element of Hutchinson's may be negative
    hessian_fn_state: Any  # of what estimates


class Averages(NamedTuple):
    """What each array has of a state."""

    count: Count
    mu: Any
    nu: Any


@transformation
def scale_by_sophia(
    b1: Decay = 0.965,
    b2: Decay = 0.99,
    gamma: NonNegative = 0.01,
    eps: NonNegative = 1e-8,
    *,
    clip: Bound = 1.0,
    every: Steps = 10,
    hessian: optax.GradientTransformation = HUTCHINSON,
    debias: bool = True,
) -> Rule:
    r"""The average of gradients over that of estimates of the Hessian's diagonal, each element within $\pm\rho$,
    $\operatorname{clip}(\hat m/\max(\gamma h, \varepsilon), \rho)$, with $m \leftarrow \beta_1 m + (1 - \beta_1)\,g$,
    $\hat m = m/(1 - \beta_1^t)$, and at each $k$-th update, the first of all,
    $h \leftarrow \beta_2 h + (1 - \beta_2)\,\hat h$ ahead of the step. Optax's goes by the $h$ of the update
    before, where at first every element is clipped.

    **Arguments:** `b1` $\beta_1$ and `b2` $\beta_2 \in [0, 1)$; `gamma` $\gamma \ge 0$: the smaller, the more elements
    are clipped, and 10 to 50 % of them not is what the authors look for; `eps` $\varepsilon \ge 0$, not 0 where
    gradients may stay zero (0/0); `clip` $\rho > 0$, `inf` for none; `every` $k \ge 1$; `hessian`, what makes an
    estimate $\hat h$ of a gradient: `hutchinson()` or `gauss_newton(B)`, for which `update` takes `loss_fn`,
    `square()` where the gradient itself serves, or any transformation, whose schedules count estimates;
    `debias=False` takes $m$ for $\hat m$.

    **State:** `count`, `mu` $m$, `nu` $h$, `hessian_fn_state`: two arrays per parameter.

    **Raises:** `ValueError` for a `hessian` that writes parameters.

    **Source:** Liu et al., Sophia (2023), algorithm 3. The authors' SophiaG is
    `scale_by_sophia(gamma=0.04, eps=1e-15, hessian=gauss_newton(B), debias=False)`, where their loop says when $h$ is
    renewed, in their example behind the step.

    >>> import gradtx, jax, jax.numpy as jnp
    >>> tx, w = gradtx.scale_by_sophia(b2=0.0, gamma=1.0), jnp.array([3.0, 3.0])
    >>> grad = jax.grad(loss := lambda w: 2.0 * w[0] ** 2 + 8.0 * jnp.sin(w[1]))(w)
    >>> tx.update(grad, tx.init(w), w, loss_fn=loss)[0]  # by curvature where that is positive
    Array([ 1., -1.], dtype=float32)
    """

    return rule_of_sophia(ScaleBySophiaState, b1, b2, gamma, eps, clip, every, hessian, debias=debias)


def rule_of_sophia(
    kind: Any,
    b1: Any,
    b2: Any,
    gamma: Any,
    eps: Any,
    clip: Any,
    every: Any,
    hessian: Any,
    *,
    debias: bool = True,
    late: bool = False,
) -> Rule:
    """The rule with this kind of state; if `late`, a step goes by the average of the update before, as Optax's."""
    require_no_writing(hessian, "scale_by_sophia", "hessian")

    def init_one(p: Array):
        return dict(mu=jnp.zeros_like(p), nu=jnp.zeros_like(p))

    def take_step(g: Array, state: Averages):
        mu = b1 * state.mu + (1.0 - b1) * g
        ahead = momentum.debias(mu, b1, state.count + 1.0) if debias else mu
        return jnp.clip(ahead / jnp.maximum(gamma * state.nu, eps), -clip, clip), dict(mu=mu, nu=state.nu)

    def average(estimate: Array, state: momentum.EmaState):
        nu = b2 * state.ema + (1.0 - b2) * estimate
        return nu, dict(ema=nu)

    step = per_array(Averages, init_one, take_step)
    ema = per_array(momentum.EmaState, lambda p: dict(ema=jnp.zeros_like(p)), average)

    def init(params: Any) -> Any:
        count, mu, nu = step.init(check.movable(params))
        return kind(count, mu, nu, start(hessian, params))

    def advance_sophia(flow: Flow, state: Any, extra: dict[str, Any]) -> Any:
        check.require_state(state, kind)
        before = momentum.EmaState(state.nu), state.hessian_fn_state
        flow.updates()  # which must be arrays

        def renew() -> Any:
            own = flow.fork()
            inside = advance(hessian, own, before[1], extra, "hessian")
            after = own.settle((ema.advance(own, before[0], {}), inside))
            return jax.tree.map(lambda x, old: x if x.dtype == old.dtype else x.astype(old.dtype), after, before)

        due = state.count % period_of(every) == 0
        (nu,), inside = jax.lax.cond(due, lambda: lay_tree_like(renew(), before), lambda: before)
        after = step.advance(flow, Averages(state.count, state.mu, state.nu if late else nu), {})

        def whole() -> Any:
            count, mu, _ = keep_promises(after)
            return kind(count, mu, nu, inside)

        return flow.promise(whole)

    return Rule(
        init,
        advance_sophia,
        parts={"hessian": Part(hessian, ("hessian_fn_state",), "the estimate of the Hessian's diagonal")},
        counts=(("count",),),
    )


@composition
def sophia(
    learning_rate: NonNegative,
    b1: Decay = 0.965,
    b2: Decay = 0.99,
    gamma: NonNegative = 0.01,
    eps: NonNegative = 1e-8,
    *,
    weight_decay: NonNegative = 1e-4,
    mask: Mask | None = None,
    clip: Bound = 1.0,
    every: Steps = 10,
    hessian: optax.GradientTransformation = HUTCHINSON,
    debias: bool = True,
):
    r"""Sophia, $w \leftarrow w - \eta\,(\operatorname{clip}(\hat m/\max(\gamma h, \varepsilon), \rho) + \lambda w)$
    with the direction of `scale_by_sophia`. Optax's goes by the $h$ of the update before: equal where all elements are
    clipped.

    **Arguments:** `learning_rate` $\eta \ge 0$, the longest step of an element; `weight_decay` $\lambda \ge 0$, the
    authors' is 0.1 to 0.2, and `mask`, which arrays decay, as in `add_decayed_weights`; the others, the state and the
    source are those of `scale_by_sophia`. `update` needs the parameters and, by default, `loss_fn`.

    >>> import gradtx
    >>> gradtx.sophia(1e-3, gamma=0.05, hessian=gradtx.gauss_newton(480.0))
    sophia(learning_rate=0.001, gamma=0.05, hessian=gauss_newton(size=480.0))
    """
    direction = scale_by_sophia(b1, b2, gamma, eps, clip=clip, every=every, hessian=hessian, debias=debias)
    return chain(direction, add_decayed_weights(weight_decay, mask), scale_by_learning_rate(learning_rate))
