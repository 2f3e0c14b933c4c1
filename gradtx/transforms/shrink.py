"""Decay that is no sum with the parameter: behind the rate, or inside of a rule."""

from typing import Any

from jax import Array

from gradtx.core.factories import transformation
from gradtx.core.flow import Flow, is_promise
from gradtx.core.lift import stateless
from gradtx.core.rule import Rule
from gradtx.selectors import Mask, Selector, choose_some, two_routes
from gradtx.values.annotations import NonNegative


@transformation
def shrink_parameters(weight_decay: NonNegative, learning_rate: NonNegative = 1.0, mask: Mask | None = None):
    r"""The proximal step of the L2 penalty $\tfrac\lambda2\lVert w\rVert^2$, behind the learning rate: where the
    parameter would go is divided by $1 + \eta\lambda$, $u' = (w + u)/(1 + \eta\lambda) - w$. It never
    turns a sign, however large $\eta\lambda$ is.

    **Arguments:** `weight_decay` $\lambda \ge 0$; `learning_rate` $\eta \ge 0$, that of the chain, a schedule too:
    `chain(sgd(rate), shrink_parameters(0.1, rate))`, or 1 where $\lambda$ is the share itself; `mask`, which arrays
    decay, as in `add_decayed_weights`. It does not follow a `reduce_on_plateau` in the chain.

    **Raises:** `ValueError` where `update` is called without the parameters; (`init`) where no array decays.

    **Source:** Parikh & Boyd, Proximal Algorithms (2014). It is the decay of Adan's authors.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.chain(gradtx.sgd(0.5), gradtx.shrink_parameters(2.0, 0.5))
    >>> w = jnp.array([2.0])
    >>> gradtx.apply_updates(w, tx.update(jnp.array([1.0]), tx.init(w), w)[0])
    Array([0.75], dtype=float32)
    """

    def formula(u: Array, p: Array):
        share = weight_decay * learning_rate
        return (u - share * p) / (1.0 + share)

    return by_mask(mask, stateless(formula), stateless(lambda u: u))


def by_mask(mask: Selector | None, decayed: Rule, others: Rule) -> Rule:
    """The one rule for the arrays that decay and the other for those that don't, which have states of one kind."""
    if mask is None:
        return decayed

    def init(params: Any) -> Any:
        choose_some(mask, params, "mask")
        return decayed.init(params)

    def advance_both(flow: Flow, state: Any, extra: dict[str, Any]) -> Any:
        chosen = mask.chosen(flow.selector_tree)
        after = decayed.advance(flow.select(chosen), state, extra)
        after_others = others.advance(flow.select([not x for x in chosen]), state, extra)
        if not is_promise(after):  # there is nothing of an array in it
            return after

        def merged() -> Any:
            one, other = after.make(), after_others.make()
            fields = {name: x for name, x in one._asdict().items() if x is not None and (name,) not in decayed.counts}
            return one._replace(**{name: picked(x, getattr(other, name)) for name, x in fields.items()})

        def picked(x: Any, y: Any) -> Any:
            rows = zip(chosen, flow.structure.flatten_up_to(x), flow.structure.flatten_up_to(y), strict=True)
            return flow.structure.unflatten([a if ours else b for ours, a, b in rows])

        return flow.promise(merged)

    return Rule(
        init,
        advance_both,
        routes=lambda tree: two_routes(mask.chosen(tree), tree, "decayed", "not decayed"),
        everywhere=True,
        counts=decayed.counts,
    )
