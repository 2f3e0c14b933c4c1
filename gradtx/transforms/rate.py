"""Powers of one number: multiplication by a constant or by the learning rate, and the square."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradtx.core import check
from gradtx.core.count import Count, in_force, increment, value_at
from gradtx.core.factories import composition, transformation
from gradtx.core.lift import scaling, stateless
from gradtx.core.rule import Keys, going_down
from gradtx.core.walk import walk
from gradtx.values.annotations import NonNegative, Scalar
from gradtx.values.errors import Refusal
from gradtx.values.printing import excerpt


@transformation
def scale(factor: Scalar):
    r"""Every update times a number, $c\,g$; `scale(-1.0)` at the head of a chain turns descent into ascent.

    **Arguments:** `factor` $c$, finite.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.scale(0.5)
    >>> tx.update(jnp.array([4.0]), tx.init(None))[0]
    Array([2.], dtype=float32)
    """
    return stateless(lambda g: factor * g)


@transformation
def square():
    r"""Every element squared, $g^2$: ahead of an average, the second moment.

    A complex element $a + ib$ becomes $a^2 + ib^2$: its parts are two numbers here.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.chain(gradtx.square(), gradtx.ema(0.75))
    >>> tx.update(jnp.array([4.0]), tx.init(jnp.zeros(1)))[0]
    Array([4.], dtype=float32)
    """
    return stateless(jnp.square)


def require_block(tx: Any, others: str, remedy: str) -> None:
    """Refuse an optimizer where a block is meant: what it does not act on would be raw gradients."""
    if any(node.rule and node.rule.descends for node in walk(tx)):
        problem = f"{excerpt(tx)} ends with the learning rate, and {others} would get raw gradients"
        raise Refusal(ValueError, f"tx must be a block: {problem}; {remedy}")


def turns_down(tx: Any) -> bool:
    """Whether its updates have the sign of a step, and not that of the gradient. A rule of gradtx's says it; what a
    plain pair does an update of one number shows. What neither tells is refused.
    """
    nodes = list(walk(tx))
    if any(node.rule and node.rule.descends for node in nodes):
        return True
    seen = [sign_of_pair(node.tx) for node in nodes if not node.rule]
    unsaid = any(node.rule and (node.rule.descends is None or is_negative_scale(node.tx)) for node in nodes)
    if unsaid or 0 in seen:
        remedy = "give it the direction alone, and put scale_by_learning_rate(…) behind"
        raise Refusal(ValueError, f"can't tell whether {excerpt(tx)} goes along the gradient or down; {remedy}")
    return -1 in seen


def is_negative_scale(tx: Any) -> bool:
    """Whether it multiplies by a number below zero, as Optax's users turn the sign."""
    numbers = list(tx.arguments.values())[:1] if tx.recipe.__name__ == "scale" else []
    return any(isinstance(x, int | float) and x < 0 for x in numbers)


def sign_of_pair(pair: Any) -> int:
    """-1 for a plain pair that goes down from zero along a gradient of 1, 1 for one that goes with it, at one of the
    first steps that goes at all; 0 where none does, or where it needs more than gradients.
    """
    with jax.ensure_compile_time_eval():
        try:
            g, w = jnp.ones(1), jnp.zeros(1)
            state = pair.init(w)
            for _ in range(3):  # a warmup may start at zero
                u, state = pair.update(g, state, w)
                if u[0] != 0.0:
                    return -1 if u[0] < 0.0 else 1
        except Exception:  # a loss is missing, or a number has no value yet
            return 0
    return 0


class ScaleByLearningRateState(NamedTuple):
    """The state of `scale_by_learning_rate`, last in the chain of nearly every optimizer.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.adam(gradtx.linear(1.0, 0.0, 4))
    >>> _, state = tx.update(jnp.array([2.0]), tx.init(jnp.zeros(1)))
    >>> _, state = tx.update(jnp.array([2.0]), state)
    >>> float(gradtx.find(state, "learning_rate"))
    0.75
    """

    count: Count
    learning_rate: jax.Array  # the rate that the last update used; before the first, the one that it will use

    @property
    def metrics(self) -> dict[str, jax.Array]:
        return self._asdict()


NUMBERS: dict[str, Keys] = {"learning_rate": ("learning_rate",)}
COUNTS: tuple[Keys, ...] = (("count",),)


@composition  # for its schedules as they are: the rate's value belongs into a state of the same form as a constant's
def scale_by_learning_rate(learning_rate: NonNegative):
    r"""The step down, $-\eta\,g$: the one place where the sign flips. What comes out is added to the parameters.

    **Arguments:** `learning_rate` $\eta \ge 0$, in parameters per unit of what comes in.

    **State:** `count` and `learning_rate`, the rate of the last step, for a constant as for a schedule.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.scale_by_learning_rate(gradtx.linear(1.0, 0.0, 4))
    >>> updates, state = tx.update(jnp.array([4.0]), tx.init(None))
    >>> updates, float(state.learning_rate)
    (Array([-4.], dtype=float32), 1.0)
    """

    def init(params: Any) -> ScaleByLearningRateState:
        count = jnp.zeros([], jnp.int32)
        return ScaleByLearningRateState(count, value_at(learning_rate, count))

    def factor(state: ScaleByLearningRateState) -> tuple[jax.Array, ScaleByLearningRateState]:
        check.require_state(state, ScaleByLearningRateState)
        rate = in_force(learning_rate, state.count, state.learning_rate)
        return -rate, ScaleByLearningRateState(increment(state.count), rate)

    rule = scaling(init, factor)
    rule.numbers, rule.counts = NUMBERS, COUNTS
    return going_down(rule)
