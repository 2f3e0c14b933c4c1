"""When a transformation acts: at every k-th step, or as long as a schedule chooses it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gradtx.core import check
from gradtx.core.count import Count, as_real, increment
from gradtx.core.factories import transformation
from gradtx.core.flow import Flow
from gradtx.core.rule import Part, Rule
from gradtx.core.transformation import start
from gradtx.core.walk import writes
from gradtx.transforms.rate import require_block
from gradtx.values.annotations import Natural, Steps
from gradtx.values.errors import Refusal
from gradtx.wrappers.branch import in_form_of, run_branch


class EveryState(NamedTuple):
    """The state of `every`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.every(gradtx.clip_by_norm(1.0), 10)
    >>> _, state = tx.update(jnp.array([2.0]), tx.init(jnp.zeros(1)))
    >>> int(state.waited)
    1
    """

    waited: Count  # updates since the inner transformation acted
    inner_state: Any


@transformation
def every(tx: optax.GradientTransformation, k: Steps):
    r"""The transformation at the $k$-th update, the $2k$-th and so on, $T(u)$; between them the updates as they are,
    $u$, for which $T$ is not run.

    It is for blocks, such as a projection or a decay that need not happen at each step:
    `chain(sgd(0.1), every(constrain_norm(1.0), 10))`. Around an optimizer it would let the raw gradients through, and
    is refused: there `accumulate` is meant. Schedules inside of `tx` count the updates at which it acts.

    **Arguments:** `tx`, an Optax transformation too; `k` $\ge 1$; under a schedule the wait ends as soon as it is as
    long as the schedule then says.

    **State:** `waited`, updates since it acted, and that of `tx`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.every(gradtx.scale(0.5), 2)
    >>> state = tx.init(None)
    >>> for _ in range(4):
    ...     updates, state = tx.update(jnp.array([4.0]), state)
    ...     print(updates)
    [4.]
    [2.]
    [4.]
    [2.]
    """

    require_block(tx, "the updates between", "use accumulate(tx, k)")

    def init(params: Any) -> EveryState:
        return EveryState(jnp.zeros([], jnp.int32), start(tx, params))

    def advance_every(flow: Flow, state: Any, extra: dict[str, Any]) -> EveryState:
        check.require_state(state, EveryState)
        updates, waited = flow.updates(), increment(state.waited)
        due, exact = ~(as_real(waited) < k), writes(tx)
        as_it_is = in_form_of(updates, updates, exact), state.inner_state
        out, inner_state = jax.lax.cond(
            due, lambda: run_branch(tx, flow, state.inner_state, extra, "tx", exact), lambda: as_it_is
        )
        flow.put(out)
        return EveryState(jnp.where(due, 0, waited), inner_state)

    return Rule(init, advance_every, parts={"tx": Part(tx, ("inner_state",))})


class SwitchState(NamedTuple):
    """The state of `switch`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.switch(gradtx.adam(1e-3), gradtx.sgd(0.1, momentum=0.9), choice=1)
    >>> _, state = tx.update(jnp.array([2.0]), tx.init(jnp.zeros(1)))
    >>> int(state.choice), gradtx.find(state, "trace")
    (1, Array([2.], dtype=float32))
    """

    choice: jax.Array  # int32, (): the part that the last update went through; before the first, 0
    inner_state: tuple[Any, ...]  # of all parts

    only_measured = ("choice",)

    @property
    def metrics(self) -> dict[str, jax.Array]:
        return {"switch_choice": self.choice}


@transformation
def switch(*parts: optax.GradientTransformation, choice: Natural):
    r"""One of several transformations, $T_{c(\tau)}(u)$, the others being left alone.

    `switch(adam(1e-3), sgd(0.1), choice=piecewise_constant((1000,), (0, 1)))` is Adam for 1000 updates, then gradient
    descent. Each part keeps its state while another one is chosen, and its schedules count its own updates.

    **Arguments:** `choice` $c$, the index of a part, 0 for the first: a number, or a schedule of the updates so far,
    rounded; where it leaves the range of the parts, the nearest one is taken. The parts, Optax transformations too.

    **State:** `choice`, the index of the last update, and a tuple of the states of all parts.

    **Raises:** `ValueError` without parts, and for a number that is the index of none.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.switch(gradtx.scale(0.5), gradtx.scale(10.0), choice=gradtx.piecewise_constant((2,), (0, 1)))
    >>> state = tx.init(None)
    >>> for _ in range(3):
    ...     updates, state = tx.update(jnp.array([1.0]), state)
    ...     print(updates)
    [0.5]
    [0.5]
    [10.]
    """
    if not parts:
        raise Refusal(ValueError, "it needs at least one part")
    if not isinstance(choice, jax.Array) and choice >= len(parts):  # a schedule's is an array
        raise Refusal(ValueError, f"choice must be below {len(parts)}, the number of parts, got {choice:g}")

    several = {f"parts[{i}]": Part(tx, ("inner_state", i)) for i, tx in enumerate(parts)}
    exact = any(map(writes, parts))

    def init(params: Any) -> SwitchState:
        return SwitchState(jnp.zeros([], jnp.int32), tuple(start(part, params) for part in parts))

    def advance_chosen(flow: Flow, state: Any, extra: dict[str, Any]) -> SwitchState:
        check.require_state(state, SwitchState)
        check.require_states(state.inner_state, parts)
        flow.updates()  # which must be arrays
        states = state.inner_state
        index = jnp.clip(jnp.round(jnp.asarray(choice)), 0, len(parts) - 1).astype(jnp.int32)

        def through(i: int, name: str) -> Callable[[], tuple[Any, Any]]:
            def run() -> tuple[Any, Any]:
                out, after = run_branch(parts[i], flow, states[i], extra, name, exact)
                return out, (*states[:i], after, *states[i + 1 :])

            return run

        out, inner_state = jax.lax.switch(index, [through(i, name) for i, name in enumerate(several)])
        flow.put(out)
        return SwitchState(index, inner_state)

    return Rule(init, advance_chosen, parts=several)
