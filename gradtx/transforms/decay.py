"""Pulling the parameters toward zero, toward where they started, or toward their average."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradtx.core.factories import transformation
from gradtx.core.flow import Flow
from gradtx.core.lift import per_array, stateless
from gradtx.core.paths import keep
from gradtx.core.quantity import Anchor
from gradtx.core.rule import Rule
from gradtx.selectors import Mask, choose_some, two_routes
from gradtx.values.annotations import Decay, NonNegative


class AddDecayedWeightsState(NamedTuple):
    """The state of `add_decayed_weights` with `toward_start` or `toward_average`; otherwise it has none.

    >>> import gradtx, jax.numpy as jnp
    >>> gradtx.add_decayed_weights(0.1, toward_start=True).init(jnp.ones(2))
    AddDecayedWeightsState(start=Array([1., 1.], dtype=float32), average=None)
    """

    start: Anchor = None  # the parameters that `init` was given
    average: Anchor = None  # of the parameters so far, from these on


@transformation
def add_decayed_weights(
    weight_decay: NonNegative,
    mask: Mask | None = None,
    *,
    toward_start: bool = False,
    toward_average: Decay | None = None,
    cautious: bool = False,
):
    r"""A share of the parameter added to its update, $g + \lambda w$.

    Before a preconditioner it is the gradient of the L2 penalty $\tfrac\lambda2\lVert w\rVert^2$, behind it the
    decoupled decay of AdamW; for plain gradient descent both are the same. With a rate $\eta_t$ behind it, a step
    decays by $\eta_t\lambda_t w$. So with a schedule `rate` of the peak $\eta_{max}$ and `direction = scale_by_adam()`:

    | a step decays by | the chain |
    | --- | --- |
    | $\eta_t\lambda w$, AdamW | `direction, add_decayed_weights(decay), scale_by_learning_rate(rate)` |
    | $\tfrac{\eta_t}{\eta_{max}}\lambda w$, independent of the peak | `…, add_decayed_weights(decay / peak), …` |
    | $\tfrac{\eta_t^2}{\eta_{max}}\lambda w$, corrected (AdamC) | `…, add_decayed_weights(rate * (decay / peak)), …` |

    **Arguments:** `weight_decay` $\lambda \ge 0$; `mask`, which arrays decay: a selector, a tree of booleans or a
    function of the parameters that returns one, as in `masked`. By default all do. With `toward_start`, $w - w_0$ takes
    the place of $w$: the parameters are pulled to those that `init` was given, as in fine-tuning. With
    `toward_average` $\beta \in [0, 1)$ it is $w - a$ with the average
    $a \leftarrow \beta a + (1 - \beta)\,w$ of the parameters, from $a = w_0$, whether or not with `toward_start`: what
    moves fast is held back. With
    `cautious` an element decays only where its update does not go the other way, $g \cdot w \ge 0$ for a direction
    $g$, that of ascent.

    **State:** none; with `toward_start`, `start` $w_0$, with `toward_average`, `average` $a$: one array per parameter
    that decays.

    **Raises:** `ValueError` where `update` is called without the parameters; (`init`) where no array decays.

    **Source:** Loshchilov & Hutter, Decoupled Weight Decay Regularization (2019). Equals Optax's function of this name.
    `toward_start`: L2-SP, Li, Grandvalet & Davoine (2018); `toward_average`: as in HeavyBall, whose average
    corrects a start from zero; `cautious`: Chen et al., Cautious Weight Decay
    (2025), and the code of Dion; AdamC: Defazio, Why Gradients Rapidly Increase Near the End of Training (2025).

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.add_decayed_weights(0.5)
    >>> w = jnp.array([2.0])
    >>> tx.update(jnp.array([1.0]), tx.init(w), w)[0]
    Array([2.], dtype=float32)
    >>> tx = gradtx.add_decayed_weights(0.5, mask=gradtx.by_path("kernel"))
    >>> w = {"bias": jnp.array([2.0]), "kernel": jnp.array([2.0])}
    >>> tx.update(w, tx.init(w), w)[0]
    {'bias': Array([2.], dtype=float32), 'kernel': Array([3.], dtype=float32)}
    """

    def pulled(g: jax.Array, away: jax.Array) -> jax.Array:
        pull = weight_decay * away
        return g + (jnp.where(g * away >= 0, pull, 0.0) if cautious else pull)

    def from_start(g: jax.Array, state: AddDecayedWeightsState, p: jax.Array):
        return pulled(g, p - state.start), dict(start=state.start)

    if toward_start and toward_average is None:
        return on_masked(per_array(AddDecayedWeightsState, lambda p: dict(start=p), from_start), mask, "decayed")
    if toward_average is not None:

        def from_average(g: jax.Array, state: AddDecayedWeightsState, p: jax.Array):
            average = state.average + (1.0 - toward_average) * (p - state.average)
            return pulled(g, p - average), dict(average=average)

        return on_masked(per_array(AddDecayedWeightsState, lambda p: dict(average=p), from_average), mask, "decayed")
    return on_masked(stateless(pulled), mask, "decayed")


def on_masked(rule: Rule, mask: Mask | None, words: str) -> Rule:
    """The rule on the arrays of a mask alone; the words say what it does to them."""
    if mask is None:
        return rule

    def init(params: Any) -> Any:
        return rule.init(keep(params, choose_some(mask, params, "mask")))

    def advance_some(flow: Flow, state: Any, extra: dict[str, Any]) -> Any:
        return rule.advance(flow.select(mask.chosen(flow.selector_tree)), state, extra)

    return Rule(
        init,
        advance_some,
        routes=lambda tree: two_routes(mask.chosen(tree), tree, words, "as it is"),
        everywhere=True,
    )


@transformation
def add_sign_decay(sign_decay: NonNegative):
    r"""The parameter's sign added to its update, $g + \lambda\operatorname{sign}(w)$, with 0 for $w = 0$.

    Before a preconditioner it is the (sub)gradient of the L1 penalty $\lambda\lVert w\rVert_1$. Its steps jump over
    zero; `soft_threshold` stops there.

    **Arguments:** `sign_decay` $\lambda \ge 0$, in the units of the gradient.

    **Raises:** `ValueError` where `update` is called without the parameters.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.add_sign_decay(0.5)
    >>> w = jnp.array([2.0, -2.0, 0.0])
    >>> tx.update(jnp.ones(3), tx.init(w), w)[0]
    Array([1.5, 0.5, 1. ], dtype=float32)
    """
    return stateless(lambda g, p: g + sign_decay * jnp.sign(p))
